// Further processes in containers.

#include <fcntl.h>

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "client/spec/spec.h"
#include "containerd/services/tasks/v1/tasks.methods.h"
#include "docker/containers/lookup.h"
#include "docker/containers/service.h"
#include "docker/containers/signals.h"

namespace gantry::docker {
namespace {

namespace tasks = containerd::services::tasks::v1;
using base::Json;
using base::OrderedJson;
using google::protobuf::Empty;

// An exit is told by gantryd for that long; this process knows it longer.
constexpr absl::Duration kKeepExited = absl::Minutes(1);
constexpr absl::Duration kExitPatience = absl::Seconds(5);
constexpr size_t kSocketDigits = 24;

struct ExecConfig {
  std::string user, working_dir, detach_keys;
  bool privileged = false, tty = false;
  bool in = false, out = false, err = false;
  StringList env, cmd;
};

absl::StatusOr<ExecConfig> ReadConfig(http::Exchange& exchange) {
  GANTRY_ASSIGN_OR_RETURN(Json body, exchange.ReadJson());
  ExecConfig c;
  JsonObject o(body, "ExecOptions");
  o.Get("User", &c.user);
  o.Get("Privileged", &c.privileged);
  o.Get("Tty", &c.tty);
  o.Get("AttachStdin", &c.in);
  o.Get("AttachStdout", &c.out);
  o.Get("AttachStderr", &c.err);
  o.Get("DetachKeys", &c.detach_keys);
  o.Get("Env", &c.env);
  o.Get("WorkingDir", &c.working_dir);
  o.Get("Cmd", &c.cmd);
  GANTRY_RETURN_IF_ERROR(o.status());
  if (c.cmd.empty()) return absl::InvalidArgumentError("No exec command specified");
  return c;
}

absl::Status CheckRunning(const FoundContainer& found) {
  const std::string& status = found.state().status();
  if (status == "running") return absl::OkStatus();
  if (status == "paused") {
    return absl::FailedPreconditionError(
        absl::StrCat("Container ", found.id(), " is paused, unpause the container before exec"));
  }
  if (status == "restarting") {
    return absl::FailedPreconditionError(absl::StrCat(
        "Container ", found.id(), " is restarting, wait until the container is running"));
  }
  return absl::FailedPreconditionError(absl::StrCat("container ", found.id(), " is not running"));
}

// By the files that the container sees now.
absl::StatusOr<client::ResolvedUser> ResolveInContainer(uint32_t pid, const std::string& user) {
  GANTRY_ASSIGN_OR_RETURN(client::UserRequest request, client::ParseUser(user));
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd root,
                          base::Open(absl::StrCat("/proc/", pid, "/root"), O_PATH | O_DIRECTORY));
  auto resolved = client::ResolveUser(root.get(), request);
  if (!absl::IsNotFound(resolved.status())) return resolved;
  std::string name = user.substr(0, user.find(':'));
  return absl::InvalidArgumentError(
      absl::StrCat("unable to find user ", name, ": no matching entries in passwd file"));
}

absl::StatusOr<Json> MakeProcess(const FoundContainer& found, const ExecConfig& config) {
  GANTRY_ASSIGN_OR_RETURN(Json spec, base::ParseJson(found.spec));
  client::ExecOptions options;
  options.args = config.cmd;
  for (const std::string& entry : config.env) {
    if (absl::StrContains(entry, '=')) options.env.push_back(entry);
  }
  options.cwd = config.working_dir;
  options.terminal = config.tty;
  options.privileged = config.privileged;
  if (!config.user.empty()) {
    GANTRY_ASSIGN_OR_RETURN(options.user, ResolveInContainer(found.state().pid(), config.user));
  }
  return client::BuildExecProcess(spec, options);
}

// Beside the socket of the container itself.
std::string SocketOf(const FoundContainer& found, const std::string& exec_id) {
  const std::string& own = found.state().attach_path();
  return absl::StrCat(own.substr(0, own.rfind('/') + 1), "x", exec_id.substr(0, kSocketDigits));
}

// What the exit code of a process is that could not be started.
uint32_t FailureCode(const absl::Status& status) {
  absl::string_view text = status.message();
  if (absl::StrContains(text, "executable file not found") ||
      absl::StrContains(text, "no such file or directory")) {
    return 127;
  }
  return 126;
}

std::string Frame(char stream, absl::string_view text) {
  std::string frame(8, '\0');
  frame[0] = stream;
  for (int i = 0; i < 4; ++i) frame[4 + i] = static_cast<char>(text.size() >> (24 - 8 * i));
  return absl::StrCat(frame, text);
}

// "attach:///path?…" → path.
std::string PathOfUri(absl::string_view uri) {
  if (!absl::ConsumePrefix(&uri, "attach://")) return "";
  return std::string(uri.substr(0, uri.find('?')));
}

}  // namespace

