// start, exec, attach, wait and the hidden reap.

#include <unistd.h>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/ids.h"
#include "base/status.h"
#include "client/container.h"
#include "client/spec/spec.h"
#include "client/stdio.h"
#include "containerd/services/snapshots/v1/snapshots.methods.h"
#include "containerd/services/tasks/v1/tasks.methods.h"
#include "ctl/container_commands.h"
#include "ctl/logs.h"
#include "ctl/managed.h"
#include "ctl/output.h"
#include "ctl/run_options.h"
#include "ctl/session.h"
#include "ctl/task_ops.h"

namespace gantry::ctl {
namespace {

namespace snapshots = containerd::services::snapshots::v1;
namespace tasks = containerd::services::tasks::v1;

absl::StatusOr<client::MountList> RootMounts(const client::Connection& connection,
                                             const client::ContainerRecord& record) {
  snapshots::MountsRequest request;
  request.set_snapshotter(record.snapshotter());
  request.set_key(record.snapshot_key());
  snapshots::MountsResponse response;
  GANTRY_RETURN_IF_ERROR(connection.Call(snapshots::SnapshotsMethods::kMounts, request, &response));
  return std::move(*response.mutable_mounts());
}

// A stopped task makes room for the next.
absl::Status ClearOldTask(const client::Connection& connection, const std::string& id) {
  auto task = GetTask(connection, id);
  if (absl::IsNotFound(task.status())) return absl::OkStatus();
  GANTRY_RETURN_IF_ERROR(task.status());
  if (task->status() != containerd::v1::types::STOPPED) {
    return absl::FailedPreconditionError(
        absl::StrCat("container ", ShortId(id), " is ", TaskState(&*task), " already"));
  }
  client::Fifos::Remove(kFifoBase, task->stdout());
  return ForgetTask(connection, id);
}

absl::Status StartInBackground(const client::Connection& connection,
                               const client::ContainerRecord& record,
                               const client::MountList& mounts, bool terminal) {
  TaskIo io;
  io.terminal = terminal;
  auto log = record.labels().find(client::kLogLabel);
  if (log != record.labels().end()) {
    GANTRY_RETURN_IF_ERROR(PrepareLog(log->second));
    io.out = log->second;
    io.err = terminal ? "" : log->second;
  }
  GANTRY_RETURN_IF_ERROR(CreateTask(connection, record.id(), mounts, io).status());
  absl::Status status = StartTask(connection, record.id());
  if (!status.ok()) DiscardTask(connection, record.id());
  return status;
}

absl::StatusOr<int> StartAttached(const Invocation& call, const client::ContainerRecord& record,
                                  const client::MountList& mounts, bool terminal) {
  bool interactive = call.args.Bool("interactive");
  GANTRY_ASSIGN_OR_RETURN(client::Fifos fifos,
                          client::Fifos::Create(kFifoBase, interactive, terminal));
  TaskIo io{fifos.in_path(), fifos.out_path(), fifos.err_path(), terminal};
  GANTRY_RETURN_IF_ERROR(CreateTask(call.connection, record.id(), mounts, io).status());
  absl::Cleanup discard = [&] { DiscardTask(call.connection, record.id()); };
  SessionOptions options;
  options.container_id = record.id();
  options.terminal = terminal;
  options.interactive = interactive;
  GANTRY_ASSIGN_OR_RETURN(options.detach_keys, client::ParseDetachKeys(call.args.String(
                                                   "detach-keys", "ctrl-p,ctrl-q")));
  GANTRY_ASSIGN_OR_RETURN(SessionResult result,
                          RunSession(call.connection, options, std::move(fifos),
                                     [&] { return StartTask(call.connection, record.id()); }));
  std::move(discard).Cancel();
  if (result.detached) return 0;
  GANTRY_RETURN_IF_ERROR(ForgetTask(call.connection, record.id()));
  return result.exit_code;
}

absl::StatusOr<int> Start(const Invocation& call) {
  GANTRY_RETURN_IF_ERROR(CheckCount(call, 1, SIZE_MAX, "the container to start"));
  bool attach = call.args.Bool("attach") || call.args.Bool("interactive");
  if (attach) GANTRY_RETURN_IF_ERROR(CheckCount(call, 1, 1, "one container to attach to"));
  for (const std::string& typed : call.args.positional()) {
    GANTRY_ASSIGN_OR_RETURN(client::ContainerRecord record,
                            client::FindContainer(call.connection, typed));
    if (IsManaged(record)) {
      if (attach) {
        return absl::UnimplementedError(absl::StrCat(
            "container ", typed, " is started in the background; see what it prints with logs -f"));
      }
      GANTRY_RETURN_IF_ERROR(StartManaged(call.connection, record.id()));
      PrintOut(typed + "\n");
      continue;
    }
    GANTRY_RETURN_IF_ERROR(ClearOldTask(call.connection, record.id()));
    GANTRY_ASSIGN_OR_RETURN(base::Json spec, client::ContainerSpec(record));
    bool terminal = base::JsonBool(base::JsonAt(spec, "process"), "terminal");
    GANTRY_ASSIGN_OR_RETURN(client::MountList mounts, RootMounts(call.connection, record));
    if (attach) return StartAttached(call, record, mounts, terminal);
    GANTRY_RETURN_IF_ERROR(StartInBackground(call.connection, record, mounts, terminal));
    PrintOut(typed + "\n");
  }
  return 0;
}

absl::StatusOr<client::ExecOptions> ExecOptionsOf(const Invocation& call,
                                                  const client::ContainerRecord& record) {
  client::ExecOptions exec;
  const auto& words = call.args.positional();
  exec.args.assign(words.begin() + 1, words.end());
  GANTRY_ASSIGN_OR_RETURN(exec.env,
                          ParseEnvironment(call.args.List("env"), call.args.List("env-file")));
  exec.cwd = call.args.String("workdir");
  exec.terminal = call.args.Bool("tty");
  exec.privileged = call.args.Bool("privileged");
  if (!call.args.Has("user")) return exec;
  GANTRY_ASSIGN_OR_RETURN(client::UserRequest user, client::ParseUser(call.args.String("user")));
  GANTRY_ASSIGN_OR_RETURN(client::MountList mounts, RootMounts(call.connection, record));
  GANTRY_ASSIGN_OR_RETURN(client::ResolvedUser resolved, client::ResolveUserInMounts(mounts, user));
  exec.user = resolved;
  return exec;
}

absl::Status AddExec(const client::Connection& connection, const std::string& id,
                     const std::string& exec_id, const base::Json& process, const TaskIo& io) {
  tasks::ExecProcessRequest request;
  request.set_container_id(id);
  request.set_exec_id(exec_id);
  request.set_stdin(io.in);
  request.set_stdout(io.out);
  request.set_stderr(io.err);
  request.set_terminal(io.terminal);
  request.mutable_spec()->set_type_url(client::kProcessTypeUrl);
  request.mutable_spec()->set_value(base::DumpJson(process));
  google::protobuf::Empty nothing;
  return connection.Call(tasks::TasksMethods::kExec, request, &nothing);
}

void DeleteExec(const client::Connection& connection, const std::string& id,
                const std::string& exec_id) {
  tasks::DeleteProcessRequest request;
  request.set_container_id(id);
  request.set_exec_id(exec_id);
  tasks::DeleteResponse response;
  // Best effort: it goes with its container at the latest.
  (void)connection.Call(tasks::TasksMethods::kDeleteProcess, request, &response);
}

absl::StatusOr<int> ExecDetached(const Invocation& call, const std::string& id,
                                 const base::Json& process, bool terminal) {
  std::string exec_id = base::RandomHex(16);
  TaskIo io;
  io.terminal = terminal;
  GANTRY_RETURN_IF_ERROR(AddExec(call.connection, id, exec_id, process, io));
  absl::Status status = StartTask(call.connection, id, exec_id);
  if (!status.ok()) DeleteExec(call.connection, id, exec_id);
  GANTRY_RETURN_IF_ERROR(status);
  PrintOut(exec_id + "\n");
  return 0;
}

absl::StatusOr<int> ExecAttached(const Invocation& call, const std::string& id,
                                 const base::Json& process, bool terminal) {
  SessionOptions options;
  options.container_id = id;
  options.exec_id = base::RandomHex(16);
  options.terminal = terminal;
  options.interactive = call.args.Bool("interactive");
  GANTRY_ASSIGN_OR_RETURN(options.detach_keys, client::ParseDetachKeys(call.args.String(
                                                   "detach-keys", "ctrl-p,ctrl-q")));
  GANTRY_ASSIGN_OR_RETURN(client::Fifos fifos,
                          client::Fifos::Create(kFifoBase, options.interactive, terminal));
  TaskIo io{fifos.in_path(), fifos.out_path(), fifos.err_path(), terminal};
  GANTRY_RETURN_IF_ERROR(AddExec(call.connection, id, options.exec_id, process, io));
  absl::Status start;
  auto result = RunSession(call.connection, options, std::move(fifos), [&] {
    start = StartTask(call.connection, id, options.exec_id);
    return start;
  });
  if (result.ok() && result->detached) return 0;
  DeleteExec(call.connection, id, options.exec_id);
  if (!start.ok()) {
    PrintError(start);
    return StartFailureCode(start);
  }
  GANTRY_RETURN_IF_ERROR(result.status());
  return result->exit_code;
}

absl::StatusOr<int> Exec(const Invocation& call) {
  GANTRY_RETURN_IF_ERROR(CheckCount(call, 2, SIZE_MAX, "a container and a program to run in it"));
  GANTRY_ASSIGN_OR_RETURN(client::ContainerRecord record,
                          client::FindContainer(call.connection, call.args.positional()[0]));
  GANTRY_ASSIGN_OR_RETURN(base::Json spec, client::ContainerSpec(record));
  GANTRY_ASSIGN_OR_RETURN(client::ExecOptions options, ExecOptionsOf(call, record));
  GANTRY_ASSIGN_OR_RETURN(base::Json process, client::BuildExecProcess(spec, options));
  return call.args.Bool("detach") ? ExecDetached(call, record.id(), process, options.terminal)
                                  : ExecAttached(call, record.id(), process, options.terminal);
}

absl::StatusOr<int> Attach(const Invocation& call) {
  GANTRY_RETURN_IF_ERROR(CheckCount(call, 1, 1, "the container to attach to"));
  GANTRY_ASSIGN_OR_RETURN(client::ContainerRecord record,
                          client::FindContainer(call.connection, call.args.positional()[0]));
  GANTRY_ASSIGN_OR_RETURN(TaskProcess task, GetTask(call.connection, record.id()));
  if (task.stdout().empty() || task.stdout()[0] != '/') {
    return absl::FailedPreconditionError(
        absl::StrCat("the output of ", ShortId(record.id()),
                     " goes to a log, not to a terminal; follow it with gantryctl logs -f ",
                     ShortId(record.id())));
  }
  GANTRY_ASSIGN_OR_RETURN(client::Fifos fifos,
                          client::Fifos::Open(task.stdin(), task.stdout(), task.stderr()));
  SessionOptions options;
  options.container_id = record.id();
  options.terminal = task.terminal();
  options.interactive = !task.stdin().empty() && !call.args.Bool("no-stdin");
  options.forward_signals = !call.args.Bool("no-sig-proxy");
  GANTRY_ASSIGN_OR_RETURN(options.detach_keys, client::ParseDetachKeys(call.args.String(
                                                   "detach-keys", "ctrl-p,ctrl-q")));
  GANTRY_ASSIGN_OR_RETURN(SessionResult result,
                          RunSession(call.connection, options, std::move(fifos), nullptr));
  return result.detached ? 0 : result.exit_code;
}

absl::StatusOr<int> Wait(const Invocation& call) {
  GANTRY_RETURN_IF_ERROR(CheckCount(call, 1, SIZE_MAX, "the container to wait for"));
  int code = 0;
  for (const std::string& typed : call.args.positional()) {
    GANTRY_ASSIGN_OR_RETURN(client::ContainerRecord record,
                            client::FindContainer(call.connection, typed));
    GANTRY_RETURN_IF_ERROR(
        WaitTask(call.connection, record.id(), absl::InfiniteDuration(), &code).status());
    PrintOut(absl::StrCat(code, "\n"));
  }
  return 0;
}

// What `run -d --rm` leaves behind in the background: removes the container when it has ended.
absl::StatusOr<int> Reap(const Invocation& call) {
  GANTRY_RETURN_IF_ERROR(CheckCount(call, 1, 1, "a container"));
  GANTRY_ASSIGN_OR_RETURN(client::ContainerRecord record,
                          client::FindContainer(call.connection, call.args.positional()[0]));
  int code = 0;
  GANTRY_RETURN_IF_ERROR(
      WaitTask(call.connection, record.id(), absl::InfiniteDuration(), &code).status());
  GANTRY_RETURN_IF_ERROR(RemoveContainer(call.connection, record, /*force=*/false));
  return 0;
}

std::vector<Flag> ExecFlags() {
  constexpr FlagKind kBool = FlagKind::kBool;
  return {{"detach", 'd', kBool, "", "run in the background and print the id of the process"},
          {"interactive", 'i', kBool, "", "pass standard input on"},
          {"tty", 't', kBool, "", "give the program a terminal"},
          {"env", 'e', FlagKind::kList, "NAME[=VALUE]", "set a variable, or pass ours on"},
          {"env-file", '\0', FlagKind::kList, "FILE", "read variables, one a line"},
          {"workdir", 'w', FlagKind::kString, "DIR", "working directory inside"},
          {"user", 'u', FlagKind::kString, "USER[:GROUP]", "names of the image, or numbers"},
          {"privileged", '\0', kBool, "", "all capabilities"},
          {"detach-keys", '\0', FlagKind::kString, "KEYS", "default ctrl-p,ctrl-q"}};
}

}  // namespace

std::vector<Command> ProcessCommands() {
  constexpr FlagKind kBool = FlagKind::kBool;
  Flag keys = {"detach-keys", '\0', FlagKind::kString, "KEYS", "default ctrl-p,ctrl-q"};
  return {{"start",
           "Containers",
           "[FLAGS] CONTAINER...",
           "Start containers that were made or ended",
           "gantryctl start web\ngantryctl start -ai job",
           {{"attach", 'a', kBool, "", "stay with its output"},
            {"interactive", 'i', kBool, "", "pass standard input on"},
            keys},
           Start,
           false,
           kExitDaemon},
          {"exec", "Containers", "[FLAGS] CONTAINER COMMAND [ARGUMENT...]",
           "Run another program in a container",
           "gantryctl exec -it web sh\ngantryctl exec -u nobody web id", ExecFlags(), Exec, true,
           kExitDaemon},
          {"attach",
           "Containers",
           "[FLAGS] CONTAINER",
           "Take a container's terminal",
           "gantryctl attach shell",
           {{"no-stdin", '\0', kBool, "", "only watch"},
            {"no-sig-proxy", '\0', kBool, "", "keep signals to ourselves"},
            keys},
           Attach,
           false,
           kExitDaemon},
          {"wait",
           "Containers",
           "CONTAINER...",
           "Wait for the end and print the exit code",
           "gantryctl wait job",
           {},
           Wait},
          {"reap", "", "CONTAINER", "Remove a container when it has ended", "", {}, Reap}};
}

}  // namespace gantry::ctl
