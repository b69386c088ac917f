// Removal. The record goes first, together with a note of what is to follow.

#include <signal.h>

#include "absl/strings/str_cat.h"
#include "base/crash_point.h"
#include "base/log.h"
#include "base/status.h"
#include "services/lifecycle/manager.h"
#include "services/metadata/container_store.h"

namespace gantry::services::lifecycle {
namespace {

absl::Status StillRunning(const Entry& entry) {
  const v1::Container& container = entry.container;
  const std::string& status = container.state().status();
  const std::string name = container.policy().name().empty() ? entry.id : container.policy().name();
  if (status == "paused") {
    return absl::FailedPreconditionError(absl::StrCat(
        "cannot remove container \"/", name, "\": container is paused and must be unpaused first"));
  }
  return absl::FailedPreconditionError(
      absl::StrCat("cannot remove container \"/", name, "\": container is ", status,
                   ": stop the container before removing or force remove"));
}

}  // namespace

void Manager::Remove(const std::string& ns, v1::RemoveRequest request, Done<Empty> done) {
  std::string id = request.id();
  OnStrand<Empty>(
      ns, id, std::move(done), [this, request](const EntryPtr& entry, Done<Empty> done) {
        const bool active = IsActive(entry->container.state());
        if (active && !request.force()) return done(StillRunning(*entry));
        auto remove = [this, entry, request, done = std::move(done)]() mutable {
          if (entry->gone) return done(Empty());
          absl::Status removed = RemoveNow(entry, request.volumes(), Durability::kSync);
          if (!removed.ok()) return done(removed);
          done(Empty());
        };
        if (!active) return remove();
        StopForUser(entry, StopPlan{.signal = SIGKILL, .timeout = -1}, std::move(remove));
      });
}

absl::Status Manager::RemoveNow(const EntryPtr& entry, bool volumes, Durability durability) {
  Intent what;
  what.set_namespace_(entry->ns);
  what.set_id(entry->id);
  what.set_snapshotter(entry->container.snapshotter());
  what.set_snapshot_key(entry->container.snapshot_key());
  what.set_remove_volumes(volumes);
  const std::string name = entry->container.policy().name();
  uint64_t intent = 0;
  GANTRY_RETURN_IF_ERROR(deps_.db->Update(durability, [&](Tx& tx) -> absl::Status {
    absl::Status deleted = deps_.containers->DeleteInTx(tx, Context{.ns = entry->ns}, entry->id);
    if (!deleted.ok() && !absl::IsNotFound(deleted)) return deleted;
    tx.Delete(RecordKey(entry->ns, entry->id));
    if (!name.empty()) {
      GANTRY_ASSIGN_OR_RETURN(std::optional<std::string> owner, tx.Get(NameKey(entry->ns, name)));
      if (owner == entry->id) tx.Delete(NameKey(entry->ns, name));
    }
    AddObjectEvent(tx, entry->ns, ContainerEvent(entry->container, "destroy"));
    GANTRY_ASSIGN_OR_RETURN(intent, BeginIntent(tx, kRemoveIntent, what));
    return absl::OkStatus();
  }));
  IntentScope scope(deps_.db, kRemoveIntent, intent);
  base::CrashPoint("lifecycle.remove.recorded");
  absl::Status removed = RemoveParts(what);
  // Its record is gone, so the next start finishes what could not be done now.
  if (!removed.ok()) scope.Leave();
  std::vector<Waiter> waiters;
  {
    std::lock_guard<std::mutex> lock(entry->mutex);
    entry->gone = true;
    ++entry->run;
    for (auto* list : {&entry->stop_waiters, &entry->remove_waiters}) {
      for (Waiter& waiter : *list) waiters.push_back(std::move(waiter));
      list->clear();
    }
  }
  registry_.Remove(*entry, name);
  // Who waits for a removal hears of errors of the removal, and there was none.
  v1::WaitResponse answer = WaitAnswer(entry->container.state());
  answer.clear_error();
  Notify(std::move(waiters), std::move(answer));
  return absl::OkStatus();
}

void Manager::OnRecordDeleted(const EntryPtr& entry) {
  auto record = deps_.containers->Get(Context{.ns = entry->ns}, entry->id);
  if (!absl::IsNotFound(record.status())) return;
  base::LogInfo("a container was removed through the API of records", {{"id", entry->id}});
  absl::Status removed = RemoveNow(entry, /*volumes=*/false, Durability::kNone);
  if (!removed.ok())
    base::LogError("remove a container", {{"id", entry->id}, {"error", removed.message()}});
}

}  // namespace gantry::services::lifecycle
