#include "services/lifecycle/health.h"

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status.h"

namespace gantry::services::lifecycle {
namespace {

absl::Duration Of(const google::protobuf::Duration& from) {
  return absl::Seconds(from.seconds()) + absl::Nanoseconds(from.nanos());
}

absl::Duration OrDefault(const google::protobuf::Duration& from, absl::Duration otherwise) {
  const absl::Duration value = Of(from);
  return value <= absl::ZeroDuration() ? otherwise : value;
}

absl::Status CheckTime(absl::string_view name, const google::protobuf::Duration& from) {
  const absl::Duration value = Of(from);
  if (value == absl::ZeroDuration() || value >= absl::Milliseconds(1)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, " in Healthcheck cannot be less than 1ms"));
}

bool InStartPeriod(const HealthTimes& times, const v1::State& state, absl::Time at) {
  return at - base::GetTimestamp(state.started_at()) < times.start_period;
}

}  // namespace

HealthTimes TimesOf(const v1::HealthCheck& check) {
  HealthTimes times;
  times.interval = OrDefault(check.interval(), absl::Seconds(30));
  times.timeout = OrDefault(check.timeout(), absl::Seconds(30));
  times.start_period = OrDefault(check.start_period(), absl::ZeroDuration());
  times.start_interval = OrDefault(check.start_interval(), absl::Seconds(5));
  if (check.retries() > 0) times.retries = check.retries();
  return times;
}

absl::Status CheckHealthCheck(const v1::HealthCheck& check) {
  if (check.test().empty()) {
    return absl::InvalidArgumentError("a health check needs a command");
  }
  GANTRY_RETURN_IF_ERROR(CheckTime("Interval", check.interval()));
  GANTRY_RETURN_IF_ERROR(CheckTime("Timeout", check.timeout()));
  GANTRY_RETURN_IF_ERROR(CheckTime("StartPeriod", check.start_period()));
  return CheckTime("StartInterval", check.start_interval());
}

void ResetHealth(bool has_check, v1::State* state) {
  state->set_health(has_check ? "starting" : "none");
  state->set_failing_streak(0);
  state->clear_health_log();
}

absl::Duration NextHealthCheck(const HealthTimes& times, const v1::State& state, absl::Time now) {
  const bool starting = state.health() == "starting" && InStartPeriod(times, state, now);
  return starting ? times.start_interval : times.interval;
}

bool AddHealthResult(const HealthTimes& times, v1::HealthResult result, v1::State* state) {
  const std::string before = state->health();
  const bool early =
      before == "starting" && InStartPeriod(times, *state, base::GetTimestamp(result.start()));
  if (result.exit_code() == 0) {
    state->set_failing_streak(0);
    state->set_health("healthy");
  } else if (!early) {
    state->set_failing_streak(state->failing_streak() + 1);
    if (state->failing_streak() >= times.retries) state->set_health("unhealthy");
  }
  auto* log = state->mutable_health_log();
  *log->Add() = std::move(result);
  if (log->size() > kHealthLogLength) log->DeleteSubrange(0, log->size() - kHealthLogLength);
  return state->health() != before;
}

}  // namespace gantry::services::lifecycle
