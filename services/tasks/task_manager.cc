#include "services/tasks/task_manager.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/crash_point.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/status.h"
#include "containerd/events/sandbox.pb.h"
#include "containerd/events/task.pb.h"
#include "containerd/runtime/task/v2/shim.pb.h"
#include "containerd/types/runc/options/oci.pb.h"
#include "services/events/event_hub.h"
#include "services/metadata/filters.h"
#include "services/tasks/shim_manager.h"
#include "services/tasks/task_intents.h"
#include "services/tasks/worker_pool.h"

namespace gantry::services {
namespace {

namespace api = containerd::services::tasks::v1;
namespace shim_api = containerd::task::v2;
using containerd::services::containers::v1::Container;
using google::protobuf::Empty;
using ShimPtr = std::shared_ptr<Shim>;
using Payload = absl::StatusOr<std::string>;

template <typename Response>
using Done = TaskManager::Done<Response>;

absl::Status NoTask(const std::string& id) {
  return absl::NotFoundError(absl::StrCat("task ", id, " not found"));
}

absl::Duration Left(const TaskCaller& caller) {
  if (caller.deadline == absl::InfiniteFuture()) return absl::InfiniteDuration();
  return std::max(caller.deadline - absl::Now(), absl::Milliseconds(1));
}

// What the shim answered, or why there is no answer. A shim that is gone takes its task with it, so
// nobody is told of connections.
template <typename Message>
absl::StatusOr<Message> Parse(const Shim& shim, const Payload& payload) {
  if (!payload.ok()) {
    if (absl::IsUnavailable(payload.status()) && !shim.connected()) return NoTask(shim.id());
    return payload.status();
  }
  Message message;
  if (!message.ParseFromString(*payload)) {
    return absl::InternalError(absl::StrCat("the shim of ", shim.id(), " sent a malformed answer"));
  }
  return message;
}

// Any with type and bytes; one without bytes counts as none, as in containerd.
bool HasValue(const google::protobuf::Any& any) { return !any.value().empty(); }

std::string CriuImagePath(const google::protobuf::Any& options) {
  containerd::runc::v1::Options runc;
  absl::string_view type = options.type_url();
  type.remove_prefix(type.rfind('/') + 1);
  if (type != "containerd.runc.v1.Options" || !runc.ParseFromString(options.value())) return "";
  return runc.criu_image_path();
}

void FillProcess(const std::string& id, const shim_api::StateResponse& state,
                 containerd::v1::types::Process* process) {
  process->set_id(id);
  process->set_pid(state.pid());
  process->set_status(state.status());
  process->set_stdin(state.stdin());
  process->set_stdout(state.stdout());
  process->set_stderr(state.stderr());
  process->set_terminal(state.terminal());
  process->set_exit_status(state.exit_status());
  *process->mutable_exited_at() = state.exited_at();
}

void FillDelete(const std::string& exec_id, const shim_api::DeleteResponse& from,
                api::DeleteResponse* to) {
  to->set_id(exec_id);
  to->set_pid(from.pid());
  to->set_exit_status(from.exit_status());
  *to->mutable_exited_at() = from.exited_at();
}

// Collects the answers of many shims; the last one finishes.
template <typename Item, typename Response>
struct Gather {
  std::mutex mutex;
  size_t left = 0;
  std::vector<std::pair<std::string, Item>> items;
  absl::AnyInvocable<void(std::vector<std::pair<std::string, Item>>)> finish;

