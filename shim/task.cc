#include "shim/task.h"

#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mount.h"
#include "base/status.h"
#include "containerd/events/task.pb.h"
#include "shim/rootfs.h"
#include "shim/runtime_options.h"

namespace gantry::shim {
namespace {

using State = TaskProcess::State;

constexpr absl::Duration kDrainLimit = absl::Seconds(2);
// How long an exit waits for the log file.
constexpr absl::Duration kFlushLimit = absl::Seconds(1);
constexpr size_t kPruneWaitersAt = 64;
// Compiled seccomp filters, shared by all shims of the machine.
constexpr char kSeccompCache[] = "/run/gantry/seccomp";

// What containerd's shim reports for a runtime that fails: clients look at the text, and a NotFound
// or AlreadyExists would be taken for the task itself.
absl::Status RuntimeError(const absl::Status& status, absl::string_view what) {
  absl::Status annotated = base::Annotate(status, what);
  if (status.code() == absl::StatusCode::kNotFound ||
      status.code() == absl::StatusCode::kAlreadyExists)
    return base::WithCode(annotated, absl::StatusCode::kUnknown);
  return annotated;
}

absl::Status AlreadyFinished() {
  return absl::NotFoundError("process already finished: not found");
}

}  // namespace

void Task::Create(base::EventLoop* loop, EventPublisher* events, const std::string& ns,
                  const task_api::CreateTaskRequest& request, CreateDone done) {
  std::shared_ptr<Task> task(new Task(loop, events));
  if (absl::Status prepared = task->Prepare(ns, request); !prepared.ok()) {
    task->UndoCreate();
    return done(prepared);
  }
  ProcessIo::Open(loop, task->init_.stdio,
                  [task, events, request, done = std::move(done)](auto io) {
                    absl::Status made = io.status();
                    if (made.ok()) made = task->MakeContainer(*std::move(io));
                    if (!made.ok()) {
                      task->UndoCreate();
                      return done(made);
                    }
                    containerd::events::TaskCreate event;
                    event.set_container_id(task->id_);
                    event.set_bundle(task->bundle_);
                    *event.mutable_rootfs() = request.rootfs();
                    event.mutable_io()->set_stdin(request.stdin());
                    event.mutable_io()->set_stdout(request.stdout());
                    event.mutable_io()->set_stderr(request.stderr());
                    event.mutable_io()->set_terminal(request.terminal());
                    event.set_pid(static_cast<uint32_t>(task->init_.pid));
                    events->Publish("/tasks/create", event);
                    done(task);
                  });
}

absl::Status Task::Prepare(const std::string& ns, const task_api::CreateTaskRequest& request) {
  if (request.id().empty() || absl::StrContains(request.id(), '/'))
    return absl::InvalidArgumentError(
        absl::StrCat("container id \"", request.id(), "\" is not valid"));
  if (!absl::StartsWith(request.bundle(), "/"))
    return absl::InvalidArgumentError(
        absl::StrCat("bundle \"", request.bundle(), "\" is not an absolute path"));
  if (!request.checkpoint().empty())
    return absl::UnimplementedError("restoring a checkpoint is not supported by gantry-shim");
  id_ = request.id();
  bundle_ = request.bundle();
  GANTRY_ASSIGN_OR_RETURN(rootfs_mounted_, MountRootfs(request.rootfs(), bundle_ + "/rootfs"));
  GANTRY_ASSIGN_OR_RETURN(RuntimeOptions runtime, ParseRuntimeOptions(request.options()));
  preparation_ = std::make_unique<Preparation>();
  oci::Spec& spec = preparation_->spec;
  GANTRY_ASSIGN_OR_RETURN(spec, oci::LoadSpec(bundle_));
  if (!spec.process) return absl::InvalidArgumentError("config.json: process is missing");
  spec.process->terminal = request.terminal();
  const oci::Namespace* pid_namespace = spec.FindNamespace(CLONE_NEWPID);
  shared_pid_namespace_ = pid_namespace == nullptr || !pid_namespace->path.empty();

  init_.stdio = {request.stdin(),
                 request.stdout(),
                 request.stderr(),
                 request.terminal(),
                 runtime.io_uid,
                 runtime.io_gid,
                 id_,
                 ns};
  oci::CreateOptions& options = preparation_->options;
  options.id = id_;
  options.ns = ns;
  options.bundle = bundle_;
  options.no_pivot_root = runtime.no_pivot_root;
  options.no_new_keyring = runtime.no_new_keyring;
  options.systemd_cgroup = runtime.systemd_cgroup;
  if (!spec.linux_.seccomp_json.empty() && base::EnsurePrivateDir(kSeccompCache).ok())
    options.seccomp_cache_dir = kSeccompCache;
  return absl::OkStatus();
}

void Task::UndoCreate() {
  if (!std::exchange(rootfs_mounted_, false)) return;
  if (absl::Status undone = base::UnmountAll(bundle_ + "/rootfs"); !undone.ok())
    base::LogWarn("rootfs stays mounted after a failed create",
                  {{"bundle", bundle_}, {"error", undone.ToString()}});
}

absl::Status Task::MakeContainer(std::unique_ptr<ProcessIo> io) {
  std::unique_ptr<Preparation> preparation = std::move(preparation_);
  init_.io = std::move(io);
  preparation->options.io = init_.io->child_fds();
  recorder_ = std::make_unique<ExitRecorder>(loop_, init_.stdio.ns, id_,
                                             preparation->spec.linux_.seccomp_json,
                                             [this](pid_t pid) { return IsMember(pid); });
  oci::CreatedProcess created;
  absl::StatusOr<std::unique_ptr<oci::Container>> container =
      oci::Container::Create(preparation->options, preparation->spec, &created);
  if (!container.ok()) return RuntimeError(container.status(), "OCI runtime create failed");
  container_ = *std::move(container);
  // Only for whoever cleans up after a shim that was killed.
  absl::Status noted = base::WriteFile(bundle_ + "/init.pid", absl::StrCat(created.pid), 0644);
  if (!noted.ok()) base::LogWarn("init.pid", {{"id", id_}, {"error", noted.ToString()}});
  init_.pid = created.pid;
  init_.exit.pid = static_cast<uint32_t>(created.pid);
  init_.io->Attach(std::move(created.console));
  return absl::OkStatus();
}

Task::~Task() {
  if (oom_) loop_->Remove(oom_->fd());
}

absl::StatusOr<TaskProcess*> Task::Find(absl::string_view exec_id) {
  if (exec_id.empty()) return &init_;
  auto found = execs_.find(exec_id);
  if (found == execs_.end())
    return absl::NotFoundError(absl::StrCat("process does not exist ", exec_id, ": not found"));
  return &found->second;
}

void Task::Start(absl::string_view exec_id, StartDone done) {
  absl::StatusOr<TaskProcess*> process = Find(exec_id);
  if (!process.ok()) return done(process.status());
  if ((*process)->state == State::kRunning || (*process)->starting)
    return done(absl::FailedPreconditionError("cannot start a running process"));
  if ((*process)->state == State::kStopped)
    return done(absl::FailedPreconditionError("cannot start a stopped process"));
  if (!exec_id.empty()) return StartExec(*process, std::move(done));
  done(StartInit());
}

absl::StatusOr<pid_t> Task::StartInit() {
  absl::Status started = container_->Start();
  if (!started.ok()) return RuntimeError(started, "OCI runtime start failed");
  init_.state = State::kRunning;
  recorder_->Started();
  WatchOom();
  containerd::events::TaskStart event;
  event.set_container_id(id_);
  event.set_pid(static_cast<uint32_t>(init_.pid));
  events_->Publish("/tasks/start", event);
  return init_.pid;
}

void Task::StartExec(TaskProcess* process, StartDone done) {
  process->starting = true;
  ProcessIo::Open(loop_, process->stdio,
                  [weak = std::weak_ptr<Task*>(self_), id = process->exec_id,
                   done = std::move(done)](absl::StatusOr<std::unique_ptr<ProcessIo>> io) {
                    auto self = weak.lock();
                    if (!self) return done(absl::NotFoundError("the container was deleted"));
                    absl::StatusOr<TaskProcess*> found = (*self)->Find(id);
                    if (!found.ok()) return done(found.status());
                    (*found)->starting = false;
                    done((*self)->LaunchExec(*found, std::move(io)));
                  });
}

absl::StatusOr<pid_t> Task::LaunchExec(TaskProcess* process,
                                       absl::StatusOr<std::unique_ptr<ProcessIo>> io) {
  if (init_.state == State::kStopped)
    return absl::FailedPreconditionError("container is not running: its init process has ended");
  if (!io.ok()) {
    FailStart(process, io.status());
    return io.status();
  }
  oci::ExecOptions options;
  options.io = (*io)->child_fds();
  absl::StatusOr<oci::CreatedProcess> created = container_->Exec(process->spec, options);
  if (!created.ok()) {
    FailStart(process, created.status());
    return RuntimeError(created.status(), "OCI runtime exec failed");
  }
  process->io = *std::move(io);
  process->io->Attach(std::move(created->console));
  process->pid = created->pid;
  process->exit.pid = static_cast<uint32_t>(created->pid);
  process->state = State::kRunning;
  process->spec = {};
  containerd::events::TaskExecStarted event;
  event.set_container_id(id_);
  event.set_exec_id(process->exec_id);
  event.set_pid(static_cast<uint32_t>(created->pid));
  events_->Publish("/tasks/exec-started", event);
  return created->pid;
}

// An exec that could not be started can only be deleted; whoever waits for it must not wait for
// ever.
void Task::FailStart(TaskProcess* process, const absl::Status& why) {
  process->state = State::kStopped;
  process->announced = true;
  process->failed_start = true;
  process->exit.status = why.code() == absl::StatusCode::kNotFound ? 127 : 126;
  process->exit.at = absl::Now();
  for (auto& waiter : std::exchange(process->waiters, {})) waiter.done(process->exit);
}

absl::Status Task::AddExec(const task_api::ExecProcessRequest& request) {
  if (request.exec_id().empty() || absl::StrContains(request.exec_id(), '/'))
    return absl::InvalidArgumentError("exec id is empty or holds a slash");
  if (execs_.contains(request.exec_id()))
    return absl::AlreadyExistsError(absl::StrCat("id ", request.exec_id(), ": already exists"));
  if (init_.state == State::kStopped)
    return absl::FailedPreconditionError("cannot exec in a stopped state");
  if (paused_) return absl::FailedPreconditionError("cannot exec in a paused state");
  GANTRY_ASSIGN_OR_RETURN(oci::ProcessSpec spec, oci::ParseProcess(request.spec().value()));
  spec.terminal = request.terminal();
  TaskProcess& process = execs_[request.exec_id()];
  process.exec_id = request.exec_id();
  process.spec = std::move(spec);
  process.stdio = {request.stdin(),
                   request.stdout(),
                   request.stderr(),
                   request.terminal(),
                   init_.stdio.uid,
                   init_.stdio.gid,
                   id_,
                   init_.stdio.ns};
  containerd::events::TaskExecAdded event;
  event.set_container_id(id_);
  event.set_exec_id(process.exec_id);
  events_->Publish("/tasks/exec-added", event);
  return absl::OkStatus();
}

absl::Status Task::Kill(absl::string_view exec_id, int signal, bool all) {
  GANTRY_ASSIGN_OR_RETURN(TaskProcess * process, Find(exec_id));
  if (signal < 0 || signal > SIGRTMAX)
    return absl::InvalidArgumentError(absl::StrCat("unknown signal ", signal));
  if (exec_id.empty()) {
    if (process->state == State::kStopped && !all) return AlreadyFinished();
    GANTRY_RETURN_IF_ERROR(container_->Kill(signal, all));
    recorder_->Signalled(signal, all);
    return absl::OkStatus();
  }
  if (process->state == State::kStopped) return AlreadyFinished();
  if (process->pid == 0)
    return absl::FailedPreconditionError("process not created: failed precondition");
  // Not reaped yet, so the number is still its own.
  if (kill(process->pid, signal) != 0) {
    if (errno == ESRCH) return AlreadyFinished();
    return base::ErrnoStatus(errno, absl::StrCat("kill process ", process->pid));
  }
  return absl::OkStatus();
}

absl::Status Task::Pause() {
  if (init_.state != State::kRunning)
    return absl::FailedPreconditionError("cannot pause a container that is not running");
  GANTRY_RETURN_IF_ERROR(container_->Pause());
  paused_ = true;
  containerd::events::TaskPaused event;
  event.set_container_id(id_);
  events_->Publish("/tasks/paused", event);
  return absl::OkStatus();
}

absl::Status Task::Resume() {
  if (!paused_)
    return absl::FailedPreconditionError("cannot resume a container that is not paused");
  GANTRY_RETURN_IF_ERROR(container_->Resume());
  paused_ = false;
  containerd::events::TaskResumed event;
  event.set_container_id(id_);
  events_->Publish("/tasks/resumed", event);
  return absl::OkStatus();
}

absl::Status Task::Wait(absl::string_view exec_id, Done done, std::function<bool()> gone) {
  GANTRY_ASSIGN_OR_RETURN(TaskProcess * process, Find(exec_id));
  if (process->announced) {
    done(process->exit);
    return absl::OkStatus();
  }
  // A client that asks again and again with a deadline must not fill the memory.
  if (process->waiters.size() >= kPruneWaitersAt)
    std::erase_if(process->waiters,
                  [](const TaskProcess::Waiter& waiter) { return waiter.gone && waiter.gone(); });
  process->waiters.push_back({std::move(done), std::move(gone)});
  return absl::OkStatus();
}

void Task::WatchOom() {
  absl::StatusOr<std::unique_ptr<oci::OomWatch>> watch = container_->WatchOom();
  if (!watch.ok()) {
    base::LogDebug("no OOM events", {{"id", id_}, {"error", watch.status().ToString()}});
    return;
  }
  oom_ = *std::move(watch);
  if (!loop_->Add(oom_->fd(), EPOLLIN, [this](uint32_t) { CheckOom(); }).ok()) oom_.reset();
}

void Task::CheckOom() {
  if (!oom_ || !oom_->Drain()) return;
  containerd::events::TaskOOM event;
  event.set_container_id(id_);
  events_->Publish("/tasks/oom", event);
}

bool Task::OnChildExit(pid_t pid, int wait_status, absl::Time at) {
  auto is = [pid](const TaskProcess& process) {
    return process.pid == pid && process.state != State::kStopped;
  };
  if (is(init_)) {
    if (container_) recorder_->Ended(pid, wait_status, at, container_->Remains());
    OnExit(&init_, wait_status, at);
    paused_ = false;
    if (shared_pid_namespace_ && container_) {
      // Nothing else ends those who live in another's pid namespace.
      if (absl::Status killed = container_->Kill(SIGKILL, /*all=*/true);
          !killed.ok() && killed.code() != absl::StatusCode::kNotFound)
        base::LogWarn("the container's other processes stay alive",
                      {{"id", id_}, {"error", killed.ToString()}});
    }
    return true;
  }
  for (auto& [id, exec] : execs_) {
    if (!is(exec)) continue;
    OnExit(&exec, wait_status, at);
    return true;
  }
  return false;
}

// Asked for processes that the kernel's log names; one that is gone is only known by its number.
bool Task::IsMember(pid_t pid) const {
  if (pid == init_.pid) return true;
  for (const auto& [id, exec] : execs_) {
    if (exec.pid == pid) return true;
  }
  if (!container_) return false;
  absl::StatusOr<std::vector<pid_t>> pids = container_->Pids();
  return pids.ok() && std::find(pids->begin(), pids->end(), pid) != pids->end();
}

void Task::OnExit(TaskProcess* process, int wait_status, absl::Time at) {
  process->state = State::kStopped;
  process->exit.status =
      WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
  process->exit.at = at;
  if (!process->io) return;
  process->io->ProcessExited();
  // Who hears of the exit finds all lines in the log; a disk that hangs is not waited for.
  process->io->WhenFlushed(kFlushLimit,
                           [weak = std::weak_ptr<Task*>(self_), id = process->exec_id] {
                             auto self = weak.lock();
                             if (!self) return;
                             if (auto found = (*self)->Find(id); found.ok())
                               (*found)->flushed = true;
                             (*self)->AnnounceExits();
                           });
}

// The exit of the first process is the last one that is announced.
void Task::AnnounceExits() {
  bool last = true;
  for (auto& [id, exec] : execs_) {
    if (exec.state == State::kStopped && exec.flushed) Announce(&exec);
    if (exec.state != State::kCreated && !exec.announced) last = false;
  }
  if (init_.state != State::kStopped || !init_.flushed || init_.announced || !last) return;
  if (oom_) {
    CheckOom();
    loop_->Remove(oom_->fd());
    oom_.reset();
  }
  if (init_.io) recorder_->set_dropped_log_records(init_.io->dropped_records());
  if (absl::Status written = recorder_->Write(bundle_); !written.ok())
    base::LogWarn("no exit record", {{"id", id_}, {"error", written.ToString()}});
  Announce(&init_);
}

void Task::Announce(TaskProcess* process) {
  if (std::exchange(process->announced, true)) return;
  CheckOom();  // the reason goes before the consequence
  containerd::events::TaskExit event;
  event.set_container_id(id_);
  event.set_id(process->exec_id.empty() ? id_ : process->exec_id);
  event.set_pid(process->exit.pid);
  event.set_exit_status(process->exit.status);
  base::SetTimestamp(event.mutable_exited_at(), process->exit.at);
  events_->Publish("/tasks/exit", event);
  for (auto& waiter : std::exchange(process->waiters, {})) waiter.done(process->exit);
}

absl::Status Task::Delete(absl::string_view exec_id, Done done) {
  GANTRY_ASSIGN_OR_RETURN(TaskProcess * process, Find(exec_id));
  if (process->state == State::kRunning)
    return absl::FailedPreconditionError(exec_id.empty() && paused_
                                             ? "cannot delete a paused process"
                                             : "cannot delete a running process");
  if (process->starting)
    return absl::FailedPreconditionError("cannot delete a process that is being started");
  process->deleters.push_back(std::move(done));
  if (process->deleters.size() > 1) return absl::OkStatus();  // under way
  auto finish = [weak = std::weak_ptr<Task*>(self_), id = std::string(exec_id)] {
    if (auto self = weak.lock()) (*self)->FinishDelete(id);
  };
  if (exec_id.empty() && process->state == State::kCreated) {
    // Made but never started: ended here; its exit is reaped by the loop.
    if (absl::Status killed = container_->Kill(SIGKILL, /*all=*/false);
        !killed.ok() && killed.code() != absl::StatusCode::kNotFound) {
      process->deleters.clear();
      return killed;
    }
  }
  auto drain = [this, weak = std::weak_ptr<Task*>(self_), finish, id = std::string(exec_id)] {
    auto self = weak.lock();
    if (!self) return;
    absl::StatusOr<TaskProcess*> still = Find(id);
    if (!still.ok()) return;
    if (!(*still)->io || (*still)->io->drained()) return finish();
    base::EventLoop::TimerId timer = loop_->After(kDrainLimit, finish);
    (*still)->io->WhenDrained([this, weak, finish, timer] {
      if (auto alive = weak.lock()) loop_->Cancel(timer);
      finish();
    });
  };
  if (process->announced || !exec_id.empty()) {
    drain();
  } else {
    process->waiters.push_back({[drain](const absl::StatusOr<ExitInfo>&) { drain(); }, nullptr});
  }
  return absl::OkStatus();
}

void Task::FinishDelete(const std::string& exec_id) {
  if (exec_id.empty()) return FinishInitDelete();
  auto found = execs_.find(exec_id);
  if (found == execs_.end() || found->second.deleters.empty()) return;
  auto node = execs_.extract(found);
  TaskProcess& process = node.mapped();
  for (auto& waiter : process.waiters)
    waiter.done(absl::NotFoundError("process was deleted before it ran"));
  for (auto& deleter : process.deleters) deleter(process.exit);
}

void Task::FinishInitDelete() {
  if (deleted_) return;
  absl::Status removed = container_->Delete();
  if (!removed.ok()) {
    removed = RuntimeError(removed, "failed to delete the container");
    for (auto& deleter : std::exchange(init_.deleters, {})) deleter(removed);
    return;
  }
  init_.io.reset();
  for (auto& [id, exec] : execs_) {
    exec.io.reset();
    for (auto& waiter : std::exchange(exec.waiters, {}))
      waiter.done(absl::NotFoundError("the container was deleted"));
    for (auto& deleter : std::exchange(exec.deleters, {})) deleter(exec.exit);
  }
  execs_.clear();
  if (rootfs_mounted_) {
    if (absl::Status undone = DetachRootfs(loop_, bundle_ + "/rootfs"); !undone.ok())
      base::LogWarn("failed to cleanup rootfs mount",
                    {{"bundle", bundle_}, {"error", undone.ToString()}});
  }
  deleted_ = true;
  containerd::events::TaskDelete event;
  event.set_container_id(id_);
  event.set_pid(init_.exit.pid);
  event.set_exit_status(init_.exit.status);
  base::SetTimestamp(event.mutable_exited_at(), init_.exit.at);
  events_->Publish("/tasks/delete", event);
  for (auto& deleter : std::exchange(init_.deleters, {})) deleter(init_.exit);
}

}  // namespace gantry::shim
