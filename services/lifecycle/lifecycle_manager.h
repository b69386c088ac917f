#ifndef GANTRY_SERVICES_LIFECYCLE_LIFECYCLE_MANAGER_H_
#define GANTRY_SERVICES_LIFECYCLE_LIFECYCLE_MANAGER_H_

// gantryd's own care for containers beyond their tasks: the Lifecycle service without gRPC. What
// each call does, and its errors, is said in lifecycle.proto.
//
// Every container is an actor: what changes it runs in order, on a worker, and one that hangs
// delays nobody else. State is kept in memory and in the Db; reading it asks no shim. What a task
// does by itself is heard of through the events of the supervisor.

#include <cstdint>
#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "containerd/services/containers/v1/containers.pb.h"
#include "gantry/services/lifecycle/v1/lifecycle.pb.h"
#include "google/protobuf/empty.pb.h"

namespace gantry::services {

class ContainerStore;
class Db;
class EventHub;
class ExitStore;
class NetworkManager;
class Snapshots;
class TaskManager;
class VolumeManager;

class LifecycleManager {
 public:
  // All outlive the manager. Without networks or volumes containers that need them do not start
  // (FailedPrecondition).
  struct Deps {
    Db* db = nullptr;
    EventHub* events = nullptr;
    ContainerStore* containers = nullptr;
    Snapshots* snapshots = nullptr;
    TaskManager* tasks = nullptr;
    const ExitStore* exits = nullptr;
    NetworkManager* networks = nullptr;
    VolumeManager* volumes = nullptr;
  };
  struct Options {
    std::string root;  // directories of containers: ROOT/containers/NS/ID
    // Where shims listen for clients of standard streams. Short: the path of a socket is at most
    // 107 bytes. Empty: nowhere, streams go to the log alone.
    std::string attach_dir;
    std::string default_snapshotter = "overlayfs";
  };

  template <typename Response>
  using Done = absl::AnyInvocable<void(absl::StatusOr<Response>)>;
  using Empty = google::protobuf::Empty;
  using Container = containerd::services::containers::v1::Container;

  static absl::StatusOr<std::unique_ptr<LifecycleManager>> Open(Deps deps, Options options);
  // Waits for what is under way; containers go on.
  virtual ~LifecycleManager() = default;

  // Once, after the tasks (and networks and volumes) are recovered and before requests are served:
  // creations and removals that were cut off are undone and finished, tasks that run are taken
  // over, ends that were missed are dealt with, and what the restart policies say is started, in
  // the background.
  virtual absl::Status Recover() = 0;
  // For the recovery of others: whether a container takes part, before or after Recover().
  virtual bool Exists(const std::string& ns, const std::string& id) const = 0;

  // The specification for the start that is under way, in place of the record's. Called for each
  // task request; quick.
  virtual void OverrideSpec(const std::string& ns, Container* record) const = 0;

  // `done` runs once, on a worker or the calling thread; it must not block. `ns` is not empty.
  virtual void Create(const std::string& ns, lifecycle::v1::CreateRequest request,
                      Done<lifecycle::v1::CreateResponse> done) = 0;
  struct Running {
    lifecycle::v1::Container container;
    uint64_t wait = 0;  // for CancelWait()
  };
  // `ended` runs once after `started` has got a container, and never otherwise.
  virtual void Run(const std::string& ns, lifecycle::v1::CreateRequest request,
                   Done<Running> started, Done<lifecycle::v1::WaitResponse> ended) = 0;
  virtual void Start(const std::string& ns, lifecycle::v1::StartRequest request,
                     Done<lifecycle::v1::StartResponse> done) = 0;
  virtual void Stop(const std::string& ns, lifecycle::v1::StopRequest request,
                    Done<lifecycle::v1::StopResponse> done) = 0;
  virtual void Kill(const std::string& ns, lifecycle::v1::KillRequest request,
                    Done<Empty> done) = 0;
  virtual void Restart(const std::string& ns, lifecycle::v1::RestartRequest request,
                       Done<Empty> done) = 0;
  virtual void Pause(const std::string& ns, lifecycle::v1::PauseRequest request,
                     Done<Empty> done) = 0;
  virtual void Resume(const std::string& ns, lifecycle::v1::ResumeRequest request,
                      Done<Empty> done) = 0;
  virtual void Remove(const std::string& ns, lifecycle::v1::RemoveRequest request,
                      Done<Empty> done) = 0;
  virtual void Update(const std::string& ns, lifecycle::v1::UpdateRequest request,
                      Done<lifecycle::v1::UpdateResponse> done) = 0;
  virtual void ConnectNetwork(const std::string& ns, lifecycle::v1::ConnectNetworkRequest request,
                              Done<Empty> done) = 0;
  virtual void DisconnectNetwork(const std::string& ns,
                                 lifecycle::v1::DisconnectNetworkRequest request,
                                 Done<Empty> done) = 0;

  // A number for CancelWait(); 0 when `done` has run already.
  virtual uint64_t Wait(const std::string& ns, const lifecycle::v1::WaitRequest& request,
                        Done<lifecycle::v1::WaitResponse> done) = 0;
  // The client has gone: `done` is dropped, unless it is being called.
  virtual void CancelWait(uint64_t number) = 0;

  // Read the memory (and for the specification, the Db).
  virtual absl::StatusOr<lifecycle::v1::GetResponse> Get(const std::string& ns,
                                                         const std::string& id) const = 0;
  virtual absl::StatusOr<lifecycle::v1::GetResponse> Find(const std::string& ns,
                                                          const std::string& name) const = 0;
  virtual absl::StatusOr<lifecycle::v1::ListResponse> List(
      const std::string& ns, const lifecycle::v1::ListRequest& request) const = 0;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_LIFECYCLE_LIFECYCLE_MANAGER_H_
