#include "services/tasks/task_intents.h"

#include <memory>

#include "base/log.h"
#include "base/status.h"
#include "containerd/runtime/task/v2/shim.pb.h"
#include "services/tasks/shim_manager.h"

namespace gantry::services {
namespace {

using gantry::metadata::v1::TaskIntent;
using ShimPtr = std::shared_ptr<Shim>;

constexpr absl::string_view kCreateIntent = "task.create";
constexpr absl::string_view kDeleteIntent = "task.delete";

TaskIntent PayloadOf(const std::string& ns, const std::string& id) {
  TaskIntent intent;
  intent.set_namespace_(ns);
  intent.set_id(id);
  return intent;
}

// The task's status; any error means that there is no task to speak of.
absl::StatusOr<containerd::v1::types::Status> StatusOf(const absl::StatusOr<ShimPtr>& shim,
                                                       absl::Duration timeout) {
  GANTRY_RETURN_IF_ERROR(shim.status());
  containerd::task::v2::StateRequest request;
  request.set_id((*shim)->id());
  containerd::task::v2::StateResponse state;
  GANTRY_RETURN_IF_ERROR((*shim)->CallTaskAndWait("State", request, &state, timeout));
  return state.status();
}

void LogReplay(absl::string_view what, const TaskIntent& begun) {
  base::LogInfo(what, {{"namespace", begun.namespace_()}, {"id", begun.id()}});
}

}  // namespace

absl::StatusOr<IntentScope> TaskIntents::BeginCreate(const std::string& ns,
                                                     const std::string& id) const {
  return IntentScope::Begin(db_, kCreateIntent, PayloadOf(ns, id));
}

absl::StatusOr<IntentScope> TaskIntents::BeginDelete(const std::string& ns,
                                                     const std::string& id) const {
  return IntentScope::Begin(db_, kDeleteIntent, PayloadOf(ns, id));
}

// A shim that holds nothing, or cannot be reached, has been cleaned up after by LoadAll().
absl::Status TaskIntents::Replay() const {
  if (db_ == nullptr) return absl::OkStatus();
  GANTRY_RETURN_IF_ERROR(
      ReplayIntents<TaskIntent>(db_, kCreateIntent, [this](const TaskIntent& begun) {
        absl::StatusOr<ShimPtr> shim = shims_->Get(begun.namespace_(), begun.id());
        auto status = StatusOf(shim, state_timeout_);
        if (status.ok() && *status != containerd::v1::types::CREATED) {
          LogReplay("keeping a task whose creation was cut off: it has been started", begun);
          return absl::OkStatus();
        }
        LogReplay("undoing the creation of a task that was cut off", begun);
        if (shim.ok()) shims_->Discard(*shim);
        return absl::OkStatus();
      }));
  return ReplayIntents<TaskIntent>(db_, kDeleteIntent, [this](const TaskIntent& begun) {
    absl::StatusOr<ShimPtr> shim = shims_->Get(begun.namespace_(), begun.id());
    if (StatusOf(shim, state_timeout_).ok()) {
      LogReplay("undoing the deletion of a task that was cut off: it is still whole", begun);
      return absl::OkStatus();
    }
    LogReplay("finishing the deletion of a task that was cut off", begun);
    if (shim.ok()) shims_->Discard(*shim);
    return absl::OkStatus();
  });
}

}  // namespace gantry::services
