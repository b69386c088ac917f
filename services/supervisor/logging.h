#ifndef GANTRY_SERVICES_SUPERVISOR_LOGGING_H_
#define GANTRY_SERVICES_SUPERVISOR_LOGGING_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace gantry::services {

// Sends base::Log() to stderr through spdlog, as text ("logfmt") or one JSON object a line.
// InvalidArgument for an unknown level or format. Call once in main(), before threads start.
absl::Status SetupLogging(absl::string_view level, absl::string_view format);

// Changes the level only; any thread, at any time. InvalidArgument as above.
absl::Status ChangeLogLevel(absl::string_view level);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_SUPERVISOR_LOGGING_H_