  void Add(const std::string& id, absl::StatusOr<Item> item) {
    {
      std::lock_guard<std::mutex> lock(mutex);
      if (item.ok()) items.emplace_back(id, *std::move(item));
      if (--left > 0) return;
    }
    std::sort(items.begin(), items.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
    finish(std::move(items));
  }
};

void PublishDeath(EventHub* events, const std::string& ns, const std::string& id,
                  const ShimExit& exit) {
  auto publish = [&](absl::string_view topic, const google::protobuf::Message& event) {
    google::protobuf::Any any;
    any.set_type_url(event.GetDescriptor()->full_name());
    any.set_value(event.SerializeAsString());
    absl::Status status = events->Publish(ns, topic, any);
    if (!status.ok()) base::LogError("publish the end of a task", {{"error", status.message()}});
  };
  if (exit.of_sandbox) {
    containerd::events::SandboxExit ended;
    ended.set_sandbox_id(id);
    ended.set_exit_status(exit.exit_status);
    base::SetTimestamp(ended.mutable_exited_at(), exit.exited_at);
    return publish("/sandboxes/exit", ended);
  }
  containerd::events::TaskExit ended;
  ended.set_container_id(id);
  ended.set_id(id);
  ended.set_pid(exit.pid);
  ended.set_exit_status(exit.exit_status);
  base::SetTimestamp(ended.mutable_exited_at(), exit.exited_at);
  containerd::events::TaskDelete deleted;
  deleted.set_container_id(id);
  deleted.set_pid(exit.pid);
  deleted.set_exit_status(exit.exit_status);
  *deleted.mutable_exited_at() = ended.exited_at();
  publish("/tasks/exit", ended);
  publish("/tasks/delete", deleted);
}

class Manager final : public TaskManager {
 public:
  Manager(ShimManager* shims, EventHub* events, ContainerLookup containers, const Options& options)
      : shims_(shims),
        containers_(std::move(containers)),
        options_(options),
        intents_(options.db, shims, options.state_timeout) {
    shims_->OnDeadShim(
        [events](const std::string& ns, const std::string& id, const ShimExit& exit) {
          if (events != nullptr) PublishDeath(events, ns, id, exit);
        });
  }

  absl::Status Recover() override { return intents_.Replay(); }

  void Create(TaskCaller caller, api::CreateTaskRequest request,
              Done<api::CreateTaskResponse> done) override {
    pool_.Run([this, caller = std::move(caller), request = std::move(request),
               done = std::move(done)]() mutable { done(CreateNow(caller, request)); });
  }

  void Start(TaskCaller caller, api::StartRequest request, Done<api::StartResponse> done) override {
    auto to = ToShim<shim_api::StartRequest>(request);
    Forward<shim_api::StartResponse>(
        caller, request.container_id(), "Start", to, Left(caller), std::move(done),
        [](const auto& from, api::StartResponse* response) { response->set_pid(from.pid()); });
  }

  void Delete(TaskCaller caller, api::DeleteTaskRequest request,
              Done<api::DeleteResponse> done) override;

  void DeleteProcess(TaskCaller caller, api::DeleteProcessRequest request,
                     Done<api::DeleteResponse> done) override {
    auto to = ToShim<shim_api::DeleteRequest>(request);
    Forward<shim_api::DeleteResponse>(
        caller, request.container_id(), "Delete", to, Left(caller), std::move(done),
        [id = request.exec_id()](const auto& from, api::DeleteResponse* response) {
          FillDelete(id, from, response);
        });
  }

  void Get(TaskCaller caller, api::GetRequest request, Done<api::GetResponse> done) override {
    auto to = ToShim<shim_api::StateRequest>(request);
    std::string id = request.exec_id().empty() ? request.container_id() : request.exec_id();
    Forward<shim_api::StateResponse>(
        caller, request.container_id(), "State", to, std::min(Left(caller), options_.state_timeout),
        std::move(done), [id](const auto& from, api::GetResponse* response) {
          FillProcess(id, from, response->mutable_process());
        });
  }

  void List(TaskCaller caller, api::ListTasksRequest request,
            Done<api::ListTasksResponse> done) override;

  void Kill(TaskCaller caller, api::KillRequest request, Done<Empty> done) override {
    auto to = ToShim<shim_api::KillRequest>(request);
    to.set_signal(request.signal());
    // `all` is of the container; for an exec containerd drops it.
    to.set_all(request.exec_id().empty() && request.all());
    ForwardEmpty(caller, request.container_id(), "Kill", to, std::move(done));
  }

