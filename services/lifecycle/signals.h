#ifndef GANTRY_SERVICES_LIFECYCLE_SIGNALS_H_
#define GANTRY_SERVICES_LIFECYCLE_SIGNALS_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry::services::lifecycle {

// "SIGTERM", "term", "15", "SIGRTMIN+3"; InvalidArgument "invalid signal: X" otherwise.
absl::StatusOr<uint32_t> ParseSignal(absl::string_view text);

}  // namespace gantry::services::lifecycle

#endif  // GANTRY_SERVICES_LIFECYCLE_SIGNALS_H_
