// run, create and start.

#include <unistd.h>

#include <optional>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/process.h"
#include "base/status.h"
#include "client/container.h"
#include "ctl/command.h"
#include "ctl/image_source.h"
#include "ctl/logs.h"
#include "ctl/managed.h"
#include "ctl/managed_run.h"
#include "ctl/output.h"
#include "ctl/run_options.h"
#include "ctl/session.h"
#include "ctl/task_ops.h"

namespace gantry::ctl {
namespace {

// A container that was made and the mounts of its root file system.
struct NewContainer {
  client::ContainerRecord record;
  client::MountList mounts;
};

absl::StatusOr<client::ContainerRecord> MakeRecord(const RunOptions& run,
                                                   const RunnableImage& image,
                                                   const std::string& ns) {
  client::ContainerRecord record;
  record.set_id(base::RandomHex(32));
  record.set_image(image.name);
  record.set_snapshotter(run.snapshotter);
  record.set_snapshot_key(record.id());
  record.mutable_runtime()->set_name(run.runtime);
  for (const auto& [key, value] : run.labels) (*record.mutable_labels())[key] = value;
  if (!run.name.empty()) (*record.mutable_labels())[client::kNameLabel] = run.name;
  if (!image.config.stop_signal.empty()) {
    (*record.mutable_labels())["gantry/stop-signal"] = image.config.stop_signal;
  }
  client::SpecOptions options = run.spec;
  options.id = record.id();
  options.ns = ns;
  GANTRY_ASSIGN_OR_RETURN(base::Json spec, client::BuildSpec(image.config, image.user, options));
  record.mutable_spec()->set_type_url(client::kSpecTypeUrl);
  record.mutable_spec()->set_value(base::DumpJson(spec));
  return record;
}

absl::Status CheckNameFree(const client::Connection& connection, const std::string& name) {
  if (name.empty()) return absl::OkStatus();
  GANTRY_ASSIGN_OR_RETURN(auto taken, client::ContainersNamed(connection, name));
  if (taken.empty()) return absl::OkStatus();
  return absl::AlreadyExistsError(absl::StrCat("the name \"", name, "\" belongs to container ",
                                               ShortId(taken[0].id()), "; remove it (gantryctl rm ",
                                               name, ") or take another name"));
}

absl::StatusOr<NewContainer> TryCreate(const client::Connection& connection, const RunOptions& run,
                                       bool verify) {
  GANTRY_ASSIGN_OR_RETURN(RunnableImage image, GetRunnableImage(connection, run.image, run.pull,
                                                                run.snapshotter, run.user, verify));
  NewContainer made;
  GANTRY_ASSIGN_OR_RETURN(made.record, MakeRecord(run, image, connection.ns()));
  if (run.managed) {
    GANTRY_RETURN_IF_ERROR(CreateManaged(connection, run, made.record, image.chain_id));
    return made;
  }
  if (run.detach && run.log_driver != "none") {
    (*made.record.mutable_labels())[client::kLogLabel] =
        LogUri(connection, made.record.id(), run.runtime);
  }
  GANTRY_RETURN_IF_ERROR(
      client::CreateContainer(connection, made.record, image.chain_id, &made.mounts));
  return made;
}

absl::StatusOr<NewContainer> Create(const client::Connection& connection, const RunOptions& run) {
  GANTRY_RETURN_IF_ERROR(CheckNameFree(connection, run.name));
  auto made = TryCreate(connection, run, /*verify=*/false);
  // The layers may have been collected since they were last seen.
  if (absl::IsNotFound(made.status()) && absl::StrContains(made.status().message(), "prepare")) {
    return TryCreate(connection, run, /*verify=*/true);
  }
  return made;
}

absl::Status WritePidFile(const std::string& path, uint32_t pid) {
  return path.empty() ? absl::OkStatus() : base::ReplaceFile(path, absl::StrCat(pid), 0644);
}

absl::Status StartDetached(const client::Connection& connection, const RunOptions& run,
                           const NewContainer& made) {
  TaskIo io;
  io.terminal = run.spec.terminal;
  auto log = made.record.labels().find(client::kLogLabel);
  if (log != made.record.labels().end()) {
    GANTRY_RETURN_IF_ERROR(PrepareLog(log->second));
    io.out = log->second;
    io.err = io.terminal ? "" : log->second;
  }
  std::optional<client::Fifos> fifos;
  if (run.interactive) {
    GANTRY_ASSIGN_OR_RETURN(auto made_fifos, client::Fifos::Create(kFifoBase, true, true));
    fifos.emplace(std::move(made_fifos));
    io.in = fifos->in_path();
    if (io.terminal) io.out = fifos->out_path();
  }
  GANTRY_ASSIGN_OR_RETURN(uint32_t pid, CreateTask(connection, made.record.id(), made.mounts, io));
  absl::Status status = WritePidFile(run.pid_file, pid);
  if (status.ok()) status = StartTask(connection, made.record.id());
  if (!status.ok()) {
    DiscardTask(connection, made.record.id());
    return status;
  }
  if (fifos) fifos->Keep();
  return absl::OkStatus();
}

// Runs in the foreground; the task is gone afterwards unless we were detached.
absl::StatusOr<SessionResult> RunAttached(const client::Connection& connection,
                                          const RunOptions& run, const NewContainer& made) {
  const std::string& id = made.record.id();
  GANTRY_ASSIGN_OR_RETURN(client::Fifos fifos,
                          client::Fifos::Create(kFifoBase, run.interactive, run.spec.terminal));
  TaskIo io{fifos.in_path(), fifos.out_path(), fifos.err_path(), run.spec.terminal};
  GANTRY_ASSIGN_OR_RETURN(uint32_t pid, CreateTask(connection, id, made.mounts, io));
  absl::Cleanup discard = [&] { DiscardTask(connection, id); };
  GANTRY_RETURN_IF_ERROR(WritePidFile(run.pid_file, pid));
  SessionOptions session;
  session.container_id = id;
  session.terminal = run.spec.terminal;
  session.interactive = run.interactive;
  session.detach_keys = run.detach_keys;
  GANTRY_ASSIGN_OR_RETURN(
      SessionResult result,
      RunSession(connection, session, std::move(fifos), [&] { return StartTask(connection, id); }));
  std::move(discard).Cancel();
  if (result.detached) return result;
  GANTRY_RETURN_IF_ERROR(ForgetTask(connection, id));
  return result;
}

// Somebody has to be there when a container in the background ends.
absl::Status StartReaper(const client::Connection& connection, const std::string& id) {
  base::SpawnOptions spawn;
  spawn.argv = {"/proc/self/exe", "-a", connection.address(), "-n", connection.ns(), "reap", id};
  spawn.new_process_group = true;
  return base::Annotate(base::Process::Spawn(spawn).status(),
                        "start the process that will remove the container (--rm)");
}

absl::StatusOr<int> Fail(const client::Connection& connection, const NewContainer& made,
                         const absl::Status& status) {
  // Best effort: the start's error is what the caller must hear.
  (void)client::DeleteContainer(connection, made.record);
  PrintError(status);
  return StartFailureCode(status);
}

// In the background, kept up by gantryd. What cannot be started does not stay, as with the others.
absl::StatusOr<int> StartKept(const client::Connection& connection, const std::string& id) {
  absl::Status started = StartManaged(connection, id);
  if (started.ok()) {
    PrintOut(id + "\n");
    return 0;
  }
  (void)RemoveManaged(connection, id, /*force=*/true);
  PrintError(started);
  return StartFailureCode(started);
}

// Whether gantryd can make, start and watch it in one call: in the foreground, and with nothing
// that needs the single steps (a way to detach, the pid before the start, another shim).
bool IsOneCall(const RunOptions& run) {
  if (run.detach) return false;
  if (run.managed) return true;
  return run.remove && !run.spec.terminal && run.pid_file.empty() && run.runtime == kDefaultRuntime;
}

absl::StatusOr<int> TryOneCall(const client::Connection& connection, const RunOptions& run,
                               bool verify) {
  GANTRY_ASSIGN_OR_RETURN(RunnableImage image, GetRunnableImage(connection, run.image, run.pull,
                                                                run.snapshotter, run.user, verify));
  GANTRY_ASSIGN_OR_RETURN(client::ContainerRecord record, MakeRecord(run, image, connection.ns()));
  return RunManaged(connection, run, record, image.chain_id);
}

absl::StatusOr<int> RunOneCall(const client::Connection& connection, const RunOptions& run) {
  GANTRY_RETURN_IF_ERROR(CheckNameFree(connection, run.name));
  auto code = TryOneCall(connection, run, /*verify=*/false);
  // The layers may have been collected since they were last seen.
  if (absl::IsNotFound(code.status()) && absl::StrContains(code.status().message(), "snapshot"))
    code = TryOneCall(connection, run, /*verify=*/true);
  if (code.ok() || absl::IsUnimplemented(code.status())) return code;
  PrintError(code.status());
  return StartFailureCode(code.status());
}

absl::StatusOr<int> Run(const Invocation& call) {
  GANTRY_ASSIGN_OR_RETURN(RunOptions run, ParseRunOptions(call.args));
  if (run.spec.terminal && !run.detach && !isatty(STDIN_FILENO) && run.interactive) {
    return absl::InvalidArgumentError("-t needs a terminal on standard input; use -i alone here");
  }
  if (IsOneCall(run)) {
    auto code = RunOneCall(call.connection, run);
    // A daemon that knows containerd's services only does it step by step.
    if (run.managed || !absl::IsUnimplemented(code.status())) return code;
  }
  GANTRY_ASSIGN_OR_RETURN(NewContainer made, Create(call.connection, run));
  if (run.managed) return StartKept(call.connection, made.record.id());
  if (run.detach) {
    absl::Status status = StartDetached(call.connection, run, made);
    if (!status.ok()) return Fail(call.connection, made, status);
    if (run.remove) GANTRY_RETURN_IF_ERROR(StartReaper(call.connection, made.record.id()));
    PrintOut(made.record.id() + "\n");
    return 0;
  }
  auto result = RunAttached(call.connection, run, made);
  if (!result.ok()) return Fail(call.connection, made, result.status());
  if (result->detached) {
    PrintNote(absl::StrCat("\ndetached; gantryctl attach ", ShortId(made.record.id()), "\n"));
    return 0;
  }
  if (run.remove) {
    GANTRY_RETURN_IF_ERROR(client::DeleteContainer(call.connection, made.record));
  }
  return result->exit_code;
}

absl::StatusOr<int> CreateOnly(const Invocation& call) {
  GANTRY_ASSIGN_OR_RETURN(RunOptions run, ParseRunOptions(call.args));
  run.detach = true;  // started later, in the background unless `start -a`
  GANTRY_ASSIGN_OR_RETURN(NewContainer made, Create(call.connection, run));
  PrintOut(made.record.id() + "\n");
  return 0;
}

}  // namespace

std::vector<Command> RunCommands() {
  return {
      {"run", "Containers", "[FLAGS] IMAGE [COMMAND [ARGUMENT...]]", "Run a program in a container",
       "gantryctl run --rm hello\n"
       "gantryctl run --rm -it busybox sh\n"
       "gantryctl run -d --name web --net host -v /srv/www:/www:ro busybox httpd -f -h /www\n"
       "gantryctl run --rm --memory 256m --cpus 0.5 -e MODE=test app:1 check",
       RunFlags(), Run, true, kExitDaemon},
      {"create", "Containers", "[FLAGS] IMAGE [COMMAND [ARGUMENT...]]",
       "Make a container without starting it", "gantryctl create --name job busybox date",
       RunFlags(), CreateOnly, true, kExitDaemon}};
}

}  // namespace gantry::ctl
