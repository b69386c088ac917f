#ifndef GANTRY_SHIM_TASK_SERVICE_H_
#define GANTRY_SHIM_TASK_SERVICE_H_

#include <sys/types.h>

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "base/ttrpc/server.h"
#include "containerd/runtime/task/v2/shim.pb.h"
#include "google/protobuf/empty.pb.h"
#include "shim/events.h"
#include "shim/task.h"

namespace gantry::shim {

// The services containerd.task.v2.Task and containerd.task.v3.Task (their messages are the same).
// Decodes, finds the container, answers. Belongs to the loop's thread.
class TaskService {
 public:
  // `on_shutdown` runs when a client asks a shim without containers to end; the answer has been
  // queued then.
  TaskService(base::EventLoop* loop, EventPublisher* events, std::string ns,
              std::function<void()> on_shutdown);

  void Handle(const std::shared_ptr<base::ttrpc::Call>& call);

  // A child of the shim ended.
  void OnChildExit(pid_t pid, int wait_status, absl::Time at);

  // Those that are being made count.
  size_t containers() const { return tasks_.size() + creating_.size(); }

 private:
  using Empty = google::protobuf::Empty;
  using CallPtr = std::shared_ptr<base::ttrpc::Call>;

  absl::StatusOr<Task*> Find(const std::string& id);

  absl::Status Exec(const task_api::ExecProcessRequest& request, Empty* response);
  absl::Status State(const task_api::StateRequest& request, task_api::StateResponse* response);
  absl::Status Pids(const task_api::PidsRequest& request, task_api::PidsResponse* response);
  absl::Status Pause(const task_api::PauseRequest& request, Empty* response);
  absl::Status Resume(const task_api::ResumeRequest& request, Empty* response);
  absl::Status Checkpoint(const task_api::CheckpointTaskRequest& request, Empty* response);
  absl::Status Kill(const task_api::KillRequest& request, Empty* response);
  absl::Status ResizePty(const task_api::ResizePtyRequest& request, Empty* response);
  absl::Status CloseIO(const task_api::CloseIORequest& request, Empty* response);
  absl::Status Update(const task_api::UpdateTaskRequest& request, Empty* response);
  absl::Status Stats(const task_api::StatsRequest& request, task_api::StatsResponse* response);
  absl::Status Connect(const task_api::ConnectRequest& request,
                       task_api::ConnectResponse* response);
  absl::Status Shutdown(const task_api::ShutdownRequest& request, Empty* response);
  void Create(const CallPtr& call);
  void Start(const CallPtr& call);
  void Wait(const CallPtr& call);
  void Delete(const CallPtr& call);

  // False when the request was malformed; answered then.
  template <typename Request>
  static bool Parse(const CallPtr& call, Request* request);
  template <typename Request, typename Response>
  void Unary(const CallPtr& call, absl::Status (TaskService::*method)(const Request&, Response*));
  void OnCreated(const CallPtr& call, const std::string& id,
                 absl::StatusOr<std::shared_ptr<Task>> task);
  void Forget(const std::string& id);
  void EndIfEmpty();

  base::EventLoop* loop_;
  EventPublisher* events_;
  std::string ns_;
  std::function<void()> on_shutdown_;
  std::map<std::string, std::shared_ptr<Task>> tasks_;
  std::set<std::string> creating_;
  bool shutdown_asked_ = false;  // while something was being made
  std::map<absl::string_view, std::function<void(const CallPtr&)>> methods_;
};

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_TASK_SERVICE_H_
