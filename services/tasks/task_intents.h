#ifndef GANTRY_SERVICES_TASKS_TASK_INTENTS_H_
#define GANTRY_SERVICES_TASKS_TASK_INTENTS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/metadata/intents.h"

namespace gantry::services {

class ShimManager;

// The creation and the deletion of tasks, as intents. Not synced: a power loss takes every task
// with it, and what it leaves in directories the shim manager sweeps.
class TaskIntents {
 public:
  // A null `db` writes nothing. `state_timeout` is how long Replay() waits for one shim.
  TaskIntents(Db* db, ShimManager* shims, absl::Duration state_timeout)
      : db_(db), shims_(shims), state_timeout_(state_timeout) {}

  // Ends when the task is there and its client is about to be told, or nothing of it is left.
  absl::StatusOr<IntentScope> BeginCreate(const std::string& ns, const std::string& id) const;
  // Ends when nothing of the task is left, or the shim has refused.
  absl::StatusOr<IntentScope> BeginDelete(const std::string& ns, const std::string& id) const;

  // Once, after ShimManager::LoadAll() and before requests are served. A creation is undone, unless
  // somebody has started the task meanwhile. A deletion is finished if the shim had done its part;
  // otherwise the task stays, with its exit status, for the next attempt.
  absl::Status Replay() const;

 private:
  Db* const db_;
  ShimManager* const shims_;
  const absl::Duration state_timeout_;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_TASKS_TASK_INTENTS_H_
