#ifndef GANTRY_SERVICES_LIFECYCLE_MANAGER_H_
#define GANTRY_SERVICES_LIFECYCLE_MANAGER_H_

// The one LifecycleManager. Its parts stand in files of their own: manager.cc (the door: looking
// up, waiting, events), create.cc, start.cc, stop.cc, exit.cc, remove.cc, update.cc, recover.cc,
// health_checks.cc.

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/unique_fd.h"
#include "google/protobuf/any.pb.h"
#include "services/events/event_hub.h"
#include "services/lifecycle/container_files.h"
#include "services/lifecycle/entry.h"
#include "services/lifecycle/lifecycle_manager.h"
#include "services/lifecycle/loop_thread.h"
#include "services/lifecycle/records.h"
#include "services/lifecycle/registry.h"
#include "services/metadata/db.h"
#include "services/metadata/intents.h"
#include "services/tasks/worker_pool.h"

namespace gantry::services::lifecycle {

class Manager final : public LifecycleManager {
 public:
  Manager(Deps deps, Options options);
  ~Manager() override;

  absl::Status Load();

  absl::Status Recover() override;
  bool Exists(const std::string& ns, const std::string& id) const override;
  void OverrideSpec(const std::string& ns, Container* record) const override;

  void Create(const std::string& ns, v1::CreateRequest request,
              Done<v1::CreateResponse> done) override;
  void Run(const std::string& ns, v1::CreateRequest request, Done<Running> started,
           Done<v1::WaitResponse> ended) override;
  void Start(const std::string& ns, v1::StartRequest request,
             Done<v1::StartResponse> done) override;
  void Stop(const std::string& ns, v1::StopRequest request, Done<v1::StopResponse> done) override;
  void Kill(const std::string& ns, v1::KillRequest request, Done<Empty> done) override;
  void Restart(const std::string& ns, v1::RestartRequest request, Done<Empty> done) override;
  void Pause(const std::string& ns, v1::PauseRequest request, Done<Empty> done) override;
  void Resume(const std::string& ns, v1::ResumeRequest request, Done<Empty> done) override;
  void Remove(const std::string& ns, v1::RemoveRequest request, Done<Empty> done) override;
  void Update(const std::string& ns, v1::UpdateRequest request,
              Done<v1::UpdateResponse> done) override;
  void ConnectNetwork(const std::string& ns, v1::ConnectNetworkRequest request,
                      Done<Empty> done) override;
  void DisconnectNetwork(const std::string& ns, v1::DisconnectNetworkRequest request,
                         Done<Empty> done) override;
  uint64_t Wait(const std::string& ns, const v1::WaitRequest& request,
                Done<v1::WaitResponse> done) override;
  void CancelWait(uint64_t number) override;
  absl::StatusOr<v1::GetResponse> Get(const std::string& ns, const std::string& id) const override;
  absl::StatusOr<v1::GetResponse> Find(const std::string& ns,
                                       const std::string& name) const override;
  absl::StatusOr<v1::ListResponse> List(const std::string& ns,
                                        const v1::ListRequest& request) const override;

 private:
  using Attributes = std::vector<std::pair<std::string, std::string>>;

  // manager.cc
  // Runs `work(entry, done)` on the strand of a container that exists then; `done` gets NotFound
  // otherwise.
  template <typename Response, typename Work>
  void OnStrand(const std::string& ns, const std::string& id, Done<Response> done, Work work) {
    absl::StatusOr<EntryPtr> found = registry_.Get(ns, id);
    if (!found.ok()) return done(found.status());
    EntryPtr entry = *std::move(found);
    entry->strand->Run([entry, done = std::move(done), work = std::move(work)]() mutable {
      if (entry->gone) return done(NoSuchContainer(entry->id));
      work(entry, std::move(done));
    });
  }
  absl::StatusOr<v1::GetResponse> Describe(const Entry& entry) const;
  void WakeUp();
  void DrainEvents();
  void HandleEvent(const containerd::types::Envelope& envelope);
  absl::Status SubscribeLocked();
  // Runs `work(entry)` on its strand after `delay` if the same run is still under way then.
  void Later(const EntryPtr& entry, absl::Duration delay,
             std::function<void(const EntryPtr&)> work);
  // Makes `state` the container's, in the Db together with events, and in memory. The world has
  // changed already, so a Db that cannot be written is logged.
  void Commit(Entry& entry, v1::State state, Durability durability,
              std::vector<gantry::types::ObjectEvent> events);
  void Emit(const Entry& entry, absl::string_view action, const Attributes& more = {});
  static v1::WaitResponse WaitAnswer(const v1::State& state);
  void Notify(std::vector<Waiter> waiters, const absl::StatusOr<v1::WaitResponse>& answer);

  // create.cc
  absl::StatusOr<v1::CreateResponse> CreateNow(const std::string& ns, v1::CreateRequest request,
                                               Durability durability);
  void RunCreated(const EntryPtr& entry, Done<Running> started, Done<v1::WaitResponse> ended);
  absl::Status MakeParts(Entry& entry, const v1::CreateRequest& request,
                         const std::string& snapshotter);
  absl::Status RecordCreation(Entry& entry, ContainerRecord record, v1::Container container,
                              Durability durability, IntentScope* intent);
  // Removes what a creation made or a removal left; the first error, after all was tried.
  absl::Status RemoveParts(const Intent& what);

