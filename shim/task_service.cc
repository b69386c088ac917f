#include "shim/task_service.h"

#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "containerd/types/runc/options/oci.pb.h"
#include "shim/metrics_message.h"

namespace gantry::shim {
namespace {

namespace types = ::containerd::v1::types;

types::Status ToStatus(const Task& task, const TaskProcess& process) {
  switch (process.state) {
    case TaskProcess::State::kCreated:
      return types::CREATED;
    case TaskProcess::State::kRunning:
      return task.paused() ? types::PAUSED : types::RUNNING;
    case TaskProcess::State::kStopped:
      return types::STOPPED;
  }
  return types::UNKNOWN;
}

}  // namespace

template <typename Request>
bool TaskService::Parse(const CallPtr& call, Request* request) {
  if (request->ParseFromArray(call->payload().data(), static_cast<int>(call->payload().size())))
    return true;
  call->Fail(absl::InvalidArgumentError(absl::StrCat(call->method(), ": malformed request")));
  return false;
}

template <typename Request, typename Response>
void TaskService::Unary(const CallPtr& call,
                        absl::Status (TaskService::*method)(const Request&, Response*)) {
  Request request;
  if (!Parse(call, &request)) return;
  Response response;
  absl::Status status = (this->*method)(request, &response);
  if (!status.ok()) return call->Fail(status);
  call->Reply(response.SerializeAsString());
}

TaskService::TaskService(base::EventLoop* loop, EventPublisher* events, std::string ns,
                         std::function<void()> on_shutdown)
    : loop_(loop), events_(events), ns_(std::move(ns)), on_shutdown_(std::move(on_shutdown)) {
  auto unary = [this](auto method) {
    return [this, method](const CallPtr& call) { Unary(call, method); };
  };
  methods_ = {
      {"Exec", unary(&TaskService::Exec)},
      {"State", unary(&TaskService::State)},
      {"Pids", unary(&TaskService::Pids)},
      {"Pause", unary(&TaskService::Pause)},
      {"Resume", unary(&TaskService::Resume)},
      {"Checkpoint", unary(&TaskService::Checkpoint)},
      {"Kill", unary(&TaskService::Kill)},
      {"ResizePty", unary(&TaskService::ResizePty)},
      {"CloseIO", unary(&TaskService::CloseIO)},
      {"Update", unary(&TaskService::Update)},
      {"Stats", unary(&TaskService::Stats)},
      {"Connect", unary(&TaskService::Connect)},
      {"Shutdown", unary(&TaskService::Shutdown)},
      {"Create", [this](const CallPtr& call) { Create(call); }},
      {"Start", [this](const CallPtr& call) { Start(call); }},
      {"Wait", [this](const CallPtr& call) { Wait(call); }},
      {"Delete", [this](const CallPtr& call) { Delete(call); }},
  };
}

void TaskService::Handle(const CallPtr& call) {
  auto found = methods_.find(call->method());
  if (found == methods_.end())
    return call->Fail(absl::UnimplementedError(absl::StrCat("method ", call->method())));
  found->second(call);
}

void TaskService::OnChildExit(pid_t pid, int wait_status, absl::Time at) {
  for (auto& [id, task] : tasks_) {
    if (task->OnChildExit(pid, wait_status, at)) return;
  }
  // An orphan that came to us as the subreaper: reaped, nothing else to do.
}

absl::StatusOr<Task*> TaskService::Find(const std::string& id) {
  auto found = tasks_.find(id);
  if (found == tasks_.end()) return absl::NotFoundError("container not created: not found");
  return found->second.get();
}

void TaskService::Create(const CallPtr& call) {
  task_api::CreateTaskRequest request;
  if (!Parse(call, &request)) return;
  shutdown_asked_ = shutdown_asked_ && !creating_.empty();  // a sandbox kept the shim alive
  if (tasks_.contains(request.id()) || !creating_.insert(request.id()).second)
    return call->Fail(
        absl::AlreadyExistsError(absl::StrCat("container ", request.id(), ": already exists")));
  Task::Create(loop_, events_, ns_, request,
               [this, call, id = request.id()](absl::StatusOr<std::shared_ptr<Task>> task) {
                 OnCreated(call, id, std::move(task));
               });
}

void TaskService::OnCreated(const CallPtr& call, const std::string& id,
                            absl::StatusOr<std::shared_ptr<Task>> task) {
  creating_.erase(id);
  if (!task.ok()) {
    call->Fail(task.status());
    return EndIfEmpty();
  }
  task_api::CreateTaskResponse response;
  response.set_pid(static_cast<uint32_t>((*task)->init().pid));
  Task* made = task->get();
  tasks_[id] = *std::move(task);
  if (!shutdown_asked_) return call->Reply(response.SerializeAsString());
  // Nobody wants it any longer.
  call->Fail(absl::CancelledError(absl::StrCat("container ", id, ": the shim was shut down")));
  absl::Status deleting = made->Delete("", [this, id](const absl::StatusOr<ExitInfo>&) {
    Forget(id);
    EndIfEmpty();
  });
  if (!deleting.ok())
    base::LogWarn("an unwanted container stays", {{"id", id}, {"error", deleting.ToString()}});
}

void TaskService::EndIfEmpty() {
  if (shutdown_asked_ && containers() == 0) loop_->Post(on_shutdown_);
}

void TaskService::Start(const CallPtr& call) {
  task_api::StartRequest request;
  if (!Parse(call, &request)) return;
  absl::StatusOr<Task*> task = Find(request.id());
  if (!task.ok()) return call->Fail(task.status());
  (*task)->Start(request.exec_id(), [call](absl::StatusOr<pid_t> pid) {
    if (!pid.ok()) return call->Fail(pid.status());
    task_api::StartResponse response;
    response.set_pid(static_cast<uint32_t>(*pid));
    call->Reply(response.SerializeAsString());
  });
}

absl::Status TaskService::Exec(const task_api::ExecProcessRequest& request, Empty*) {
  GANTRY_ASSIGN_OR_RETURN(Task * task, Find(request.id()));
  return task->AddExec(request);
}

absl::Status TaskService::State(const task_api::StateRequest& request,
                                task_api::StateResponse* response) {
  GANTRY_ASSIGN_OR_RETURN(Task * task, Find(request.id()));
  GANTRY_ASSIGN_OR_RETURN(TaskProcess * process, task->Find(request.exec_id()));
  response->set_id(task->id());
  response->set_bundle(task->bundle());
  response->set_pid(static_cast<uint32_t>(process->pid));
  response->set_status(ToStatus(*task, *process));
  response->set_stdin(process->stdio.in);
  response->set_stdout(process->stdio.out);
  response->set_stderr(process->stdio.err);
  response->set_terminal(process->stdio.terminal);
  response->set_exec_id(request.exec_id());
  if (process->state == TaskProcess::State::kStopped) {
    response->set_exit_status(process->exit.status);
    base::SetTimestamp(response->mutable_exited_at(), process->exit.at);
  }
  return absl::OkStatus();
}

absl::Status TaskService::Pids(const task_api::PidsRequest& request,
                               task_api::PidsResponse* response) {
  GANTRY_ASSIGN_OR_RETURN(Task * task, Find(request.id()));
  GANTRY_ASSIGN_OR_RETURN(std::vector<pid_t> pids, task->container()->Pids());
  for (pid_t pid : pids) {
    auto* info = response->add_processes();
    info->set_pid(static_cast<uint32_t>(pid));
    for (const auto& [exec_id, exec] : task->execs()) {
      if (exec.pid != pid) continue;
      containerd::runc::v1::ProcessDetails details;
      details.set_exec_id(exec_id);
      info->mutable_info()->set_type_url(details.GetTypeName());
      info->mutable_info()->set_value(details.SerializeAsString());
    }
  }
  return absl::OkStatus();
}

absl::Status TaskService::Pause(const task_api::PauseRequest& request, Empty*) {
  GANTRY_ASSIGN_OR_RETURN(Task * task, Find(request.id()));
  return task->Pause();
}

absl::Status TaskService::Resume(const task_api::ResumeRequest& request, Empty*) {
  GANTRY_ASSIGN_OR_RETURN(Task * task, Find(request.id()));
  return task->Resume();
}

absl::Status TaskService::Checkpoint(const task_api::CheckpointTaskRequest& request, Empty*) {
  GANTRY_RETURN_IF_ERROR(Find(request.id()).status());
  return absl::UnimplementedError("checkpoints are not supported by gantry-shim");
}

absl::Status TaskService::Kill(const task_api::KillRequest& request, Empty*) {
  GANTRY_ASSIGN_OR_RETURN(Task * task, Find(request.id()));
  return task->Kill(request.exec_id(), static_cast<int>(request.signal()), request.all());
}

absl::Status TaskService::ResizePty(const task_api::ResizePtyRequest& request, Empty*) {
  GANTRY_ASSIGN_OR_RETURN(Task * task, Find(request.id()));
  GANTRY_ASSIGN_OR_RETURN(TaskProcess * process, task->Find(request.exec_id()));
  if (!process->io) return absl::OkStatus();
  return process->io->Resize(request.width(), request.height());
}

absl::Status TaskService::CloseIO(const task_api::CloseIORequest& request, Empty*) {
  GANTRY_ASSIGN_OR_RETURN(Task * task, Find(request.id()));
  GANTRY_ASSIGN_OR_RETURN(TaskProcess * process, task->Find(request.exec_id()));
  if (request.stdin() && process->io) process->io->CloseStdin();
  return absl::OkStatus();
}

absl::Status TaskService::Update(const task_api::UpdateTaskRequest& request, Empty*) {
  GANTRY_ASSIGN_OR_RETURN(Task * task, Find(request.id()));
  GANTRY_ASSIGN_OR_RETURN(oci::Resources resources,
                          oci::ParseResources(request.resources().value()));
  return task->container()->Update(resources);
}

absl::Status TaskService::Stats(const task_api::StatsRequest& request,
                                task_api::StatsResponse* response) {
  GANTRY_ASSIGN_OR_RETURN(Task * task, Find(request.id()));
  GANTRY_ASSIGN_OR_RETURN(oci::Metrics metrics, task->container()->Stats());
  *response->mutable_stats() = ToMetricsMessage(metrics);
  return absl::OkStatus();
}

absl::Status TaskService::Connect(const task_api::ConnectRequest& request,
                                  task_api::ConnectResponse* response) {
  // The liveness probe of a supervisor that comes back: answers for unknown ids as well.
  response->set_shim_pid(static_cast<uint32_t>(getpid()));
  if (auto task = Find(request.id()); task.ok())
    response->set_task_pid(static_cast<uint32_t>((*task)->init().pid));
  return absl::OkStatus();
}

absl::Status TaskService::Shutdown(const task_api::ShutdownRequest&, Empty*) {
  // Containers keep it alive; what is only being made does not. Not before the answer is on its
  // way.
  shutdown_asked_ = tasks_.empty();
  EndIfEmpty();
  return absl::OkStatus();
}

void TaskService::Wait(const CallPtr& call) {
  task_api::WaitRequest request;
  if (!Parse(call, &request)) return;
  absl::StatusOr<Task*> task = Find(request.id());
  if (!task.ok()) return call->Fail(task.status());
  auto answer = [call](const absl::StatusOr<ExitInfo>& exit) {
    if (!exit.ok()) return call->Fail(exit.status());
    task_api::WaitResponse response;
    response.set_exit_status(exit->status);
    base::SetTimestamp(response.mutable_exited_at(), exit->at);
    call->Reply(response.SerializeAsString());
  };
  absl::Status waiting =
      (*task)->Wait(request.exec_id(), answer, [call] { return call->finished(); });
  if (!waiting.ok()) call->Fail(waiting);
}

void TaskService::Delete(const CallPtr& call) {
  task_api::DeleteRequest request;
  if (!Parse(call, &request)) return;
  absl::StatusOr<Task*> task = Find(request.id());
  if (!task.ok()) return call->Fail(task.status());
  absl::Status deleting = (*task)->Delete(
      request.exec_id(), [this, call, id = request.id()](const absl::StatusOr<ExitInfo>& exit) {
        Forget(id);
        if (!exit.ok()) return call->Fail(exit.status());
        task_api::DeleteResponse response;
        response.set_pid(exit->pid);
        response.set_exit_status(exit->status);
        base::SetTimestamp(response.mutable_exited_at(), exit->at);
        call->Reply(response.SerializeAsString());
      });
  if (!deleting.ok()) call->Fail(deleting);
}

void TaskService::Forget(const std::string& id) {
  auto found = tasks_.find(id);
  if (found == tasks_.end() || !found->second->deleted()) return;
  // Destroyed later: the task itself is the caller.
  loop_->Post([keep = std::move(found->second)] {});
  tasks_.erase(found);
}

}  // namespace gantry::shim
