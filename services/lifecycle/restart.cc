#include "services/lifecycle/restart.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace gantry::services::lifecycle {
namespace {

constexpr absl::Duration kFirst = absl::Milliseconds(100);
constexpr absl::Duration kLongest = absl::Minutes(1);
constexpr absl::Duration kLongRun = absl::Seconds(10);

}  // namespace

absl::Status CheckRestartPolicy(const v1::Policy& policy) {
  const std::string& name = policy.restart().name();
  const bool none = name.empty() || name == "no";
  if (!none && name != "always" && name != "on-failure" && name != "unless-stopped") {
    return absl::InvalidArgumentError(
        absl::StrCat("invalid restart policy: unknown policy '", name,
                     "'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"));
  }
  if (policy.restart().maximum_retries() != 0 && name != "on-failure") {
    return absl::InvalidArgumentError(
        "invalid restart policy: maximum retry count can only be used with 'on-failure'");
  }
  if (!none && policy.auto_remove()) {
    return absl::InvalidArgumentError("can't create 'AutoRemove' container with restart policy");
  }
  return absl::OkStatus();
}

bool ShouldRestart(const v1::RestartPolicy& policy, const Ending& ending) {
  if (ending.by_user) return false;
  if (policy.name() == "always" || policy.name() == "unless-stopped") return true;
  if (policy.name() != "on-failure" || ending.exit_code == 0) return false;
  return policy.maximum_retries() == 0 || ending.restart_count < policy.maximum_retries();
}

bool ShouldStartAtBoot(const v1::RestartPolicy& policy, bool stopped_by_user) {
  return policy.name() == "always" || (policy.name() == "unless-stopped" && !stopped_by_user);
}

absl::Duration Backoff::Next(absl::Duration ran) {
  if (ran >= kLongRun) Reset();
  last_ = last_ == absl::ZeroDuration() ? kFirst : std::min(2 * last_, kLongest);
  return last_;
}

}  // namespace gantry::services::lifecycle