  void Exec(TaskCaller caller, api::ExecProcessRequest request, Done<Empty> done) override {
    absl::Status valid = base::ValidateIdentifier(request.exec_id());
    if (request.exec_id().empty()) {
      return done(absl::InvalidArgumentError("exec id cannot be empty"));
    }
    if (!valid.ok()) {
      return done(base::Annotate(valid, absl::StrCat("invalid exec id ", request.exec_id())));
    }
    auto to = ToShim<shim_api::ExecProcessRequest>(request);
    to.set_stdin(request.stdin());
    to.set_stdout(request.stdout());
    to.set_stderr(request.stderr());
    to.set_terminal(request.terminal());
    *to.mutable_spec() = request.spec();
    ForwardEmpty(caller, request.container_id(), "Exec", to, std::move(done));
  }

  void ResizePty(TaskCaller caller, api::ResizePtyRequest request, Done<Empty> done) override {
    auto to = ToShim<shim_api::ResizePtyRequest>(request);
    to.set_width(request.width());
    to.set_height(request.height());
    ForwardEmpty(caller, request.container_id(), "ResizePty", to, std::move(done));
  }

  void CloseIO(TaskCaller caller, api::CloseIORequest request, Done<Empty> done) override {
    if (!request.stdin()) {
      absl::StatusOr<ShimPtr> shim = Find(caller, request.container_id());
      if (!shim.ok()) return done(shim.status());
      return done(Empty());
    }
    auto to = ToShim<shim_api::CloseIORequest>(request);
    to.set_stdin(true);
    ForwardEmpty(caller, request.container_id(), "CloseIO", to, std::move(done));
  }

  void Pause(TaskCaller caller, api::PauseTaskRequest request, Done<Empty> done) override {
    shim_api::PauseRequest to;
    to.set_id(request.container_id());
    ForwardEmpty(caller, request.container_id(), "Pause", to, std::move(done));
  }

  void Resume(TaskCaller caller, api::ResumeTaskRequest request, Done<Empty> done) override {
    shim_api::ResumeRequest to;
    to.set_id(request.container_id());
    ForwardEmpty(caller, request.container_id(), "Resume", to, std::move(done));
  }

  void ListPids(TaskCaller caller, api::ListPidsRequest request,
                Done<api::ListPidsResponse> done) override {
    shim_api::PidsRequest to;
    to.set_id(request.container_id());
    Forward<shim_api::PidsResponse>(caller, request.container_id(), "Pids", to, Left(caller),
                                    std::move(done),
                                    [](const auto& from, api::ListPidsResponse* response) {
                                      *response->mutable_processes() = from.processes();
                                    });
  }

  void Checkpoint(TaskCaller caller, api::CheckpointTaskRequest request,
                  Done<api::CheckpointTaskResponse> done) override;

  void Update(TaskCaller caller, api::UpdateTaskRequest request, Done<Empty> done) override {
    shim_api::UpdateTaskRequest to;
    to.set_id(request.container_id());
    if (request.has_resources()) *to.mutable_resources() = request.resources();
    *to.mutable_annotations() = request.annotations();
    ForwardEmpty(caller, request.container_id(), "Update", to, std::move(done));
  }

  void Metrics(TaskCaller caller, api::MetricsRequest request,
               Done<api::MetricsResponse> done) override;
  void Wait(TaskCaller caller, api::WaitRequest request, Done<api::WaitResponse> done) override;

 private:
  // With the container and the exec of `request`.
  template <typename To, typename From>
  static To ToShim(const From& request) {
    To to;
    to.set_id(request.container_id());
    to.set_exec_id(request.exec_id());
    return to;
  }

  // The record comes first: without one there is no task, whatever a shim says.
  absl::StatusOr<ShimPtr> Find(const TaskCaller& caller, const std::string& id) const {
    absl::StatusOr<Container> container = containers_(caller.ns, id);
    if (!container.ok()) return container.status();
    absl::StatusOr<ShimPtr> shim = shims_->Get(caller.ns, id);
    if (!shim.ok()) return NoTask(id);
    return shim;
  }

