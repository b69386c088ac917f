#ifndef GANTRY_SHIM_TASK_H_
#define GANTRY_SHIM_TASK_H_

#include <sys/types.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "containerd/runtime/task/v2/shim.pb.h"
#include "shim/events.h"
#include "shim/exit_recorder.h"
#include "shim/oci/container.h"
#include "shim/process_io.h"

namespace gantry::shim {

namespace task_api = ::containerd::task::v2;

struct ExitInfo {
  uint32_t pid = 0;
  uint32_t status = 0;  // exit code, or 128 + signal
  absl::Time at = absl::UnixEpoch();
};

// The first process of a container, or one that was added by Exec.
struct TaskProcess {
  std::string exec_id;  // empty: the first process
  enum class State { kCreated, kRunning, kStopped } state = State::kCreated;
  pid_t pid = 0;
  StdioConfig stdio;
  oci::ProcessSpec spec;  // of an exec that was not started yet
  std::unique_ptr<ProcessIo> io;
  ExitInfo exit;
  bool starting = false;  // its stdio is being opened
  // What it wrote is in its log file, or that takes too long.
  bool flushed = false;
  // The exit was announced: event sent, waiters answered. Later than kStopped: when the log has
  // been flushed, and for a first process when the exits of its execs were announced.
  bool announced = false;
  bool failed_start = false;
  struct Waiter {
    std::function<void(const absl::StatusOr<ExitInfo>&)> done;
    std::function<bool()> gone;  // nobody wants the answer any longer; may be empty
  };
  std::vector<Waiter> waiters;
  std::vector<std::function<void(const absl::StatusOr<ExitInfo>&)>> deleters;
};

// One container with its processes: state, stdio, exits, events. The state changes are those of
// containerd's shim; error codes and texts are the ones its clients match on. Belongs to the loop's
// thread.
class Task {
 public:
  using CreateDone = std::function<void(absl::StatusOr<std::shared_ptr<Task>>)>;
  // Mounts the rootfs entries on BUNDLE/rootfs, opens stdio and makes the container, then runs
  // `done`: at once, or from the loop when opening stdio takes longer. On failure nothing is left.
  static void Create(base::EventLoop* loop, EventPublisher* events, const std::string& ns,
                     const task_api::CreateTaskRequest& request, CreateDone done);
  ~Task();
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;

  // For an empty `exec_id` the first process. NotFound for an unknown one.
  absl::StatusOr<TaskProcess*> Find(absl::string_view exec_id);

  using StartDone = std::function<void(absl::StatusOr<pid_t>)>;
  // Runs `done` with the pid: at once, or from the loop when opening stdio takes longer.
  void Start(absl::string_view exec_id, StartDone done);
  absl::Status AddExec(const task_api::ExecProcessRequest& request);
  absl::Status Kill(absl::string_view exec_id, int signal, bool all);
  absl::Status Pause();
  absl::Status Resume();

  // Calls `done` when the process has ended, at once if it has; with NotFound if it is deleted
  // without having run. Waiters of which `gone` says so are dropped some time.
  using Done = std::function<void(const absl::StatusOr<ExitInfo>&)>;
  absl::Status Wait(absl::string_view exec_id, Done done, std::function<bool()> gone = nullptr);

  // Removes a process that is not running. Deleting the first process removes the container: `done`
  // runs when its output was copied (or 2 seconds have passed) and its cgroups and mounts are gone;
  // then deleted() is true.
  absl::Status Delete(absl::string_view exec_id, Done done);
  bool deleted() const { return deleted_; }

  // A child of the shim ended. True if it was ours.
  bool OnChildExit(pid_t pid, int wait_status, absl::Time at);

  const std::string& id() const { return id_; }
  const std::string& bundle() const { return bundle_; }
  bool paused() const { return paused_; }
  TaskProcess& init() { return init_; }
  const std::map<std::string, TaskProcess, std::less<>>& execs() const { return execs_; }
  oci::Container* container() { return container_.get(); }

 private:
  Task(base::EventLoop* loop, EventPublisher* events) : loop_(loop), events_(events) {}

  // Everything before stdio; undone by UndoCreate().
  absl::Status Prepare(const std::string& ns, const task_api::CreateTaskRequest& request);
  absl::Status MakeContainer(std::unique_ptr<ProcessIo> io);
  void UndoCreate();
  absl::StatusOr<pid_t> StartInit();
  void StartExec(TaskProcess* process, StartDone done);
  absl::StatusOr<pid_t> LaunchExec(TaskProcess* process,
                                   absl::StatusOr<std::unique_ptr<ProcessIo>> io);
  void FailStart(TaskProcess* process, const absl::Status& why);
  void WatchOom();
  void CheckOom();
  bool IsMember(pid_t pid) const;
  void OnExit(TaskProcess* process, int wait_status, absl::Time at);
  void AnnounceExits();
  void Announce(TaskProcess* process);
  void FinishDelete(const std::string& exec_id);
  void FinishInitDelete();

  base::EventLoop* loop_;
  EventPublisher* events_;
  std::string id_;
  std::string bundle_;
  // Until the container is made.
  struct Preparation {
    oci::Spec spec;
    oci::CreateOptions options;
  };
  std::unique_ptr<Preparation> preparation_;
  std::unique_ptr<oci::Container> container_;
  std::unique_ptr<oci::OomWatch> oom_;
  std::unique_ptr<ExitRecorder> recorder_;
  TaskProcess init_;
  std::map<std::string, TaskProcess, std::less<>> execs_;
  bool shared_pid_namespace_ = false;
  bool rootfs_mounted_ = false;
  bool paused_ = false;
  bool deleted_ = false;
  // Timers and stdio callbacks outlive nothing: they hold this weakly.
  std::shared_ptr<Task*> self_ = std::make_shared<Task*>(this);
};

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_TASK_H_
