// What clients do to a container that runs: stop, kill, restart, pause, resume.

#include <signal.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "services/lifecycle/manager.h"
#include "services/lifecycle/signals.h"
#include "services/lifecycle/task_calls.h"

namespace gantry::services::lifecycle {
namespace {

namespace tasks_api = containerd::services::tasks::v1;

constexpr absl::Duration kCallTimeout = absl::Seconds(10);
constexpr int64_t kDefaultStopTimeout = 10;
constexpr int64_t kLongestStopTimeout = 1'000'000'000;

absl::Status NotRunning(const Entry& entry) {
  return absl::FailedPreconditionError(absl::StrCat("container ", entry.id, " is not running"));
}

// A start policy that looks at who stopped it must not forget that with the power.
Durability DurabilityOfStop(const v1::Policy& policy) {
  return policy.restart().name() == "unless-stopped" ? Durability::kSync : Durability::kNone;
}

}  // namespace

absl::StatusOr<Manager::StopPlan> Manager::PlanStop(const Entry& entry,
                                                    std::optional<int64_t> timeout,
                                                    const std::string& signal) const {
  const v1::Policy& policy = entry.container.policy();
  StopPlan plan;
  const std::string& name = signal.empty() ? policy.stop_signal() : signal;
  plan.signal = SIGTERM;
  if (!name.empty()) {
    GANTRY_ASSIGN_OR_RETURN(plan.signal, ParseSignal(name));
  }
  plan.timeout =
      timeout.value_or(policy.has_stop_timeout() ? policy.stop_timeout() : kDefaultStopTimeout);
  plan.timeout = std::min(plan.timeout, kLongestStopTimeout);
  return plan;
}

absl::Status Manager::Signal(Entry& entry, uint32_t signal) {
  tasks_api::KillRequest request;
  request.set_container_id(entry.id);
  request.set_signal(signal);
  absl::Status sent =
      CallTask(deps_.tasks, entry.ns, &TaskManager::Kill, request, kCallTimeout).status();
  // It has ended by itself; we hear of that in a moment.
  if (absl::IsNotFound(sent)) sent = absl::OkStatus();
  if (sent.ok()) Emit(entry, "kill", {{"signal", absl::StrCat(signal)}});
  return sent;
}

void Manager::KillLater(const EntryPtr& entry, absl::Duration delay) {
  Later(entry, delay, [this](const EntryPtr& entry) {
    if (!HasProcess(entry->container.state())) return;
    absl::Status killed = Signal(*entry, SIGKILL);
    if (!killed.ok())
      base::LogError("kill a container that did not stop",
                     {{"id", entry->id}, {"error", killed.message()}});
  });
}

void Manager::StopForUser(const EntryPtr& entry, const StopPlan& plan,
                          absl::AnyInvocable<void()> then) {
  v1::State state = entry->container.state();
  state.set_stopped_by_user(true);
  if (state.status() == "restarting") {
    ++entry->run;  // the start that is planned
    state.set_status("exited");
    BecomeStopped(entry, std::move(state), DurabilityOfStop(entry->container.policy()), {});
    return then();
  }
  const bool paused = state.status() == "paused";
  Commit(*entry, std::move(state), Durability::kNone, {});
  entry->after_exit.push_back(std::move(then));
  absl::Status sent = Signal(*entry, plan.signal);
  if (!sent.ok())
    base::LogWarn("signal a container", {{"id", entry->id}, {"error", sent.message()}});
  if (paused) {
    tasks_api::ResumeTaskRequest resume;
    resume.set_container_id(entry->id);
    CallTask(deps_.tasks, entry->ns, &TaskManager::Resume, resume, kCallTimeout)
        .status()
        .IgnoreError();
  }
  if (plan.timeout >= 0 && plan.signal != SIGKILL) {
    KillLater(entry, absl::Seconds(plan.timeout));
  } else if (!sent.ok()) {
    KillLater(entry, absl::Seconds(1));
  }
}

void Manager::Stop(const std::string& ns, v1::StopRequest request, Done<v1::StopResponse> done) {
  std::string id = request.id();
  OnStrand<v1::StopResponse>(
      ns, id, std::move(done), [this, request](const EntryPtr& entry, Done<v1::StopResponse> done) {
        v1::StopResponse response;
        if (!IsActive(entry->container.state())) {
          response.set_already(true);
          return done(std::move(response));
        }
        std::optional<int64_t> timeout;
        if (request.has_timeout()) timeout = request.timeout();
        absl::StatusOr<StopPlan> plan = PlanStop(*entry, timeout, request.signal());
        if (!plan.ok()) return done(plan.status());
        StopForUser(entry, *plan, [this, entry, done = std::move(done)]() mutable {
          if (!entry->gone) Emit(*entry, "stop");
          done(v1::StopResponse());
        });
      });
}

void Manager::Kill(const std::string& ns, v1::KillRequest request, Done<Empty> done) {
  std::string id = request.id();
  OnStrand<Empty>(
      ns, id, std::move(done), [this, request](const EntryPtr& entry, Done<Empty> done) {
        const v1::Policy& policy = entry->container.policy();
        const v1::State& state = entry->container.state();
        if (!IsActive(state)) return done(NotRunning(*entry));
        const uint32_t signal = request.signal() == 0 ? SIGKILL : request.signal();
        if (signal > 64) return done(absl::InvalidArgumentError("invalid signal"));
        auto stop = policy.stop_signal().empty() ? absl::StatusOr<uint32_t>(SIGTERM)
                                                 : ParseSignal(policy.stop_signal());
        // With a stop signal of its own, others are messages to the program.
        const bool ends =
            policy.stop_signal().empty() || signal == SIGKILL || (stop.ok() && *stop == signal);
        if (state.status() == "restarting") {
          if (!ends) return done(NotRunning(*entry));
          StopForUser(entry, StopPlan{.signal = signal}, [] {});
          return done(Empty());
        }
        const bool paused = state.status() == "paused";
        absl::Status sent = Signal(*entry, signal);
        if (!sent.ok()) return done(sent);
        if (ends && !state.stopped_by_user()) {
          v1::State stopped = state;
          stopped.set_stopped_by_user(true);
          Commit(*entry, std::move(stopped), DurabilityOfStop(policy), {});
        }
        if (ends && paused) {
          tasks_api::ResumeTaskRequest resume;
          resume.set_container_id(entry->id);
          CallTask(deps_.tasks, entry->ns, &TaskManager::Resume, resume, kCallTimeout)
              .status()
              .IgnoreError();
        }
        done(Empty());
      });
}

void Manager::Restart(const std::string& ns, v1::RestartRequest request, Done<Empty> done) {
  std::string id = request.id();
  OnStrand<Empty>(
      ns, id, std::move(done), [this, request](const EntryPtr& entry, Done<Empty> done) {
        std::optional<int64_t> timeout;
        if (request.has_timeout()) timeout = request.timeout();
        absl::StatusOr<StopPlan> plan = PlanStop(*entry, timeout, request.signal());
        if (!plan.ok()) return done(plan.status());
        auto start = [this, entry, done = std::move(done)]() mutable {
          entry->user_restart = false;
          if (entry->gone) return done(NoSuchContainer(entry->id));
          v1::StartRequest again;
          again.set_id(entry->id);
          StartByUser(entry, again,
                      [this, entry,
                       done = std::move(done)](absl::StatusOr<v1::StartResponse> response) mutable {
                        if (!response.ok()) return done(response.status());
                        Emit(*entry, "restart");
                        done(Empty());
                      });
        };
        if (!IsActive(entry->container.state())) return start();
        entry->user_restart = true;
        StopForUser(entry, *plan, [this, entry, start = std::move(start)]() mutable {
          if (!entry->gone) Emit(*entry, "stop");
          start();
        });
      });
}

void Manager::Pause(const std::string& ns, v1::PauseRequest request, Done<Empty> done) {
  std::string id = request.id();
  OnStrand<Empty>(ns, id, std::move(done), [this](const EntryPtr& entry, Done<Empty> done) {
    v1::State state = entry->container.state();
    if (state.status() == "paused") {
      return done(absl::FailedPreconditionError(
          absl::StrCat("Container ", entry->id, " is already paused")));
    }
    if (state.status() == "restarting") {
      return done(absl::FailedPreconditionError(absl::StrCat(
          "Container ", entry->id, " is restarting, wait until the container is running")));
    }
    if (!HasProcess(state)) {
      return done(
          absl::FailedPreconditionError(absl::StrCat("Container ", entry->id, " is not running")));
    }
    tasks_api::PauseTaskRequest pause;
    pause.set_container_id(entry->id);
    absl::Status paused =
        CallTask(deps_.tasks, entry->ns, &TaskManager::Pause, pause, kCallTimeout).status();
    if (!paused.ok()) return done(paused);
    state.set_status("paused");
    Commit(*entry, std::move(state), Durability::kNone,
           {ContainerEvent(entry->container, "pause")});
    done(Empty());
  });
}

void Manager::Resume(const std::string& ns, v1::ResumeRequest request, Done<Empty> done) {
  std::string id = request.id();
  OnStrand<Empty>(ns, id, std::move(done), [this](const EntryPtr& entry, Done<Empty> done) {
    v1::State state = entry->container.state();
    if (state.status() != "paused") {
      return done(
          absl::FailedPreconditionError(absl::StrCat("Container ", entry->id, " is not paused")));
    }
    tasks_api::ResumeTaskRequest resume;
    resume.set_container_id(entry->id);
    absl::Status resumed =
        CallTask(deps_.tasks, entry->ns, &TaskManager::Resume, resume, kCallTimeout).status();
    if (!resumed.ok()) return done(resumed);
    state.set_status("running");
    Commit(*entry, std::move(state), Durability::kNone,
           {ContainerEvent(entry->container, "unpause")});
    done(Empty());
  });
}

void Manager::OnPauseEvent(const EntryPtr& entry) {
  v1::State state = entry->container.state();
  if (!HasProcess(state)) return;
  tasks_api::GetRequest request;
  request.set_container_id(entry->id);
  auto task = CallTask(deps_.tasks, entry->ns, &TaskManager::Get, request, kCallTimeout);
  if (!task.ok()) return;
  const bool paused = task->process().status() == containerd::v1::types::PAUSED;
  if (paused == (state.status() == "paused")) return;  // it was us
  if (!paused && task->process().status() != containerd::v1::types::RUNNING) return;
  state.set_status(paused ? "paused" : "running");
  Commit(*entry, std::move(state), Durability::kNone,
         {ContainerEvent(entry->container, paused ? "pause" : "unpause")});
}

}  // namespace gantry::services::lifecycle