absl::Status ContainerService::ExecCreate(const ExchangePtr& exchange) {
  GANTRY_ASSIGN_OR_RETURN(ExecConfig config, ReadConfig(*exchange));
  GANTRY_ASSIGN_OR_RETURN(FoundContainer found, FindContainer(context_, exchange->Var("name")));
  GANTRY_RETURN_IF_ERROR(CheckRunning(found));
  GANTRY_ASSIGN_OR_RETURN(Json process, MakeProcess(found, config));
  ExecRecord record;
  record.id = MakeExecId(found.id());
  record.container = found.id();
  record.terminal = config.tty;
  record.in = config.in;
  record.out = config.out;
  record.err = config.err;
  if (config.in || config.out || config.err) record.attach_path = SocketOf(found, record.id);
  record.program = config.cmd[0];
  record.args.assign(config.cmd.begin() + 1, config.cmd.end());
  record.user = config.user;
  record.detach_keys = config.detach_keys;
  record.privileged = config.privileged;

  tasks::ExecProcessRequest request;
  request.set_container_id(found.id());
  request.set_exec_id(record.id);
  request.set_terminal(config.tty);
  request.mutable_spec()->set_type_url(client::kProcessTypeUrl);
  request.mutable_spec()->set_value(base::DumpJson(process));
  if (config.in) {
    request.set_stdin(absl::StrCat("attach://", record.attach_path, "?stdin-once=1"));
  }
  if (!record.attach_path.empty()) {
    std::string uri = absl::StrCat("attach://", record.attach_path, "?attach-wait=1");
    request.set_stdout(uri);
    if (!config.tty) request.set_stderr(uri);
  }
  Empty nothing;
  GANTRY_RETURN_IF_ERROR(context_.gantryd.Call(tasks::TasksMethods::kExec, request, &nothing));
  execs_.Put(record);
  exchange->ReplyJson(201, OrderedJson{{"Id", record.id}});
  return absl::OkStatus();
}

absl::StatusOr<ExecRecord> ContainerService::FindExec(const std::string& id) {
  std::optional<ExecRecord> known = execs_.Find(id);
  if (known && known->exit_code) return *known;
  absl::Status missing = absl::NotFoundError(absl::StrCat("No such exec instance: ", id));
  std::string container = known ? known->container : ContainerOfExec(id);
  if (container.empty()) return missing;
  if (!known) {
    auto found = FindRecord(context_, container);
    if (!found.ok()) return missing;
    container = found->id();
  }
  tasks::GetRequest request;
  request.set_container_id(container);
  request.set_exec_id(id);
  tasks::GetResponse response;
  absl::Status status = context_.gantryd.Call(tasks::TasksMethods::kGet, request, &response);
  if (absl::IsNotFound(status)) return missing;
  GANTRY_RETURN_IF_ERROR(status);
  const auto& process = response.process();
  ExecRecord record = known.value_or(ExecRecord{});
  if (!known) {
    record.id = id;
    record.container = container;
    record.terminal = process.terminal();
    record.attach_path = PathOfUri(process.stdout());
    record.in = !process.stdin().empty();
    record.out = record.err = !process.stdout().empty();
  }
  record.running = process.status() == containerd::v1::types::RUNNING ||
                   process.status() == containerd::v1::types::PAUSED;
  record.pid = record.running ? process.pid() : 0;
  if (process.status() == containerd::v1::types::STOPPED) record.exit_code = process.exit_status();
  execs_.Put(record);
  return record;
}

void ContainerService::WatchExec(const ExecRecord& record) {
  tasks::WaitRequest wait;
  wait.set_container_id(record.container);
  wait.set_exec_id(record.id);
  context_.rpc.Start<tasks::WaitRequest, tasks::WaitResponse>(
      tasks::TasksMethods::kWait, wait,
      [this, id = record.id, container = record.container](const absl::Status& status,
                                                           const tasks::WaitResponse& response) {
        // Otherwise the process is asked for when somebody wants to know.
        if (!status.ok()) return;
        execs_.SetExited(id, response.exit_status());
        context_.server.After(kKeepExited, [this, id, container] {
          context_.workers.Run([this, id, container] {
            tasks::DeleteProcessRequest request;
            request.set_container_id(container);
            request.set_exec_id(id);
            tasks::DeleteResponse deleted;
            context_.gantryd.Call(tasks::TasksMethods::kDeleteProcess, request, &deleted)
                .IgnoreError();
          });
        });
      });
}

absl::Status ContainerService::StartProcess(const ExecRecord& record) {
  tasks::StartRequest request;
  request.set_container_id(record.container);
  request.set_exec_id(record.id);
  tasks::StartResponse response;
  absl::Status started = context_.gantryd.Call(tasks::TasksMethods::kStart, request, &response);
  if (started.ok()) {
    execs_.SetRunning(record.id, response.pid());
    WatchExec(record);
    return started;
  }
  execs_.SetExited(record.id, FailureCode(started));
  tasks::DeleteProcessRequest remove;
  remove.set_container_id(record.container);
  remove.set_exec_id(record.id);
  tasks::DeleteResponse deleted;
  context_.gantryd.Call(tasks::TasksMethods::kDeleteProcess, remove, &deleted).IgnoreError();
  return base::Annotate(started, "OCI runtime exec failed: exec failed");
}

