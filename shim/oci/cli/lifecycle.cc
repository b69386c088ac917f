#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/status.h"
#include "shim/oci/capabilities.h"
#include "shim/oci/cli/commands.h"
#include "shim/oci/cli/foreground.h"
#include "shim/oci/cli/notify_socket.h"
#include "shim/oci/explain.h"
#include "shim/oci/rootless.h"
#include "shim/oci/send_fd.h"

namespace gantry::oci {
namespace {

// What comes with a descriptor on a console socket.
constexpr absl::string_view kTerminalName = "/dev/ptmx";

const std::vector<Flag>& CreateFlags() {
  static const auto* flags = new std::vector<Flag>{
      {"bundle", 'b', true},     {"console-socket", 0, true}, {"pid-file", 0, true},
      {"pidfd-socket", 0, true}, {"no-pivot", 0, false},      {"no-new-keyring", 0, false},
      {"preserve-fds", 0, true}, {"detach", 'd', false},      {"keep", 0, false},
      {"no-subreaper", 0, false}};
  return *flags;
}

absl::StatusOr<std::vector<int>> PreservedFds(const Args& args) {
  std::vector<int> fds;
  GANTRY_ASSIGN_OR_RETURN(uint64_t count, base::ParseDecimal(args.Get("preserve-fds", "0"), 1024));
  for (int fd = 3; fd < 3 + static_cast<int>(count); ++fd) {
    if (fcntl(fd, F_GETFD) < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("--preserve-fds ", count, ": descriptor ", fd, " is not open"));
    }
    fds.push_back(fd);
  }
  return fds;
}

absl::StatusOr<std::string> AbsolutePath(const std::string& path) {
  char* resolved = realpath(path.c_str(), nullptr);
  if (resolved == nullptr) return base::ErrnoStatus(errno, path);
  std::string text = resolved;
  free(resolved);
  return text;
}

// Sockets that a service manager passed: they come first, and the program learns of them.
void PassListenFds(Record* record) {
  const char* text = getenv("LISTEN_FDS");
  uint64_t wanted = text == nullptr ? 0 : base::ParseDecimal(text, 1024).value_or(0);
  std::vector<int>* fds = &record->options.preserve_fds;
  std::vector<int> all;
  for (int fd = 3; all.size() < wanted && fcntl(fd, F_GETFD) >= 0; ++fd) all.push_back(fd);
  if (wanted == 0 || !record->spec.process) return;
  int shift = static_cast<int>(all.size());
  for (int fd : *fds) all.push_back(fd + shift);
  *fds = std::move(all);
  record->spec.process->env.push_back(absl::StrCat("LISTEN_FDS=", wanted));
  record->spec.process->env.push_back("LISTEN_PID=1");
}

// A terminal goes either to a console socket or, in the foreground, to our own.
absl::Status CheckTerminal(bool terminal, bool detached, const std::string& console_socket) {
  if (terminal && detached && console_socket.empty()) {
    return absl::InvalidArgumentError(
        "cannot allocate tty if gantry-oci will detach without setting console socket");
  }
  if (!terminal && !console_socket.empty()) {
    return absl::InvalidArgumentError(
        "cannot use console socket if gantry-oci will not detach or allocate tty");
  }
  return absl::OkStatus();
}

absl::StatusOr<Record> CreateContainer(const Globals& globals, const Args& args, Store* store,
                                       bool detached, CreatedProcess* init) {
  Record record;
  CreateOptions& options = record.options;
  GANTRY_ASSIGN_OR_RETURN(options.id, IdOf(args));
  GANTRY_ASSIGN_OR_RETURN(options.bundle, AbsolutePath(args.Get("bundle", ".")));
  GANTRY_ASSIGN_OR_RETURN(record.spec, LoadSpec(options.bundle));
  GANTRY_ASSIGN_OR_RETURN(options.preserve_fds, PreservedFds(args));
  PassListenFds(&record);
  bool terminal = record.spec.process && record.spec.process->terminal;
  std::string console = args.Get("console-socket");
  GANTRY_RETURN_IF_ERROR(CheckTerminal(terminal, detached, console));
  GANTRY_RETURN_IF_ERROR(store->Reserve(options.id, options.bundle));
  options.io = {0, 1, 2};
  options.no_pivot_root = args.Has("no-pivot");
  options.no_new_keyring = args.Has("no-new-keyring");
  options.systemd_cgroup = globals.systemd_cgroup;
  options.pid_file = args.Get("pid-file");
  options.rootless = IsRootless();
  absl::Status notify = NotifySocket(store->Directory(options.id)).Prepare(&record.spec);
  auto build = [&]() -> absl::Status {
    GANTRY_RETURN_IF_ERROR(notify);
    if (options.rootless) GANTRY_RETURN_IF_ERROR(EnterUserNamespace(&record.spec));
    GANTRY_ASSIGN_OR_RETURN(options.start_socket, store->StartSocket(options.id));
    GANTRY_ASSIGN_OR_RETURN(std::unique_ptr<Container> container,
                            Container::Create(options, record.spec, init));
    record.pid = init->pid;
    record.start_time = ProcessStartTime(init->pid);
    record.created = base::FormatRfc3339(absl::Now());
    absl::Status status = store->Save(record);
    std::string pidfd_socket = args.Get("pidfd-socket");
    if (status.ok() && !pidfd_socket.empty()) {
      status = SendFd(pidfd_socket, "pidfd", init->pidfd.get());
    }
    if (status.ok() && !console.empty())
      status = SendFd(console, kTerminalName, init->console.get());
    if (!status.ok()) container->Delete().IgnoreError();
    return status;
  };
  absl::Status status = build();
  if (status.ok()) return record;
  store->Remove(options.id).IgnoreError();
  return status;
}

absl::StatusOr<int> RunCreate(const Globals& globals, const Args& args) {
  Store store(globals.root);
  CreatedProcess init;
  GANTRY_RETURN_IF_ERROR(CreateContainer(globals, args, &store, true, &init).status());
  return 0;
}

absl::Status StartRecord(const Store& store, const Record& record) {
  GANTRY_ASSIGN_OR_RETURN(std::unique_ptr<Container> container, record.Open());
  absl::Status status = container->Start();
  if (!absl::IsFailedPrecondition(status)) store.Started(record.options.id).IgnoreError();
  return status;
}

void AwaitEnd(pid_t pid) {
  base::UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  pollfd wait = {pidfd.get(), POLLIN, 0};
  if (pidfd.valid()) poll(&wait, 1, 10000);
}

absl::StatusOr<int> RunStart(const Globals& globals, const Args& args) {
  Store store(globals.root);
  GANTRY_ASSIGN_OR_RETURN(std::string id, IdOf(args));
  GANTRY_ASSIGN_OR_RETURN(Record record, store.Load(id));
  GANTRY_ASSIGN_OR_RETURN(record.options.start_socket, store.StartSocket(id));
  GANTRY_ASSIGN_OR_RETURN(std::string status, store.Load(id)->Status());
  if (status != "created") {
    return absl::FailedPreconditionError(absl::StrCat("cannot start a container that is ", status));
  }
  NotifySocket notify(store.Directory(id));
  GANTRY_RETURN_IF_ERROR(notify.Listen());
  absl::Status started = StartRecord(store, record);
  if (started.ok()) started = notify.Forward(record.pid);
  if (started.ok()) return 0;
  if (absl::IsFailedPrecondition(started)) return started;  // somebody else started it
  // A container whose start failed is gone, as with runc.
  GANTRY_ASSIGN_OR_RETURN(std::unique_ptr<Container> container, record.Open());
  container->Kill(SIGKILL, false).IgnoreError();
  AwaitEnd(record.pid);
  if (container->Delete().ok()) store.Remove(id).IgnoreError();
  return started;
}

void ExplainEnd(const Record& record, int status) {
  auto root = base::Open(record.RootfsPath(), O_PATH | O_DIRECTORY);
  if (!root.ok()) return;
  std::string why = ExplainExit(root->get(), *record.spec.process, status);
  if (!why.empty()) fprintf(stderr, "gantry-oci: %s\n", why.c_str());
}

// In the foreground a child waits for the word, because we attend to the container.
absl::Status ForwardReady(NotifySocket* notify, pid_t container, bool detached) {
  if (detached) return notify->Forward(container);
  pid_t pid = fork();
  if (pid < 0) return base::ErrnoStatus(errno, "fork");
  if (pid > 0) return absl::OkStatus();
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  notify->Forward(container).IgnoreError();
  _exit(0);
}

absl::StatusOr<int> RunRun(const Globals& globals, const Args& args) {
  Store store(globals.root);
  bool detached = args.Has("detach");
  if (!detached) {
    GANTRY_RETURN_IF_ERROR(BlockSignals());
    if (!args.Has("no-subreaper")) prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  }
  CreatedProcess init;
  GANTRY_ASSIGN_OR_RETURN(Record record, CreateContainer(globals, args, &store, detached, &init));
  NotifySocket notify(store.Directory(record.options.id));
  absl::Status started = notify.Listen();
  if (started.ok()) started = StartRecord(store, record);
  if (started.ok() && notify.wanted()) started = ForwardReady(&notify, record.pid, detached);
  absl::StatusOr<int> status = 0;
  if (!detached || !started.ok()) status = Attend(std::move(init));
  if (!detached && started.ok() && status.ok()) ExplainEnd(record, *status);
  if (!started.ok() || (!detached && !args.Has("keep"))) {
    GANTRY_ASSIGN_OR_RETURN(std::unique_ptr<Container> container, record.Open());
    GANTRY_RETURN_IF_ERROR(container->Delete());
    GANTRY_RETURN_IF_ERROR(store.Remove(record.options.id));
  }
  GANTRY_RETURN_IF_ERROR(started);
  return status;
}

absl::Status ApplyUser(const std::string& text, ProcessSpec* process) {
  size_t colon = text.find(':');
  GANTRY_ASSIGN_OR_RETURN(uint64_t uid, base::ParseDecimal(text.substr(0, colon), UINT32_MAX - 1));
  process->uid = static_cast<uid_t>(uid);
  if (colon == std::string::npos) return absl::OkStatus();
  GANTRY_ASSIGN_OR_RETURN(uint64_t gid, base::ParseDecimal(text.substr(colon + 1), UINT32_MAX - 1));
  process->gid = static_cast<gid_t>(gid);
  return absl::OkStatus();
}

// Replaces the variable of the same name: of two, programs see the first.
void SetVariable(const std::string& entry, std::vector<std::string>* env) {
  std::string name = entry.substr(0, entry.find('=')) + "=";
  env->erase(std::remove_if(env->begin(), env->end(),
                            [&](const std::string& e) { return absl::StartsWith(e, name); }),
             env->end());
  env->push_back(entry);
}

absl::StatusOr<ProcessSpec> ExecProcess(const Args& args, const Spec& spec) {
  if (args.Has("process")) {
    GANTRY_ASSIGN_OR_RETURN(std::string text, base::ReadFile(args.Get("process")));
    return ParseProcess(text);
  }
  if (!spec.process) return absl::InvalidArgumentError("the container has no process");
  ProcessSpec process = *spec.process;
  process.args.assign(args.rest().begin() + 1, args.rest().end());
  process.terminal = args.Has("tty");
  if (args.Has("cwd")) process.cwd = args.Get("cwd");
  for (const std::string& entry : args.All("env")) SetVariable(entry, &process.env);
  if (args.Has("user")) GANTRY_RETURN_IF_ERROR(ApplyUser(args.Get("user"), &process));
  for (const std::string& text : args.All("additional-gids")) {
    GANTRY_ASSIGN_OR_RETURN(uint64_t gid, base::ParseDecimal(text, UINT32_MAX - 1));
    process.additional_gids.push_back(static_cast<gid_t>(gid));
  }
  if (args.Has("apparmor")) process.apparmor_profile = args.Get("apparmor");
  if (args.Has("process-label")) process.selinux_label = args.Get("process-label");
  process.no_new_privileges |= args.Has("no-new-privs");
  for (const std::string& name : args.All("cap")) {
    auto number = CapabilityByName(name);
    if (!number) return absl::InvalidArgumentError(absl::StrCat("unknown capability ", name));
    if (!process.capabilities) continue;
    // Never inheritable: CVE-2022-29162.
    uint64_t bit = uint64_t{1} << *number;
    process.capabilities->bounding |= bit;
    process.capabilities->effective |= bit;
    process.capabilities->permitted |= bit;
  }
  return process;
}

// Into the user namespace of a rootless container that lives, to have power over its processes.
absl::Status EnterContainersUser(Record* record, const std::string& state) {
  if (!record->options.rootless || state == "stopped" || !IsRootless()) return absl::OkStatus();
  for (Namespace& ns : record->spec.linux_.namespaces) {
    if (ns.flag != CLONE_NEWUSER) continue;
    ns.entered = true;
    return EnterUserNamespaceOf(record->pid);
  }
  return absl::OkStatus();
}

absl::StatusOr<int> RunExecCommand(const Globals& globals, const Args& args) {
  Store store(globals.root);
  GANTRY_ASSIGN_OR_RETURN(std::string id, IdOf(args));
  GANTRY_ASSIGN_OR_RETURN(Record record, store.Load(id));
  GANTRY_ASSIGN_OR_RETURN(std::string state, record.Status());
  if (state == "stopped") {
    return absl::FailedPreconditionError("cannot exec in a stopped container");
  }
  GANTRY_RETURN_IF_ERROR(EnterContainersUser(&record, state));
  GANTRY_ASSIGN_OR_RETURN(ProcessSpec process, ExecProcess(args, record.spec));
  process.terminal |= args.Has("tty");
  bool detached = args.Has("detach");
  std::string console = args.Get("console-socket");
  GANTRY_RETURN_IF_ERROR(CheckTerminal(process.terminal, detached, console));
  if (!detached) GANTRY_RETURN_IF_ERROR(BlockSignals());
  ExecOptions options;
  options.io = {0, 1, 2};
  options.pid_file = args.Get("pid-file");
  options.ignore_paused = args.Has("ignore-paused");
  options.sub_cgroups = args.All("cgroup");
  GANTRY_ASSIGN_OR_RETURN(options.preserve_fds, PreservedFds(args));
  GANTRY_ASSIGN_OR_RETURN(std::unique_ptr<Container> container, record.Open());
  GANTRY_ASSIGN_OR_RETURN(CreatedProcess made, container->Exec(process, options));
  if (args.Has("pidfd-socket")) {
    GANTRY_RETURN_IF_ERROR(SendFd(args.Get("pidfd-socket"), "pidfd", made.pidfd.get()));
  }
  if (!console.empty()) {
    GANTRY_RETURN_IF_ERROR(SendFd(console, kTerminalName, made.console.get()));
    made.console.Reset();
  }
  if (detached) return 0;
  return Attend(std::move(made));
}

absl::StatusOr<int> SignalNumber(const std::string& text) {
  int number = 0;
  if (absl::SimpleAtoi(text, &number)) {
    if (number > 0 && number < NSIG) return number;
    return absl::InvalidArgumentError(absl::StrCat("unknown signal \"", text, "\""));
  }
  absl::string_view name = absl::StripPrefix(text, "SIG");
  for (number = 1; number < NSIG; ++number) {
    const char* known = sigabbrev_np(number);
    if (known != nullptr && name == known) return number;
  }
  return absl::InvalidArgumentError(absl::StrCat("unknown signal \"", text, "\""));
}

absl::StatusOr<int> RunKill(const Globals& globals, const Args& args) {
  GANTRY_ASSIGN_OR_RETURN(std::string id, IdOf(args));
  GANTRY_ASSIGN_OR_RETURN(int signal,
                          SignalNumber(args.rest().size() > 1 ? args.rest()[1] : "SIGTERM"));
  GANTRY_ASSIGN_OR_RETURN(Record record, Store(globals.root).Load(id));
  GANTRY_ASSIGN_OR_RETURN(std::string state, record.Status());
  // One that was not started lets nobody look at it, but has our id.
  EnterContainersUser(&record, state).IgnoreError();
  GANTRY_ASSIGN_OR_RETURN(std::unique_ptr<Container> container, record.Open());
  if (args.Has("all")) {
    absl::Status status = container->Kill(signal, true);
    if (!absl::IsNotFound(status)) GANTRY_RETURN_IF_ERROR(status);
    return 0;
  }
  if (state == "stopped") return absl::NotFoundError("container not running");
  GANTRY_RETURN_IF_ERROR(container->Kill(signal, false));
  return 0;
}

absl::StatusOr<int> RunDelete(const Globals& globals, const Args& args) {
  Store store(globals.root);
  GANTRY_ASSIGN_OR_RETURN(std::string id, IdOf(args));
  bool force = args.Has("force");
  auto record = store.Load(id);
  if (!record.ok()) {
    if (!force || !absl::IsNotFound(record.status())) return record.status();
    GANTRY_RETURN_IF_ERROR(store.Remove(id));  // what a killed create left
    return 0;
  }
  GANTRY_ASSIGN_OR_RETURN(std::string state, record->Status());
  EnterContainersUser(&*record, state).IgnoreError();  // as in RunKill
  GANTRY_ASSIGN_OR_RETURN(std::unique_ptr<Container> container, record->Open());
  if (state == "created" || (force && state != "stopped")) {
    container->Kill(SIGKILL, true).IgnoreError();
    container->Kill(SIGKILL, false).IgnoreError();
    AwaitEnd(record->pid);
  } else if (state != "stopped") {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot delete container ", id, " that is not stopped: ", state));
  }
  GANTRY_RETURN_IF_ERROR(container->Delete());
  GANTRY_RETURN_IF_ERROR(store.Remove(id));
  return 0;
}

}  // namespace

