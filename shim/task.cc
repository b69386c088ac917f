#include "shim/task.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
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
#include "shim/runtime_options.h"

namespace gantry::shim {
namespace {

using State = TaskProcess::State;

constexpr absl::Duration kDrainLimit = absl::Seconds(2);
// How long a shim that goes on living holds an unmounted root file system.
constexpr absl::Duration kRootfsLimit = absl::Milliseconds(50);
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

// Closes what must be the last reference to a file system that is unmounted already, in a child: an
// overlay then writes back all of its upper file system, for which nobody should wait.
void CloseInChild(const base::UniqueFd& reference) {
  pid_t pid = fork();
  // Without a child the wait is ours. It is reaped as any other.
  if (pid != 0) return;
  // Nothing else of ours may stay open in it, above all no end of a pipe.
  unsigned fd = static_cast<unsigned>(reference.get());
  if (fd > 0) syscall(SYS_close_range, 0, fd - 1, 0);
  syscall(SYS_close_range, fd + 1, ~0u, 0);
  timespec pause{0, 2'000'000};  // let the parent close first
  nanosleep(&pause, nullptr);
  _exit(0);
}

// Unmounts `rootfs` without waiting for the file system beneath (5 to 20 ms where 0.1 ms would do).
// The name is free when this returns. Most shims end now, and their end drops the last reference;
// one that lives on hands it to a child.
absl::Status DetachRootfs(base::EventLoop* loop, const std::string& rootfs) {
  absl::StatusOr<base::UniqueFd> reference = base::Open(rootfs, O_PATH | O_DIRECTORY | O_NOFOLLOW);
  GANTRY_RETURN_IF_ERROR(base::UnmountAll(rootfs));
  if (!reference.ok()) return absl::OkStatus();  // gone already
  auto kept = std::make_shared<base::UniqueFd>(*std::move(reference));
  loop->After(kRootfsLimit, [kept] { CloseInChild(*kept); });
  return absl::OkStatus();
}

std::vector<base::Mount> ToMounts(const task_api::CreateTaskRequest& request) {
  std::vector<base::Mount> mounts;
  for (const auto& entry : request.rootfs())
    mounts.push_back({entry.type(),
                      entry.source(),
                      entry.target(),
                      {entry.options().begin(), entry.options().end()}});
  return mounts;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Task>> Task::Create(base::EventLoop* loop, EventPublisher* events,
                                                   const std::string& ns,
                                                   const task_api::CreateTaskRequest& request) {
  std::unique_ptr<Task> task(new Task(loop, events));
  GANTRY_RETURN_IF_ERROR(task->DoCreate(ns, request));

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
  return task;
}

absl::Status Task::DoCreate(const std::string& ns, const task_api::CreateTaskRequest& request) {
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
  std::vector<base::Mount> mounts = ToMounts(request);
  if (!mounts.empty()) {
    std::string rootfs = bundle_ + "/rootfs";
    if (mkdir(rootfs.c_str(), 0711) != 0 && errno != EEXIST)
      return base::ErrnoStatus(errno, absl::StrCat("mkdir ", rootfs));
    if (absl::Status mounted = base::MountAll(mounts, rootfs); !mounted.ok())
      return base::Annotate(mounted, "failed to mount rootfs component");
    rootfs_mounted_ = true;
  }
  absl::Status made = MakeContainer(request, ns);
  if (!made.ok() && rootfs_mounted_) {
    if (absl::Status undone = base::UnmountAll(bundle_ + "/rootfs"); !undone.ok())
      base::LogWarn("rootfs stays mounted after a failed create",
                    {{"bundle", bundle_}, {"error", undone.ToString()}});
  }
  return made;
}

absl::Status Task::MakeContainer(const task_api::CreateTaskRequest& request,
                                 const std::string& ns) {
  GANTRY_ASSIGN_OR_RETURN(RuntimeOptions runtime, ParseRuntimeOptions(request.options()));
  GANTRY_ASSIGN_OR_RETURN(oci::Spec spec, oci::LoadSpec(bundle_));
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
  GANTRY_ASSIGN_OR_RETURN(init_.io, ProcessIo::Open(loop_, init_.stdio));

  oci::CreateOptions options;
  options.id = id_;
  options.ns = ns;
  options.bundle = bundle_;
  options.io = init_.io->child_fds();
  options.no_pivot_root = runtime.no_pivot_root;
  options.no_new_keyring = runtime.no_new_keyring;
  options.systemd_cgroup = runtime.systemd_cgroup;
  options.pid_file = bundle_ + "/init.pid";
  if (!spec.linux_.seccomp_json.empty() && base::EnsurePrivateDir(kSeccompCache).ok())
    options.seccomp_cache_dir = kSeccompCache;
  oci::CreatedProcess created;
  absl::StatusOr<std::unique_ptr<oci::Container>> container =
      oci::Container::Create(options, spec, &created);
  if (!container.ok()) return RuntimeError(container.status(), "OCI runtime create failed");
  container_ = *std::move(container);
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

absl::StatusOr<pid_t> Task::Start(absl::string_view exec_id) {
  GANTRY_ASSIGN_OR_RETURN(TaskProcess * process, Find(exec_id));
  if (process->state == State::kRunning)
    return absl::FailedPreconditionError("cannot start a running process");
  if (process->state == State::kStopped)
    return absl::FailedPreconditionError("cannot start a stopped process");
  return exec_id.empty() ? StartInit() : StartExec(process);
}

absl::StatusOr<pid_t> Task::StartInit() {
  absl::Status started = container_->Start();
  if (!started.ok()) return RuntimeError(started, "OCI runtime start failed");
  init_.state = State::kRunning;
  WatchOom();
  containerd::events::TaskStart event;
  event.set_container_id(id_);
  event.set_pid(static_cast<uint32_t>(init_.pid));
  events_->Publish("/tasks/start", event);
  return init_.pid;
}

absl::StatusOr<pid_t> Task::StartExec(TaskProcess* process) {
  if (init_.state == State::kStopped)
    return absl::FailedPreconditionError("container is not running: its init process has ended");
  absl::StatusOr<std::unique_ptr<ProcessIo>> io = ProcessIo::Open(loop_, process->stdio);
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
    return container_->Kill(signal, all);
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

bool Task::ExecsAlive() const {
  for (const auto& [id, exec] : execs_) {
    if (exec.state == State::kRunning) return true;
  }
  return false;
}

bool Task::OnChildExit(pid_t pid, int wait_status, absl::Time at) {
  auto take = [&](TaskProcess* process) {
    if (process->io && process->io->OnChildExit(pid)) return true;
    if (process->pid != pid || process->state == State::kStopped) return false;
    process->state = State::kStopped;
    process->exit.status =
        WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
    process->exit.at = at;
    if (process->io) process->io->ProcessExited();
    return true;
  };
  if (take(&init_)) {
    if (init_.state != State::kStopped) return true;  // its logging program
    paused_ = false;
    if (!init_.announced && shared_pid_namespace_ && container_) {
      // Nothing else ends those who live in another's pid namespace.
      if (absl::Status killed = container_->Kill(SIGKILL, /*all=*/true);
          !killed.ok() && killed.code() != absl::StatusCode::kNotFound)
        base::LogWarn("the container's other processes stay alive",
                      {{"id", id_}, {"error", killed.ToString()}});
    }
    AnnounceInitIfLast();
    return true;
  }
  for (auto& [id, exec] : execs_) {
    if (!take(&exec)) continue;
    if (exec.state == State::kStopped) Announce(&exec);
    AnnounceInitIfLast();
    return true;
  }
  return false;
}

// The exit of the first process is the last one that is announced.
void Task::AnnounceInitIfLast() {
  if (init_.state != State::kStopped || init_.announced || ExecsAlive()) return;
  if (oom_) {
    CheckOom();
    loop_->Remove(oom_->fd());
    oom_.reset();
  }
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
