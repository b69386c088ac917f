#ifndef GANTRY_SERVICES_VERSION_VERSION_H_
#define GANTRY_SERVICES_VERSION_VERSION_H_

#include "absl/strings/string_view.h"

namespace gantry::services {

// What containerd.services.version.v1.Version answers: "v2.1.0+gantry.0.1.0". The part before the
// '+' is the containerd release whose API is served, because clients choose features by it; the
// part behind it is gantry's own version.
absl::string_view ApiVersion();
// gantry's own version, "0.1.0".
absl::string_view GantryVersion();
// The commit that was built, or "unknown".
absl::string_view Revision();

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_VERSION_VERSION_H_
