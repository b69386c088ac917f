#ifndef GANTRY_CTL_TASK_OPS_H_
#define GANTRY_CTL_TASK_OPS_H_

// The calls of the Tasks service as the commands need them.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/connection.h"
#include "client/container.h"
#include "containerd/types/task/task.pb.h"

namespace gantry::ctl {

using TaskProcess = ::containerd::v1::types::Process;

struct TaskIo {
  std::string in;
  std::string out;
  std::string err;
  bool terminal = false;
};

// The process id of the new task.
absl::StatusOr<uint32_t> CreateTask(const client::Connection& connection, const std::string& id,
                                    const client::MountList& mounts, const TaskIo& io);
absl::Status StartTask(const client::Connection& connection, const std::string& id,
                       const std::string& exec_id = "");
// The exit code of the stopped task, which is gone then; its fifos too when they were ours.
absl::StatusOr<int> DeleteTask(const client::Connection& connection, const std::string& id);

// As above for one that has ended, whoever took it away: the daemon does it when a shim dies.
absl::Status ForgetTask(const client::Connection& connection, const std::string& id);
absl::Status KillTask(const client::Connection& connection, const std::string& id, uint32_t signal,
                      bool all = false, const std::string& exec_id = "");
// Kills and removes what there is, however far it came. Best effort.
void DiscardTask(const client::Connection& connection, const std::string& id);

// NotFound when the container has no task.
absl::StatusOr<TaskProcess> GetTask(const client::Connection& connection, const std::string& id);
absl::StatusOr<std::vector<TaskProcess>> ListTasks(const client::Connection& connection);
// False when it still runs after `timeout`.
absl::StatusOr<bool> WaitTask(const client::Connection& connection, const std::string& id,
                              absl::Duration timeout, int* exit_code);

// "running", "exited (3)", "created", "paused"; "-" without a task.
std::string TaskState(const TaskProcess* task);

// A signal by number or name, with or without "SIG".
absl::StatusOr<uint32_t> ParseSignal(absl::string_view text);

}  // namespace gantry::ctl

#endif  // GANTRY_CTL_TASK_OPS_H_
