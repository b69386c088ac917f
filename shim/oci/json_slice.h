#ifndef GANTRY_SHIM_OCI_JSON_SLICE_H_
#define GANTRY_SHIM_OCI_JSON_SLICE_H_

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace gantry::oci {

// The text of a value inside the JSON document `text`: the first that the keys of `path`, of the
// outermost object and then inwards, lead to. Empty when there is none, or when the text is not
// JSON as far as it was read. For large values that need no document; nothing is checked, so
// whoever takes one must parse both it and the rest.
absl::string_view SliceJson(absl::string_view text, absl::Span<const absl::string_view> path);

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_JSON_SLICE_H_
