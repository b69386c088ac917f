#include "ctl/task_ops.h"

#include <csignal>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "containerd/services/tasks/v1/tasks.methods.h"

namespace gantry::ctl {

namespace tasks = containerd::services::tasks::v1;

absl::StatusOr<uint32_t> CreateTask(const client::Connection& connection, const std::string& id,
                                    const client::MountList& mounts, const TaskIo& io) {
  tasks::CreateTaskRequest request;
  request.set_container_id(id);
  *request.mutable_rootfs() = mounts;
  request.set_stdin(io.in);
  request.set_stdout(io.out);
  request.set_stderr(io.err);
  request.set_terminal(io.terminal);
  tasks::CreateTaskResponse response;
  GANTRY_RETURN_IF_ERROR(connection.Call(tasks::TasksMethods::kCreate, request, &response));
  return response.pid();
}

absl::Status StartTask(const client::Connection& connection, const std::string& id,
                       const std::string& exec_id) {
  tasks::StartRequest request;
  request.set_container_id(id);
  request.set_exec_id(exec_id);
  tasks::StartResponse response;
  return connection.Call(tasks::TasksMethods::kStart, request, &response);
}

absl::StatusOr<int> DeleteTask(const client::Connection& connection, const std::string& id) {
  tasks::DeleteTaskRequest request;
  request.set_container_id(id);
  tasks::DeleteResponse response;
  GANTRY_RETURN_IF_ERROR(connection.Call(tasks::TasksMethods::kDelete, request, &response));
  return static_cast<int>(response.exit_status());
}

absl::Status ForgetTask(const client::Connection& connection, const std::string& id) {
  absl::Status status = DeleteTask(connection, id).status();
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

absl::Status KillTask(const client::Connection& connection, const std::string& id, uint32_t signal,
                      bool all, const std::string& exec_id) {
  tasks::KillRequest request;
  request.set_container_id(id);
  request.set_exec_id(exec_id);
  request.set_signal(signal);
  request.set_all(all);
  google::protobuf::Empty nothing;
  return connection.Call(tasks::TasksMethods::kKill, request, &nothing);
}

void DiscardTask(const client::Connection& connection, const std::string& id) {
  if (DeleteTask(connection, id).ok()) return;
  if (!KillTask(connection, id, SIGKILL, true).ok()) return;
  int code = 0;
  (void)WaitTask(connection, id, absl::Seconds(10), &code);
  (void)DeleteTask(connection, id);
}

absl::StatusOr<TaskProcess> GetTask(const client::Connection& connection, const std::string& id) {
  tasks::GetRequest request;
  request.set_container_id(id);
  tasks::GetResponse response;
  GANTRY_RETURN_IF_ERROR(connection.Call(tasks::TasksMethods::kGet, request, &response));
  return response.process();
}

absl::StatusOr<std::vector<TaskProcess>> ListTasks(const client::Connection& connection) {
  tasks::ListTasksResponse response;
  GANTRY_RETURN_IF_ERROR(
      connection.Call(tasks::TasksMethods::kList, tasks::ListTasksRequest(), &response));
  return std::vector<TaskProcess>(response.tasks().begin(), response.tasks().end());
}

absl::StatusOr<bool> WaitTask(const client::Connection& connection, const std::string& id,
                              absl::Duration timeout, int* exit_code) {
  tasks::WaitRequest request;
  request.set_container_id(id);
  tasks::WaitResponse response;
  absl::Status status = connection.Call(tasks::TasksMethods::kWait, request, &response, timeout);
  if (absl::IsDeadlineExceeded(status)) return false;
  GANTRY_RETURN_IF_ERROR(status);
  *exit_code = static_cast<int>(response.exit_status());
  return true;
}

std::string TaskState(const TaskProcess* task) {
  if (task == nullptr) return "-";
  switch (task->status()) {
    case containerd::v1::types::CREATED:
      return "created";
    case containerd::v1::types::RUNNING:
      return "running";
    case containerd::v1::types::STOPPED:
      return absl::StrCat("exited (", task->exit_status(), ")");
    case containerd::v1::types::PAUSED:
      return "paused";
    case containerd::v1::types::PAUSING:
      return "pausing";
    default:
      return "unknown";
  }
}

absl::StatusOr<uint32_t> ParseSignal(absl::string_view text) {
  uint32_t number = 0;
  if (absl::SimpleAtoi(text, &number) && number >= 1 && number <= 64) return number;
  std::string name = absl::AsciiStrToUpper(text);
  if (absl::StartsWith(name, "SIG")) name.erase(0, 3);
  for (int i = 1; i < 32; ++i) {
    const char* known = sigabbrev_np(i);
    if (known != nullptr && name == known) return static_cast<uint32_t>(i);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", text, "\" is no signal; examples: TERM, KILL, HUP, 9"));
}

}  // namespace gantry::ctl