  // One call of the shim for one of ours: `fill(answer, response)`.
  template <typename Answer, typename Response, typename Fill>
  void Forward(const TaskCaller& caller, const std::string& id, absl::string_view method,
               const google::protobuf::MessageLite& request, absl::Duration timeout,
               Done<Response> done, Fill fill) {
    absl::StatusOr<ShimPtr> shim = Find(caller, id);
    if (!shim.ok()) return done(shim.status());
    (*shim)->CallTask(method, request, timeout,
                      [shim = *shim, done = std::move(done),
                       fill = std::move(fill)](const Payload& payload) mutable {
                        absl::StatusOr<Answer> answer = Parse<Answer>(*shim, payload);
                        if (!answer.ok()) return done(answer.status());
                        Response response;
                        fill(*answer, &response);
                        done(std::move(response));
                      });
  }

  void ForwardEmpty(const TaskCaller& caller, const std::string& id, absl::string_view method,
                    const google::protobuf::MessageLite& request, Done<Empty> done) {
    Forward<Empty>(caller, id, method, request, Left(caller), std::move(done),
                   [](const Empty&, Empty*) {});
  }

  absl::StatusOr<api::CreateTaskResponse> CreateNow(const TaskCaller& caller,
                                                    const api::CreateTaskRequest& request);
  absl::StatusOr<uint32_t> CreateInShim(const TaskCaller& caller, Shim& shim,
                                        const api::CreateTaskRequest& request,
                                        const google::protobuf::Any& options);

