#include "services/version/version.h"

#ifndef GANTRY_VERSION
#error "GANTRY_VERSION comes from CMakeLists.txt"
#endif
#ifndef GANTRY_REVISION
#define GANTRY_REVISION "unknown"
#endif

namespace gantry::services {

absl::string_view ApiVersion() { return "v2.1.0+gantry." GANTRY_VERSION; }
absl::string_view GantryVersion() { return GANTRY_VERSION; }
absl::string_view Revision() { return GANTRY_REVISION; }

}  // namespace gantry::services
