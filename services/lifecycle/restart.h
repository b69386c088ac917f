#ifndef GANTRY_SERVICES_LIFECYCLE_RESTART_H_
#define GANTRY_SERVICES_LIFECYCLE_RESTART_H_

// Whether and when a container that has ended is started again. Pure; the rules are Docker's.

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gantry/services/lifecycle/v1/lifecycle.pb.h"

namespace gantry::services::lifecycle {

// InvalidArgument for an unknown policy, a number of retries that does not belong to it, or one
// together with removal at the end.
absl::Status CheckRestartPolicy(const v1::Policy& policy);

// What is known of an end.
struct Ending {
  uint32_t exit_code = 0;
  bool by_user = false;        // stopped or killed by a client since its last start
  uint32_t restart_count = 0;  // automatic ones since a client started it
};

// Right after the end.
bool ShouldRestart(const v1::RestartPolicy& policy, const Ending& ending);

// When gantryd starts and finds it ended, by itself or with the machine: "always", also after a
// client stopped it, and "unless-stopped" are started.
bool ShouldStartAtBoot(const v1::RestartPolicy& policy, bool stopped_by_user);

// The pause before the next automatic start: 100 ms, doubled each time up to a minute, and 100 ms
// again after a run of at least 10 s.
class Backoff {
 public:
  absl::Duration Next(absl::Duration ran);
  void Reset() { last_ = absl::ZeroDuration(); }

 private:
  absl::Duration last_;
};

}  // namespace gantry::services::lifecycle

#endif  // GANTRY_SERVICES_LIFECYCLE_RESTART_H_