  // start.cc
  void StartByUser(const EntryPtr& entry, const v1::StartRequest& request,
                   Done<v1::StartResponse> done);
  absl::Status StartNow(const EntryPtr& entry, const v1::StartRequest& request);
  struct Joined;
  absl::Status StartTask(Entry& entry, const v1::StartRequest& request, v1::State* state);
  absl::Status PrepareRun(Entry& entry, v1::State* state, Joined* joined);
  absl::Status Join(const Entry& entry, Joined* joined) const;
  absl::StatusOr<base::UniqueFd> OpenNamespaceOf(const Entry& entry, const std::string& type) const;
  absl::StatusOr<uint32_t> CreateTask(Entry& entry, const v1::StartRequest& request);
  void FailStart(const EntryPtr& entry, const absl::Status& why);
  std::string AttachPath(const Entry& entry) const;

  // stop.cc
  struct StopPlan {
    uint32_t signal = 0;
    int64_t timeout = 10;
  };
  absl::StatusOr<StopPlan> PlanStop(const Entry& entry, std::optional<int64_t> timeout,
                                    const std::string& signal) const;
  // Ends it for a client; `then` runs on the strand when it does not run any more.
  void StopForUser(const EntryPtr& entry, const StopPlan& plan, absl::AnyInvocable<void()> then);
  absl::Status Signal(Entry& entry, uint32_t signal);
  // A client of tasks has paused or resumed it, or we have.
  void OnPauseEvent(const EntryPtr& entry);
  void KillLater(const EntryPtr& entry, absl::Duration delay);

  // exit.cc
  struct Exit {
    uint32_t code = 255;
    absl::Time at;
  };
  void OnExit(const EntryPtr& entry, uint32_t pid, Exit exit);
  std::optional<Exit> DeleteTask(const Entry& entry);
  void KillTask(const Entry& entry);
  bool TaskRuns(const Entry& entry) const;
  // Networks, volumes: gives back what a start took.
  void CleanUpRun(Entry& entry);
  // Left by a shim that was killed.
  void RemoveAttachSocket(const Entry& entry) const;
  void Ended(const EntryPtr& entry, Exit exit);
  void RestartLater(const EntryPtr& entry, v1::State state, absl::Duration ran,
                    std::vector<gantry::types::ObjectEvent> events);
  void AutoRestart(const EntryPtr& entry);
  void BecomeStopped(const EntryPtr& entry, v1::State state, Durability durability,
                     std::vector<gantry::types::ObjectEvent> events);

  // remove.cc
  absl::Status RemoveNow(const EntryPtr& entry, bool volumes, Durability durability);
  void OnRecordDeleted(const EntryPtr& entry);

  // update.cc
  absl::StatusOr<v1::UpdateResponse> UpdateNow(const EntryPtr& entry,
                                               const v1::UpdateRequest& request);
  absl::Status ChangeRecord(Entry& entry, const v1::Policy& policy,
                            const std::function<absl::Status(Tx&, ContainerRecord*)>& more,
                            std::vector<gantry::types::ObjectEvent> events);
  void OnRecordUpdated(const EntryPtr& entry);

  // recover.cc
  absl::Status ReplayIntentions();
  absl::Status SweepDirectories();
  void Reconcile(const EntryPtr& entry);
  void Adopt(const EntryPtr& entry, uint32_t pid, bool paused);
  void EndMissed(const EntryPtr& entry);
  Exit MissedExit(const Entry& entry) const;
  void StartWhatShouldRun(const EntryPtr& entry);

  // health_checks.cc
  void BeginHealthChecks(const EntryPtr& entry);
  void ScheduleHealthCheck(const EntryPtr& entry);
  void CheckHealth(const EntryPtr& entry);
  struct Probe;
  absl::Status BeginProbe(Entry& entry, const std::shared_ptr<Probe>& probe);
  void EndLeftoverProbe(const Entry& entry);
  void DeleteProbe(const Entry& entry);
  void OnProbeExit(const EntryPtr& entry, const std::shared_ptr<Probe>& probe, uint64_t run,
                   uint32_t exit_code);
  void EndOutput(const std::shared_ptr<Probe>& probe);
  void EndProbe(const EntryPtr& entry, const std::shared_ptr<Probe>& probe,
                v1::HealthResult result);

  const Deps deps_;
  const Options options_;
  const ContainerFiles files_;
  const std::string boot_id_;

  mutable std::mutex mutex_;
  std::map<uint64_t, std::weak_ptr<Entry>> waits_;                              // guarded by mutex_
  std::map<std::pair<std::string, std::string>, google::protobuf::Any> specs_;  // guarded by mutex_
  mutable std::atomic<int> overrides_{0};
  std::atomic<uint64_t> next_wait_{1};

  std::atomic<int> wakes_{0};
  std::mutex events_mutex_;                          // of who reads events
  uint64_t last_event_ = 0;                          // guarded by events_mutex_
  std::unique_ptr<EventSubscription> subscription_;  // guarded by events_mutex_

  // For callbacks that may come when we are gone.
  struct Gate {
    std::mutex mutex;
    bool open = true;  // guarded by mutex
  };
  const std::shared_ptr<Gate> gate_ = std::make_shared<Gate>();

  LoopThread loop_;
  Registry registry_;
  WorkerPool pool_;
};

}  // namespace gantry::services::lifecycle

#endif  // GANTRY_SERVICES_LIFECYCLE_MANAGER_H_
