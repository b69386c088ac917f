#include "services/tasks/tasks_service.h"

#include <utility>

#include "containerd/services/tasks/v1/tasks.grpc.pb.h"
#include "services/rpc/server_context.h"
#include "services/tasks/async_call.h"
#include "services/tasks/task_manager.h"

namespace gantry::services {
namespace {

namespace api = containerd::services::tasks::v1;
using google::protobuf::Empty;

class TasksService final : public api::Tasks::CallbackService {
 public:
  explicit TasksService(TaskManager* tasks) : tasks_(tasks) {}

  using ServerContext = grpc::CallbackServerContext;
  using Reactor = grpc::ServerUnaryReactor;

#define GANTRY_TASKS_METHOD(method, Request, Response)                                           \
  Reactor* method(ServerContext* context, const Request* request, Response* response) override { \
    return Serve(context, *request, response, &TaskManager::method);                             \
  }
  GANTRY_TASKS_METHOD(Create, api::CreateTaskRequest, api::CreateTaskResponse)
  GANTRY_TASKS_METHOD(Start, api::StartRequest, api::StartResponse)
  GANTRY_TASKS_METHOD(Delete, api::DeleteTaskRequest, api::DeleteResponse)
  GANTRY_TASKS_METHOD(DeleteProcess, api::DeleteProcessRequest, api::DeleteResponse)
  GANTRY_TASKS_METHOD(Get, api::GetRequest, api::GetResponse)
  GANTRY_TASKS_METHOD(List, api::ListTasksRequest, api::ListTasksResponse)
  GANTRY_TASKS_METHOD(Kill, api::KillRequest, Empty)
  GANTRY_TASKS_METHOD(Exec, api::ExecProcessRequest, Empty)
  GANTRY_TASKS_METHOD(ResizePty, api::ResizePtyRequest, Empty)
  GANTRY_TASKS_METHOD(CloseIO, api::CloseIORequest, Empty)
  GANTRY_TASKS_METHOD(Pause, api::PauseTaskRequest, Empty)
  GANTRY_TASKS_METHOD(Resume, api::ResumeTaskRequest, Empty)
  GANTRY_TASKS_METHOD(ListPids, api::ListPidsRequest, api::ListPidsResponse)
  GANTRY_TASKS_METHOD(Checkpoint, api::CheckpointTaskRequest, api::CheckpointTaskResponse)
  GANTRY_TASKS_METHOD(Update, api::UpdateTaskRequest, Empty)
  GANTRY_TASKS_METHOD(Metrics, api::MetricsRequest, api::MetricsResponse)
  GANTRY_TASKS_METHOD(Wait, api::WaitRequest, api::WaitResponse)
#undef GANTRY_TASKS_METHOD

 private:
  template <typename Request, typename Response>
  Reactor* Serve(ServerContext* context, const Request& request, Response* response,
                 void (TaskManager::*method)(TaskCaller, Request, TaskManager::Done<Response>)) {
    auto* call = new AsyncCall<Response>(response);
    TaskManager::Done<Response> done = call->Done();
    Context ctx = FromServerContext(*context);
    if (absl::Status status = RequireNamespace(ctx); !status.ok()) {
      done(status);
      return call;
    }
    TaskCaller caller;
    caller.ns = std::move(ctx.ns);
    caller.deadline = DeadlineOf(*context);
    (tasks_->*method)(std::move(caller), request, std::move(done));
    return call;
  }

  TaskManager* const tasks_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeTasksService(TaskManager* tasks) {
  return std::make_unique<TasksService>(tasks);
}

}  // namespace gantry::services
