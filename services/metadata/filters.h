#ifndef GANTRY_SERVICES_METADATA_FILTERS_H_
#define GANTRY_SERVICES_METADATA_FILTERS_H_

// containerd's filter language (its package filters documents it):
//
//   selectors := selector ("," selector)*          all must match
//   selector  := fieldpath [operator value]        without operator: the field is present
//   fieldpath := field ("." field)*                field: [A-Za-z_][A-Za-z0-9_]*, or quoted
//   operator  := "==" | "!=" | "~="                equal, not equal, matches a regular expression
//   value     := quoted | [^\s,]+                  quoted: a Go string; for ~= also /…/ and |…|
//
// Of several filters one must match; no filter, or an empty one, matches all.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "google/protobuf/map.h"

namespace gantry::services {

// The value of a field, or nothing when the object has no such field. A path component may hold
// any character, since it may have been quoted.
using FieldLookup =
    absl::FunctionRef<std::optional<std::string>(absl::Span<const std::string> fieldpath)>;

// Immutable once parsed; copies share; any thread.
class Filter {
 public:
  // Matches everything.
  Filter() = default;

  // InvalidArgument with containerd's text ("filters: parse error: [name=>|=|<…]: …").
  template <typename Strings>
  static absl::StatusOr<Filter> Parse(const Strings& filters) {
    return ParseAll(std::vector<std::string>(filters.begin(), filters.end()));
  }
  static absl::StatusOr<Filter> ParseAll(const std::vector<std::string>& filters);

  bool Match(FieldLookup lookup) const;

 private:
  struct Rep;
  std::shared_ptr<const Rep> rep_;  // null: matches everything
};

// The label that the components after "labels" name: containerd joins them by '.'.
std::optional<std::string> LookupLabel(
    const google::protobuf::Map<std::string, std::string>& labels,
    absl::Span<const std::string> rest);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_METADATA_FILTERS_H_
