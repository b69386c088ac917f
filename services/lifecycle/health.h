#ifndef GANTRY_SERVICES_LIFECYCLE_HEALTH_H_
#define GANTRY_SERVICES_LIFECYCLE_HEALTH_H_

// When a health check runs and what its results mean. Pure; the rules are Docker's.

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gantry/services/lifecycle/v1/lifecycle.pb.h"

namespace gantry::services::lifecycle {

inline constexpr size_t kHealthOutputLimit = 4096;
inline constexpr int kHealthLogLength = 5;

// A check with the defaults filled in.
struct HealthTimes {
  absl::Duration interval;
  absl::Duration timeout;
  absl::Duration start_period;
  absl::Duration start_interval;
  uint32_t retries = 3;
};
HealthTimes TimesOf(const v1::HealthCheck& check);

// InvalidArgument for an empty command and for times that are negative or, where set, below 1 ms.
absl::Status CheckHealthCheck(const v1::HealthCheck& check);

// A container is started: "starting" with an empty log, or "none" without a check.
void ResetHealth(bool has_check, v1::State* state);

// How long after the end of the last check (or the start) the next one begins.
absl::Duration NextHealthCheck(const HealthTimes& times, const v1::State& state, absl::Time now);

// Puts a result into the log and draws the conclusions. True when the health has changed. 0 is
// healthy; what fails within the start period does not count until the first success.
bool AddHealthResult(const HealthTimes& times, v1::HealthResult result, v1::State* state);

}  // namespace gantry::services::lifecycle

#endif  // GANTRY_SERVICES_LIFECYCLE_HEALTH_H_
