#ifndef GANTRY_SERVICES_LIFECYCLE_SPEC_EDIT_H_
#define GANTRY_SERVICES_LIFECYCLE_SPEC_EDIT_H_

// What is filled into a container's OCI runtime specification. Pure.

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry::services::lifecycle {

// Fills the places that only gantryd knows: "{dir}" at the beginning of a mount's source and
// "{netns}" as the path of the network namespace (removed when `netns` is empty: a new one).
// InvalidArgument for what is no specification.
absl::StatusOr<std::string> FillPlaces(std::string spec, absl::string_view directory,
                                       absl::string_view netns);

// `spec` with other namespaces: type → path; an empty path makes a new one, "host" is none of its
// own.
absl::StatusOr<std::string> WithNamespaces(absl::string_view spec,
                                           const std::map<std::string, std::string>& namespaces);

// The container's process as OCI's Process with other arguments and without a terminal, to be
// executed beside it.
absl::StatusOr<std::string> ProcessWith(absl::string_view spec,
                                        const std::vector<std::string>& argv);

}  // namespace gantry::services::lifecycle

#endif  // GANTRY_SERVICES_LIFECYCLE_SPEC_EDIT_H_
