// What a crash or a reboot left half done, and what happened while we were not there.

#include <condition_variable>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "services/exits/exit_store.h"
#include "services/lifecycle/health.h"
#include "services/lifecycle/manager.h"
#include "services/lifecycle/task_calls.h"
#include "services/metadata/container_store.h"
#include "services/networks/network_manager.h"

namespace gantry::services::lifecycle {
namespace {

namespace tasks_api = containerd::services::tasks::v1;

constexpr absl::Duration kCallTimeout = absl::Seconds(3);
// A shim that hangs must not keep us from serving the others.
constexpr absl::Duration kRecoverTimeout = absl::Seconds(5);
// Of an end that nobody saw; as Docker has it.
constexpr uint32_t kLostExitCode = 255;

// Counts down; waiting has an end.
struct Countdown {
  std::mutex mutex;
  std::condition_variable wake;
  size_t left = 0;

  void Done() {
    std::lock_guard<std::mutex> lock(mutex);
    if (--left == 0) wake.notify_all();
  }
  void Wait(absl::Duration timeout) {
    std::unique_lock<std::mutex> lock(mutex);
    wake.wait_for(lock, absl::ToChronoMilliseconds(timeout), [this] { return left == 0; });
  }
};

}  // namespace

absl::Status Manager::Recover() {
  GANTRY_RETURN_IF_ERROR(ReplayIntentions());
  GANTRY_RETURN_IF_ERROR(SweepDirectories());
  {
    std::lock_guard<std::mutex> lock(events_mutex_);
    GANTRY_RETURN_IF_ERROR(SubscribeLocked());
  }
  std::vector<EntryPtr> entries = registry_.ListAll();
  auto countdown = std::make_shared<Countdown>();
  countdown->left = entries.size();
  for (const EntryPtr& entry : entries) {
    entry->strand->Run([this, entry, countdown] {
      Reconcile(entry);
      countdown->Done();
      if (!entry->gone) StartWhatShouldRun(entry);
    });
  }
  if (!entries.empty()) countdown->Wait(kRecoverTimeout);
  return absl::OkStatus();
}

absl::Status Manager::ReplayIntentions() {
  GANTRY_RETURN_IF_ERROR(ReplayIntents<Intent>(deps_.db, kCreateIntent, [this](const Intent& what) {
    base::LogInfo("undoing the creation of a container that was cut off", {{"id", what.id()}});
    return RemoveParts(what);
  }));
  return ReplayIntents<Intent>(deps_.db, kRemoveIntent, [this](const Intent& what) {
    base::LogInfo("finishing the removal of a container that was cut off", {{"id", what.id()}});
    return RemoveParts(what);
  });
}

// A power loss takes records that were not synced, and the intent of their creation with them.
absl::Status Manager::SweepDirectories() {
  GANTRY_ASSIGN_OR_RETURN(auto found, files_.List());
  for (const auto& [ns, id] : found) {
    if (Exists(ns, id)) continue;
    base::LogInfo("removing the directory of a container that is not there", {{"id", id}});
    absl::Status removed = files_.Remove(ns, id);
    if (!removed.ok())
      base::LogError("remove a directory", {{"id", id}, {"error", removed.message()}});
  }
  return absl::OkStatus();
}

void Manager::Reconcile(const EntryPtr& entry) {
  auto record = deps_.containers->Get(Context{.ns = entry->ns}, entry->id);
  if (absl::IsNotFound(record.status())) return OnRecordDeleted(entry);
  const v1::State& state = entry->container.state();
  tasks_api::GetRequest request;
  request.set_container_id(entry->id);
  auto task = CallTask(deps_.tasks, entry->ns, &TaskManager::Get, request, kCallTimeout);
  if (!task.ok() && !absl::IsNotFound(task.status())) {
    base::LogError("a container's shim does not answer; its state stays as it was",
                   {{"id", entry->id}, {"error", task.status().message()}});
    ++entry->run;
    return;
  }
  if (!task.ok()) {
    if (HasProcess(state)) EndMissed(entry);
    return;
  }
  const auto& process = task->process();
  const bool paused = process.status() == containerd::v1::types::PAUSED;
  if (paused || process.status() == containerd::v1::types::RUNNING) {
    return Adopt(entry, process.pid(), paused);
  }
  // It has ended, or was made and never started.
  const bool same = HasProcess(state) && state.pid() == process.pid();
  std::optional<Exit> exit = DeleteTask(*entry);
  if (same && exit.has_value()) return Ended(entry, *exit);
  if (HasProcess(state)) return EndMissed(entry);
  CleanUpRun(*entry);
}

void Manager::EndMissed(const EntryPtr& entry) {
  RemoveAttachSocket(*entry);
  if (entry->boot_id == boot_id_) return Ended(entry, MissedExit(*entry));
  // It ended with the machine, which is no failure of its own: only policies that look at the
  // start of the machine bring it back.
  v1::State state = entry->container.state();
  ++entry->run;
  CleanUpRun(*entry);
  state.set_status("exited");
  state.set_pid(0);
  state.set_exit_code(kLostExitCode);
  base::SetTimestamp(state.mutable_finished_at(), absl::Now());
  state.clear_sandbox();
  state.clear_attach_path();
  BecomeStopped(
      entry, std::move(state), Durability::kNone,
      {ContainerEvent(entry->container, "die", {{"exitCode", absl::StrCat(kLostExitCode)}})});
}

void Manager::Adopt(const EntryPtr& entry, uint32_t pid, bool paused) {
  v1::State state = entry->container.state();
  ++entry->run;
  entry->boot_id = boot_id_;
  const std::string status = paused ? "paused" : "running";
  if (HasProcess(state) && state.pid() == pid && state.status() == status) {
    return BeginHealthChecks(entry);
  }
  // The start was cut off before it was recorded, or somebody paused it meanwhile.
  const bool recorded = HasProcess(state) && state.pid() == pid;
  std::vector<gantry::types::ObjectEvent> events;
  if (!recorded) {
    base::LogInfo("keeping a container whose start was cut off: it runs", {{"id", entry->id}});
    state.set_exit_code(0);
    state.clear_error();
    state.set_oom_killed(false);
    state.set_stopped_by_user(false);
    base::SetTimestamp(state.mutable_started_at(), absl::Now());
    state.set_attach_path(AttachPath(*entry));
    ResetHealth(entry->container.policy().has_health(), &state);
    if (entry->container.policy().network_mode() == "networks" && deps_.networks != nullptr) {
      auto sandbox = deps_.networks->GetSandbox(entry->ns, entry->id);
      if (sandbox.ok()) *state.mutable_sandbox() = *std::move(sandbox);
    }
    events.push_back(ContainerEvent(entry->container, "start"));
  }
  state.set_status(status);
  state.set_pid(pid);
  Commit(*entry, std::move(state), Durability::kNone, std::move(events));
  BeginHealthChecks(entry);
}

// What the shim left behind.
Manager::Exit Manager::MissedExit(const Entry& entry) const {
  Exit exit{kLostExitCode, absl::Now()};
  if (deps_.exits == nullptr) return exit;
  auto kept = deps_.exits->List(Context{.ns = entry.ns}, entry.id, 1);
  if (!kept.ok() || kept->empty()) return exit;
  const auto& record = kept->front().record();
  const absl::Time at = base::GetTimestamp(record.exited_at());
  if (at < base::GetTimestamp(entry.container.state().started_at())) return exit;
  return Exit{record.exit_status(), at};
}

// After Reconcile(): by the policy, what does not run now.
void Manager::StartWhatShouldRun(const EntryPtr& entry) {
  const v1::State& state = entry->container.state();
  const v1::Policy& policy = entry->container.policy();
  if (HasProcess(state)) return;
  if (state.status() == "restarting") {
    // Its timer was lost; or Reconcile() has just set one, which is void then.
    ++entry->run;
    return AutoRestart(entry);
  }
  if (state.status() != "exited") return;
  if (policy.auto_remove()) {
    absl::Status removed = RemoveNow(entry, /*volumes=*/true, Durability::kNone);
    if (!removed.ok())
      base::LogError("remove a container", {{"id", entry->id}, {"error", removed.message()}});
    return;
  }
  if (!ShouldStartAtBoot(policy.restart(), state.stopped_by_user())) return;
  absl::Status started = StartNow(entry, v1::StartRequest());
  if (started.ok()) return;
  base::LogWarn("start a container by its restart policy",
                {{"id", entry->id}, {"error", started.message()}});
  FailStart(entry, started);
}

}  // namespace gantry::services::lifecycle