absl::Status ContainerService::ExecStart(const ExchangePtr& exchange) {
  GANTRY_ASSIGN_OR_RETURN(Json body, exchange->ReadJson());
  bool detach = false;
  JsonObject o(body, "ExecStartOptions");
  o.Get("Detach", &detach);
  std::vector<uint32_t> size;
  o.ForEach("ConsoleSize", [&size](const Json& item) {
    size.push_back(item.is_number_unsigned() ? item.get<uint32_t>() : 0);
    return absl::OkStatus();
  });
  GANTRY_RETURN_IF_ERROR(o.status());
  GANTRY_ASSIGN_OR_RETURN(ExecRecord record, FindExec(exchange->Var("id")));
  if (record.exit_code) {
    return absl::FailedPreconditionError(
        absl::StrCat("Error: Exec command ", record.id, " has already run"));
  }
  if (record.running) {
    return absl::FailedPreconditionError(
        absl::StrCat("Error: Exec command ", record.id, " is already running"));
  }
  GANTRY_ASSIGN_OR_RETURN(FoundContainer found, FindContainer(context_, record.container));
  GANTRY_RETURN_IF_ERROR(CheckRunning(found));
  AttachStreams streams{record.in && !detach, record.out || detach, record.err || detach};
  if (detach || record.attach_path.empty()) {
    GANTRY_RETURN_IF_ERROR(StartProcess(record));
    // Output that is kept for a client who will not come goes nowhere once one has left.
    if (!record.attach_path.empty())
      client::Attach(record.attach_path, streams).status().IgnoreError();
    exchange->ReplyEmpty(200);
    return absl::OkStatus();
  }
  auto client = exchange->Hijack(StreamType(exchange->request(), record.terminal));
  if (client == nullptr) return absl::OkStatus();
  absl::Status started = StartProcess(record);
  absl::StatusOr<base::UniqueFd> fd;
  if (started.ok()) {
    if (record.terminal && size.size() == 2 && size[0] > 0) {
      tasks::ResizePtyRequest resize;
      resize.set_container_id(record.container);
      resize.set_exec_id(record.id);
      resize.set_height(size[0]);
      resize.set_width(size[1]);
      Empty nothing;
      context_.gantryd.Call(tasks::TasksMethods::kResizePty, resize, &nothing).IgnoreError();
    }
    fd = client::Attach(record.attach_path, streams);
    started = fd.status();
  }
  if (!started.ok()) {
    std::string text = absl::StrCat(started.message(), "\r\n");
    client->Write(record.terminal ? text : Frame(1, text));
    return absl::OkStatus();
  }
  client->Splice(*std::move(fd), [this, id = record.id] { execs_.SetStreamEnded(id); });
  return absl::OkStatus();
}

absl::Status ContainerService::ExecInspect(const ExchangePtr& exchange) {
  const std::string& id = exchange->Var("id");
  // A client that has seen the end of the output wants the exit code, which comes right after.
  if (auto known = execs_.Find(id); known && known->running && known->stream_ended) {
    execs_.AwaitExit(id, kExitPatience);
  }
  GANTRY_ASSIGN_OR_RETURN(ExecRecord record, FindExec(id));
  OrderedJson process = {
      {"tty", record.terminal}, {"entrypoint", record.program}, {"arguments", record.args}};
  if (record.privileged) process["privileged"] = *record.privileged;
  if (!record.user.empty()) process["user"] = record.user;
  OrderedJson code;
  if (record.exit_code) code = *record.exit_code;
  exchange->ReplyJson(200, OrderedJson{{"ID", record.id},
                                       {"Running", record.running},
                                       {"ExitCode", code},
                                       {"ProcessConfig", process},
                                       {"OpenStdin", record.in},
                                       {"OpenStderr", record.err},
                                       {"OpenStdout", record.out},
                                       {"CanRemove", false},
                                       {"ContainerID", record.container},
                                       {"DetachKeys", record.detach_keys},
                                       {"Pid", record.pid}});
  return absl::OkStatus();
}

absl::Status ContainerService::ExecResize(const ExchangePtr& exchange) {
  GANTRY_ASSIGN_OR_RETURN(TerminalSize size, ReadTerminalSize(exchange->query()));
  GANTRY_ASSIGN_OR_RETURN(ExecRecord record, FindExec(exchange->Var("id")));
  tasks::ResizePtyRequest request;
  request.set_container_id(record.container);
  request.set_exec_id(record.id);
  request.set_height(size.height);
  request.set_width(size.width);
  Empty nothing;
  GANTRY_RETURN_IF_ERROR(context_.gantryd.Call(tasks::TasksMethods::kResizePty, request, &nothing));
  exchange->ReplyEmpty(200);
  return absl::OkStatus();
}

}  // namespace gantry::docker
