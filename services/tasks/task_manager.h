#ifndef GANTRY_SERVICES_TASKS_TASK_MANAGER_H_
#define GANTRY_SERVICES_TASKS_TASK_MANAGER_H_

// Tasks as containerd's API has them: the running side of a container record, held by a shim. This
// is the Tasks service without gRPC; CRI and others inside the supervisor may use it as well.
//
// Every call is asynchronous: it returns at once and `done` runs once, on the ttrpc thread or a
// worker (or on the calling thread if the request fails at once). So a call that lasts holds no
// thread, and a shim that does not answer delays its own callers only. `done` must not block.
//
// Events of a task come from its shim; only when a shim vanished are TaskExit and TaskDelete
// published here, as containerd does.

#include <functional>
#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "containerd/services/containers/v1/containers.pb.h"
#include "containerd/services/tasks/v1/tasks.pb.h"
#include "google/protobuf/empty.pb.h"

namespace gantry::services {

class Db;
class EventHub;
class ShimManager;

struct TaskCaller {
  std::string ns;  // not empty
  absl::Time deadline = absl::InfiniteFuture();
};

class TaskManager {
 public:
  // Reads a container record; NotFound with the store's text otherwise. Must not block for long.
  using ContainerLookup =
      std::function<absl::StatusOr<containerd::services::containers::v1::Container>(
          const std::string& ns, const std::string& id)>;

  struct Options {
    absl::Duration state_timeout = absl::Seconds(2);  // Get, List and Metrics, per shim
    Db* db = nullptr;  // where creations and deletions write their intents; null: nowhere
  };

  // The arguments must outlive the manager; takes over shims->OnDeadShim(). `events` may be null
  // in tests.
  static std::unique_ptr<TaskManager> Create(ShimManager* shims, EventHub* events,
                                             ContainerLookup containers, const Options& options);
  virtual ~TaskManager() = default;

  // Once, after shims->LoadAll() and before requests are served: a creation that was cut off is
  // undone unless somebody has started the task meanwhile; a deletion is finished if the shim had
  // done its part, else the task stays for the next attempt.
  virtual absl::Status Recover() = 0;

  template <typename Response>
  using Done = absl::AnyInvocable<void(absl::StatusOr<Response>)>;
  using Empty = google::protobuf::Empty;

  // Errors of all: NotFound `container "x" in namespace "ns": not found` without a record, NotFound
  // "task x not found" without a task; what the shim says, with its code, otherwise.

  // AlreadyExists "task x: already exists". Starts a shim, then its Create; if that fails nothing
  // is left.
  virtual void Create(TaskCaller caller, containerd::services::tasks::v1::CreateTaskRequest request,
                      Done<containerd::services::tasks::v1::CreateTaskResponse> done) = 0;
  virtual void Start(TaskCaller caller, containerd::services::tasks::v1::StartRequest request,
                     Done<containerd::services::tasks::v1::StartResponse> done) = 0;
  // When `done` runs the bundle is gone and the id may be used again.
  virtual void Delete(TaskCaller caller, containerd::services::tasks::v1::DeleteTaskRequest request,
                      Done<containerd::services::tasks::v1::DeleteResponse> done) = 0;
  virtual void DeleteProcess(TaskCaller caller,
                             containerd::services::tasks::v1::DeleteProcessRequest request,
                             Done<containerd::services::tasks::v1::DeleteResponse> done) = 0;
  virtual void Get(TaskCaller caller, containerd::services::tasks::v1::GetRequest request,
                   Done<containerd::services::tasks::v1::GetResponse> done) = 0;
  // Tasks whose shim does not answer within state_timeout are left out.
  virtual void List(TaskCaller caller, containerd::services::tasks::v1::ListTasksRequest request,
                    Done<containerd::services::tasks::v1::ListTasksResponse> done) = 0;
  virtual void Kill(TaskCaller caller, containerd::services::tasks::v1::KillRequest request,
                    Done<Empty> done) = 0;
  virtual void Exec(TaskCaller caller, containerd::services::tasks::v1::ExecProcessRequest request,
                    Done<Empty> done) = 0;
  virtual void ResizePty(TaskCaller caller,
                         containerd::services::tasks::v1::ResizePtyRequest request,
                         Done<Empty> done) = 0;
  virtual void CloseIO(TaskCaller caller, containerd::services::tasks::v1::CloseIORequest request,
                       Done<Empty> done) = 0;
  virtual void Pause(TaskCaller caller, containerd::services::tasks::v1::PauseTaskRequest request,
                     Done<Empty> done) = 0;
  virtual void Resume(TaskCaller caller, containerd::services::tasks::v1::ResumeTaskRequest request,
                      Done<Empty> done) = 0;
  virtual void ListPids(TaskCaller caller, containerd::services::tasks::v1::ListPidsRequest request,
                        Done<containerd::services::tasks::v1::ListPidsResponse> done) = 0;
  // Into the directory that CheckpointOptions.image_path names; Unimplemented without one (nothing
  // stores the image as content yet).
  virtual void Checkpoint(TaskCaller caller,
                          containerd::services::tasks::v1::CheckpointTaskRequest request,
                          Done<containerd::services::tasks::v1::CheckpointTaskResponse> done) = 0;
  virtual void Update(TaskCaller caller, containerd::services::tasks::v1::UpdateTaskRequest request,
                      Done<Empty> done) = 0;
  // Filters over id and namespace, one Stats call per match.
  virtual void Metrics(TaskCaller caller, containerd::services::tasks::v1::MetricsRequest request,
                       Done<containerd::services::tasks::v1::MetricsResponse> done) = 0;
  // Lasts as long as the process. If the shim dies the answer is the status that its clean-up
  // found.
  virtual void Wait(TaskCaller caller, containerd::services::tasks::v1::WaitRequest request,
                    Done<containerd::services::tasks::v1::WaitResponse> done) = 0;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_TASKS_TASK_MANAGER_H_
