#ifndef GANTRY_SERVICES_SUPERVISOR_NOTIFY_H_
#define GANTRY_SERVICES_SUPERVISOR_NOTIFY_H_

#include "absl/strings/string_view.h"

namespace gantry::services {

// Tells systemd about our state (sd_notify(3)): "READY=1", "STOPPING=1", "STATUS=…". Nothing
// happens when NOTIFY_SOCKET is not set; failures are logged, never fatal.
void NotifySystemd(absl::string_view state);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_SUPERVISOR_NOTIFY_H_
