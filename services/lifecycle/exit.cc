// The end of a run, and what comes of it: another run, removal, or nothing.

#include <signal.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/crash_point.h"
#include "base/log.h"
#include "services/lifecycle/manager.h"
#include "services/lifecycle/restart.h"
#include "services/lifecycle/task_calls.h"
#include "services/networks/network_manager.h"
#include "services/volumes/volume_manager.h"

namespace gantry::services::lifecycle {
namespace {

namespace tasks_api = containerd::services::tasks::v1;

constexpr absl::Duration kDeleteTimeout = absl::Seconds(10);

void LogFailure(absl::string_view what, const Entry& entry, const absl::Status& status) {
  if (status.ok() || absl::IsNotFound(status)) return;
  base::LogError(what, {{"id", entry.id}, {"error", status.message()}});
}

}  // namespace

std::optional<Manager::Exit> Manager::DeleteTask(const Entry& entry) {
  tasks_api::DeleteTaskRequest request;
  request.set_container_id(entry.id);
  auto deleted = CallTask(deps_.tasks, entry.ns, &TaskManager::Delete, request, kDeleteTimeout);
  if (absl::IsFailedPrecondition(deleted.status())) {
    // Not every shim deletes a task that was never started.
    KillTask(entry);
    deleted = CallTask(deps_.tasks, entry.ns, &TaskManager::Delete, request, kDeleteTimeout);
  }
  LogFailure("delete the task of a container", entry, deleted.status());
  if (!deleted.ok()) return std::nullopt;
  return Exit{deleted->exit_status(), base::GetTimestamp(deleted->exited_at())};
}

void Manager::KillTask(const Entry& entry) {
  tasks_api::KillRequest kill;
  kill.set_container_id(entry.id);
  kill.set_signal(SIGKILL);
  kill.set_all(true);
  LogFailure("kill the task of a container", entry,
             CallTask(deps_.tasks, entry.ns, &TaskManager::Kill, kill, kDeleteTimeout).status());
  tasks_api::WaitRequest wait;
  wait.set_container_id(entry.id);
  LogFailure("await the end of a container's task", entry,
             CallTask(deps_.tasks, entry.ns, &TaskManager::Wait, wait, kDeleteTimeout).status());
}

void Manager::CleanUpRun(Entry& entry) {
  const v1::Policy& policy = entry.container.policy();
  if (policy.network_mode() == "networks" && deps_.networks != nullptr)
    LogFailure("give back the networks of a container", entry,
               deps_.networks->TearDown(entry.ns, entry.id));
  if (!policy.volumes().empty() && deps_.volumes != nullptr)
    LogFailure("unmount the volumes of a container", entry,
               deps_.volumes->Unmount(entry.ns, entry.id));
}

void Manager::RemoveAttachSocket(const Entry& entry) const {
  if (const std::string path = AttachPath(entry); !path.empty()) unlink(path.c_str());
}

void Manager::OnExit(const EntryPtr& entry, uint32_t pid, Exit exit) {
  const v1::State& state = entry->container.state();
  if (!HasProcess(state)) return;
  // Of an earlier run; or of a shim that died and left nobody who knew the pid.
  if (state.pid() != pid && TaskRuns(*entry)) return;
  // A shim that lives removes its socket itself, when the last client has all of the output.
  if (!DeleteTask(*entry).has_value()) RemoveAttachSocket(*entry);
  base::CrashPoint("lifecycle.exit.deleted");
  Ended(entry, exit);
}

bool Manager::TaskRuns(const Entry& entry) const {
  tasks_api::GetRequest request;
  request.set_container_id(entry.id);
  auto task = CallTask(deps_.tasks, entry.ns, &TaskManager::Get, request, kDeleteTimeout);
  if (!task.ok()) return !absl::IsNotFound(task.status());
  return task->process().status() != containerd::v1::types::STOPPED;
}

void Manager::Ended(const EntryPtr& entry, Exit exit) {
  ++entry->run;
  CleanUpRun(*entry);
  base::CrashPoint("lifecycle.exit.cleaned");
  v1::State state = entry->container.state();
  const absl::Duration ran =
      std::max(exit.at - base::GetTimestamp(state.started_at()), absl::ZeroDuration());
  state.set_pid(0);
  state.set_exit_code(exit.code);
  base::SetTimestamp(state.mutable_finished_at(), exit.at);
  state.clear_sandbox();
  state.clear_attach_path();
  std::vector<gantry::types::ObjectEvent> events = {
      ContainerEvent(entry->container, "die",
                     {{"exitCode", absl::StrCat(exit.code)},
                      {"execDuration", absl::StrCat(absl::ToInt64Seconds(ran))}})};
  const Ending ending{exit.code, state.stopped_by_user(), state.restart_count()};
  if (!entry->user_restart && ShouldRestart(entry->container.policy().restart(), ending)) {
    return RestartLater(entry, std::move(state), ran, std::move(events));
  }
  state.set_status("exited");
  // What a policy looks at after a reboot must not be forgotten with the power.
  const bool matters =
      state.stopped_by_user() && entry->container.policy().restart().name() == "unless-stopped";
  BecomeStopped(entry, std::move(state), matters ? Durability::kSync : Durability::kNone,
                std::move(events));
}

void Manager::RestartLater(const EntryPtr& entry, v1::State state, absl::Duration ran,
                           std::vector<gantry::types::ObjectEvent> events) {
  state.set_status("restarting");
  std::vector<Waiter> waiters;
  Commit(*entry, std::move(state), Durability::kNone, std::move(events));
  {
    std::lock_guard<std::mutex> lock(entry->mutex);
    waiters.swap(entry->stop_waiters);
  }
  Notify(std::move(waiters), WaitAnswer(entry->container.state()));
  Later(entry, entry->backoff.Next(ran), [this](const EntryPtr& entry) { AutoRestart(entry); });
}

void Manager::AutoRestart(const EntryPtr& entry) {
  if (entry->container.state().status() != "restarting") return;
  {
    std::lock_guard<std::mutex> lock(entry->mutex);
    v1::State* state = entry->container.mutable_state();
    state->set_restart_count(state->restart_count() + 1);
  }
  absl::Status started = StartNow(entry, v1::StartRequest());
  if (started.ok()) return;
  base::LogWarn("restart a container", {{"id", entry->id}, {"error", started.message()}});
  FailStart(entry, started);
}

void Manager::BecomeStopped(const EntryPtr& entry, v1::State state, Durability durability,
                            std::vector<gantry::types::ObjectEvent> events) {
  const bool remove = entry->container.policy().auto_remove() && !entry->user_restart;
  Commit(*entry, std::move(state), durability, std::move(events));
  base::CrashPoint("lifecycle.exit.recorded");
  std::vector<Waiter> waiters;
  {
    std::lock_guard<std::mutex> lock(entry->mutex);
    waiters.swap(entry->stop_waiters);
  }
  Notify(std::move(waiters), WaitAnswer(entry->container.state()));
  std::vector<absl::AnyInvocable<void()>> after;
  after.swap(entry->after_exit);
  for (auto& then : after) then();
  if (!remove || entry->gone || IsActive(entry->container.state())) return;
  absl::Status removed = RemoveNow(entry, /*volumes=*/true, Durability::kNone);
  if (!removed.ok())
    base::LogError("remove a container at its end",
                   {{"id", entry->id}, {"error", removed.message()}});
}

}  // namespace gantry::services::lifecycle
