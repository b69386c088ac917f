#ifndef GANTRY_CLIENT_SPEC_CAPABILITIES_H_
#define GANTRY_CLIENT_SPEC_CAPABILITIES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace gantry::client {

// Every capability that the running kernel has and that this process could have itself (its
// bounding set: nobody can give away more), by name ("CAP_CHOWN").
std::vector<std::string> AllCapabilities();

// The fourteen that containers get by default (as Docker's and containerd's).
std::vector<std::string> DefaultCapabilities();

// The default set with `add` and without `drop`, names with or without "CAP_", any case; "ALL"
// means every one. Drops come first, so `--cap-drop ALL --cap-add CHOWN` leaves one.
// InvalidArgument for a name that does not exist.
absl::StatusOr<std::vector<std::string>> MakeCapabilities(const std::vector<std::string>& add,
                                                          const std::vector<std::string>& drop);

}  // namespace gantry::client

#endif  // GANTRY_CLIENT_SPEC_CAPABILITIES_H_