const std::vector<Command>& LifecycleCommands() {
  static const auto* commands = new std::vector<Command>{
      {"create", "[options] ID", CreateFlags(), RunCreate, true},
      {"start", "ID", {}, RunStart, false},
      {"run", "[options] ID", CreateFlags(), RunRun, true},
      {"exec",
       "[options] ID COMMAND [ARG...]",
       {{"console-socket", 0, true},
        {"pidfd-socket", 0, true},
        {"cwd", 0, true},
        {"env", 'e', true},
        {"tty", 't', false},
        {"user", 'u', true},
        {"additional-gids", 'g', true},
        {"process", 'p', true},
        {"detach", 'd', false},
        {"pid-file", 0, true},
        {"process-label", 0, true},
        {"apparmor", 0, true},
        {"no-new-privs", 0, false},
        {"cap", 'c', true},
        {"preserve-fds", 0, true},
        {"cgroup", 0, true},
        {"ignore-paused", 0, false}},
       RunExecCommand,
       true},
      {"kill", "[--all] ID [SIGNAL]", {{"all", 'a', false}}, RunKill, false},
      {"delete", "[--force] ID", {{"force", 'f', false}}, RunDelete, false}};
  return *commands;
}

absl::StatusOr<std::string> IdOf(const Args& args) {
  if (args.rest().empty()) return absl::InvalidArgumentError("container id cannot be empty");
  return args.rest()[0];
}

}  // namespace gantry::oci