  ShimManager* const shims_;
  const ContainerLookup containers_;
  const Options options_;
  const TaskIntents intents_;
  WorkerPool pool_;
};

absl::StatusOr<api::CreateTaskResponse> Manager::CreateNow(const TaskCaller& caller,
                                                           const api::CreateTaskRequest& request) {
  const std::string& id = request.container_id();
  GANTRY_ASSIGN_OR_RETURN(Container container, containers_(caller.ns, id));
  if (shims_->Get(caller.ns, id).ok()) {
    return absl::AlreadyExistsError(absl::StrCat("task ", id, ": already exists"));
  }
  if (request.has_checkpoint()) {
    return absl::UnimplementedError(
        "restoring from a checkpoint image is not supported; give criu_image_path in the options");
  }
  ShimStartRequest start;
  start.ns = caller.ns;
  start.id = id;
  start.runtime =
      request.runtime_path().empty() ? container.runtime().name() : request.runtime_path();
  start.options = HasValue(request.options()) ? request.options() : container.runtime().options();
  start.spec = std::move(*container.mutable_spec());
  start.sandbox_id = container.sandbox();
  start.deadline = caller.deadline;
  GANTRY_ASSIGN_OR_RETURN(IntentScope intent, intents_.BeginCreate(caller.ns, id));
  base::CrashPoint("task.create.begun");
  absl::StatusOr<ShimPtr> shim = shims_->Start(start);
  if (!shim.ok()) {
    if (absl::IsAlreadyExists(shim.status())) return shim.status();
    return base::Annotate(shim.status(), "failed to start shim");
  }
  base::CrashPoint("task.create.started");
  absl::StatusOr<uint32_t> pid = CreateInShim(caller, **shim, request, start.options);
  base::CrashPoint("task.create.created");
  if (!pid.ok()) {
    shims_->Discard(*shim);
    return base::Annotate(pid.status(), "failed to create shim task");
  }
  api::CreateTaskResponse response;
  response.set_container_id(id);
  response.set_pid(*pid);
  return response;
}

absl::StatusOr<uint32_t> Manager::CreateInShim(const TaskCaller& caller, Shim& shim,
                                               const api::CreateTaskRequest& request,
                                               const google::protobuf::Any& options) {
  shim_api::CreateTaskRequest to;
  to.set_id(shim.id());
  to.set_bundle(shim.bundle());
  *to.mutable_rootfs() = request.rootfs();
  to.set_terminal(request.terminal());
  to.set_stdin(request.stdin());
  to.set_stdout(request.stdout());
  to.set_stderr(request.stderr());
  to.set_checkpoint(CriuImagePath(request.options()));
  if (!options.type_url().empty()) *to.mutable_options() = options;
  shim_api::CreateTaskResponse created;
  absl::Status status = shim.CallTaskAndWait("Create", to, &created, Left(caller));
  if (absl::IsUnimplemented(status) && shim.Downgrade()) {
    status = shim.CallTaskAndWait("Create", to, &created, Left(caller));
  }
  if (absl::IsUnavailable(status) && !shim.connected()) {
    return absl::UnknownError("the shim died while it created the container; see gantryd's log");
  }
  GANTRY_RETURN_IF_ERROR(status);
  return created.pid();
}

void Manager::Delete(TaskCaller caller, api::DeleteTaskRequest request,
                     Done<api::DeleteResponse> done) {
  absl::StatusOr<ShimPtr> found = Find(caller, request.container_id());
  if (!found.ok()) return done(found.status());
  ShimPtr shim = *found;
  absl::StatusOr<IntentScope> intent = intents_.BeginDelete(caller.ns, shim->id());
  if (!intent.ok()) return done(intent.status());
  base::CrashPoint("task.delete.begun");
  shim_api::DeleteRequest to;
  to.set_id(shim->id());
  shim->CallTask("Delete", to, Left(caller),
                 [shims = shims_, shim, intent = *std::move(intent),
                  done = std::move(done)](const Payload& payload) mutable {
                   base::CrashPoint("task.delete.deleted");
                   if (absl::IsUnavailable(payload.status()) && !shim->connected()) {
                     shim->AfterDeath([shim, intent = std::move(intent), done = std::move(done)](
                                          absl::StatusOr<ShimExit> exit) mutable {
                       if (!exit.ok()) {
                         intent.Leave();  // we are stopping: the next start sees what became of it
                         return done(exit.status());
                       }
                       { IntentScope over = std::move(intent); }
                       api::DeleteResponse response;
                       response.set_pid(exit->pid);
                       response.set_exit_status(exit->exit_status);
                       base::SetTimestamp(response.mutable_exited_at(), exit->exited_at);
                       done(std::move(response));
                     });
                     return;
                   }
                   auto answer = Parse<shim_api::DeleteResponse>(*shim, payload);
                   // A shim that knows no such task is of no use to anyone.
                   if (!answer.ok() && !absl::IsNotFound(answer.status())) {
                     { IntentScope over = std::move(intent); }
                     return done(base::Annotate(answer.status(), "failed to delete task"));
                   }
                   absl::StatusOr<api::DeleteResponse> response = NoTask(shim->id());
                   if (answer.ok()) FillDelete("", *answer, &response.emplace());
                   shims->Remove(shim, [intent = std::move(intent), done = std::move(done),
                                        response = std::move(response)]() mutable {
                     base::CrashPoint("task.delete.removed");
                     { IntentScope over = std::move(intent); }
                     done(std::move(response));
                   });
                 });
}

void Manager::List(TaskCaller caller, api::ListTasksRequest, Done<api::ListTasksResponse> done) {
  std::vector<ShimPtr> shims = shims_->List(caller.ns);
  using All = Gather<shim_api::StateResponse, api::ListTasksResponse>;
  auto gather = std::make_shared<All>();
  gather->left = shims.size();
  gather->finish = [done = std::move(done)](auto states) mutable {
    api::ListTasksResponse response;
    for (const auto& [id, state] : states) FillProcess(id, state, response.add_tasks());
    done(std::move(response));
  };
  if (shims.empty()) return gather->finish({});
  absl::Duration timeout = std::min(Left(caller), options_.state_timeout);
  for (const ShimPtr& shim : shims) {
    shim_api::StateRequest to;
    to.set_id(shim->id());
    shim->CallTask("State", to, timeout, [gather, shim](const Payload& payload) {
      auto state = Parse<shim_api::StateResponse>(*shim, payload);
      if (!state.ok() && !absl::IsNotFound(state.status())) {
        base::LogError("ask a shim for its state",
                       {{"id", shim->id()}, {"error", state.status().message()}});
      }
      gather->Add(shim->id(), std::move(state));
    });
  }
}

void Manager::Metrics(TaskCaller caller, api::MetricsRequest request,
                      Done<api::MetricsResponse> done) {
  absl::StatusOr<Filter> filter = Filter::Parse(request.filters());
  if (!filter.ok()) return done(filter.status());
  std::vector<ShimPtr> shims;
  for (const ShimPtr& shim : shims_->List(caller.ns)) {
    bool wanted =
        filter->Match([&shim](absl::Span<const std::string> path) -> std::optional<std::string> {
          if (path[0] == "id") return shim->id();
          if (path[0] == "namespace") return shim->ns();
          return std::nullopt;
        });
    if (wanted) shims.push_back(shim);
  }
  using All = Gather<containerd::types::Metric, api::MetricsResponse>;
  auto gather = std::make_shared<All>();
  gather->left = shims.size();
  gather->finish = [done = std::move(done)](auto metrics) mutable {
    api::MetricsResponse response;
    for (auto& [id, metric] : metrics) *response.add_metrics() = std::move(metric);
    done(std::move(response));
  };
  if (shims.empty()) return gather->finish({});
  absl::Duration timeout = std::min(Left(caller), options_.state_timeout);
  for (const ShimPtr& shim : shims) {
    shim_api::StatsRequest to;
    to.set_id(shim->id());
    absl::Time collected = absl::Now();
    shim->CallTask("Stats", to, timeout, [gather, shim, collected](const Payload& payload) {
      auto stats = Parse<shim_api::StatsResponse>(*shim, payload);
      if (!stats.ok()) {
        if (!absl::IsNotFound(stats.status())) {
          base::LogError("collect metrics",
                         {{"id", shim->id()}, {"error", stats.status().message()}});
        }
        return gather->Add(shim->id(), stats.status());
      }
      containerd::types::Metric metric;
      base::SetTimestamp(metric.mutable_timestamp(), collected);
      metric.set_id(shim->id());
      *metric.mutable_data() = stats->stats();
      gather->Add(shim->id(), std::move(metric));
    });
  }
}

void Manager::Checkpoint(TaskCaller caller, api::CheckpointTaskRequest request,
                         Done<api::CheckpointTaskResponse> done) {
  if (absl::Status known = Find(caller, request.container_id()).status(); !known.ok())
    return done(known);
  containerd::runc::v1::CheckpointOptions options;
  if (request.has_options() && !options.ParseFromString(request.options().value())) {
    return done(absl::InvalidArgumentError("invalid task checkpoint option"));
  }
  if (options.image_path().empty()) {
    return done(absl::UnimplementedError(
        "checkpoint into the content store is not supported; give image_path in the options"));
  }
  shim_api::CheckpointTaskRequest to;
  to.set_id(request.container_id());
  to.set_path(options.image_path());
  *to.mutable_options() = request.options();
  Forward<Empty>(caller, request.container_id(), "Checkpoint", to, Left(caller), std::move(done),
                 [](const Empty&, api::CheckpointTaskResponse*) {});
}

void Manager::Wait(TaskCaller caller, api::WaitRequest request, Done<api::WaitResponse> done) {
  absl::StatusOr<ShimPtr> found = Find(caller, request.container_id());
  if (!found.ok()) return done(found.status());
  ShimPtr shim = *found;
  auto to = ToShim<shim_api::WaitRequest>(request);
  shim->CallTask("Wait", to, Left(caller),
                 [shim, done = std::move(done)](const Payload& payload) mutable {
                   if (absl::IsUnavailable(payload.status()) && !shim->connected()) {
                     shim->AfterDeath([done = std::move(done)](auto exit) mutable {
                       if (!exit.ok()) return done(exit.status());
                       api::WaitResponse response;
                       response.set_exit_status(exit->exit_status);
                       base::SetTimestamp(response.mutable_exited_at(), exit->exited_at);
                       done(std::move(response));
                     });
                     return;
                   }
                   auto answer = Parse<shim_api::WaitResponse>(*shim, payload);
                   if (!answer.ok()) return done(answer.status());
                   api::WaitResponse response;
                   response.set_exit_status(answer->exit_status());
                   *response.mutable_exited_at() = answer->exited_at();
                   done(std::move(response));
                 });
}

}  // namespace

std::unique_ptr<TaskManager> TaskManager::Create(ShimManager* shims, EventHub* events,
                                                 ContainerLookup containers,
                                                 const Options& options) {
  return std::make_unique<Manager>(shims, events, std::move(containers), options);
}

}  // namespace gantry::services
