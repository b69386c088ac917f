// A shim for tests: speaks the binary protocol and ttrpc, runs nothing. What it does wrong is
// chosen by "mode" in the bundle's config.json:
//
//   fail          start prints "boom" and exits 1
//   garbage       start prints something that is no address
//   version9      start claims version 9
//   only-v2       claims version 3 but serves containerd.task.v2.Task only
//   create-fails  Create answers an error
//   create-dies   exits during Create
//   hang          answers neither State nor Stats
//   sandbox       serves the sandbox API as well
//   empty         Create is never remembered: Pids says NotFound
//
// FAKE_SHIM_DIR holds its sockets and the file `deleted`, one line per `delete` action.
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/event_loop.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/json.h"
#include "base/ttrpc/client.h"
#include "base/ttrpc/server.h"
#include "containerd/events/task.pb.h"
#include "containerd/runtime/sandbox/v1/sandbox.pb.h"
#include "containerd/runtime/task/v2/shim.pb.h"
#include "containerd/services/ttrpc/events/v1/events.pb.h"
#include "containerd/types/introspection.pb.h"
#include "google/protobuf/empty.pb.h"

namespace {

using gantry::base::UniqueFd;
using gantry::base::ttrpc::Call;
namespace task = containerd::task::v2;
namespace sandbox = containerd::runtime::sandbox::v1;
namespace types = containerd::v1::types;

struct Process {
  types::Status status = types::CREATED;
  uint32_t exit_status = 0;
  absl::Time exited_at;
  std::vector<std::shared_ptr<Call>> waiting;
};

class FakeShim {
 public:
  FakeShim(std::string ns, std::string id, std::string mode)
      : ns_(std::move(ns)), id_(std::move(id)), mode_(std::move(mode)) {}

  int Serve(UniqueFd listener) {
    auto handler = [this](std::shared_ptr<Call> call) { Handle(std::move(call)); };
    server_.Register("containerd.task.v2.Task", handler);
    if (mode_ != "only-v2") server_.Register("containerd.task.v3.Task", handler);
    if (mode_ == "sandbox") {
      server_.Register("containerd.runtime.sandbox.v1.Sandbox",
                       [this](std::shared_ptr<Call> call) { OfSandbox(std::move(call)); });
    }
    if (!server_.Listen(std::move(listener)).ok()) return 1;
    return loop_.Run().ok() ? 0 : 1;
  }

 private:
  template <typename Message>
  static Message Read(const Call& call) {
    Message message;
    message.ParseFromArray(call.payload().data(), static_cast<int>(call.payload().size()));
    return message;
  }

  Process* Find(Call& call, const std::string& exec_id) {
    auto found = processes_.find(exec_id);
    if (found != processes_.end()) return &found->second;
    call.Fail(absl::NotFoundError("container not created"));
    return nullptr;
  }

  void Handle(std::shared_ptr<Call> call) {
    std::string method(call->method());
    if (method == "Create") return Create(*call);
    if (method == "Connect") {
      task::ConnectResponse response;
      response.set_shim_pid(static_cast<uint32_t>(getpid()));
      if (processes_.count("") > 0) response.set_task_pid(kPid);
      return call->Reply(response.SerializeAsString());
    }
    if (method == "Shutdown") {
      call->Reply("");
      loop_.After(absl::Milliseconds(5), [] { _exit(0); });
      return;
    }
    if (method == "Pids") {
      if (Find(*call, "") == nullptr) return;
      task::PidsResponse response;
      response.add_processes()->set_pid(kPid);
      return call->Reply(response.SerializeAsString());
    }
    if (method == "Pause" || method == "Resume" || method == "Update" || method == "CloseIO" ||
        method == "ResizePty") {
      if (Find(*call, "") != nullptr) call->Reply("");
      return;
    }
    OfProcess(std::move(call), method);
  }

  void OfProcess(std::shared_ptr<Call> call, const std::string& method) {
    if ((method == "State" || method == "Stats") && mode_ == "hang") {
      hung_.push_back(std::move(call));
      return;
    }
    if (method == "Start") return Start(*call);
    if (method == "State") return State(*call);
    if (method == "Stats") return Stats(*call);
    if (method == "Kill") return Kill(*call);
    if (method == "Wait") return Wait(std::move(call));
    if (method == "Delete") return Delete(*call);
    if (method == "Exec") {
      auto request = Read<task::ExecProcessRequest>(*call);
      if (!processes_.emplace(request.exec_id(), Process()).second) {
        return call->Fail(absl::AlreadyExistsError(absl::StrCat("id ", request.exec_id())));
      }
      return call->Reply("");
    }
    call->Fail(absl::UnimplementedError(method));
  }

  void OfSandbox(std::shared_ptr<Call> call) {
    if (call->method() == "WaitSandbox") {
      sandbox_waiters_.push_back(std::move(call));
      return;
    }
    if (call->method() == "StopSandbox") {
      sandbox::WaitSandboxResponse response;
      response.set_exit_status(137);
      for (auto& waiter : sandbox_waiters_) waiter->Reply(response.SerializeAsString());
      sandbox_waiters_.clear();
      return call->Reply("");
    }
    if (call->method() == "StartSandbox") {
      sandbox::StartSandboxResponse response;
      response.set_pid(kPid);
      return call->Reply(response.SerializeAsString());
    }
    if (call->method() == "SandboxStatus") {
      sandbox::SandboxStatusResponse response;
      response.set_sandbox_id(id_);
      response.set_state("SANDBOX_READY");
      return call->Reply(response.SerializeAsString());
    }
    call->Reply("");
  }

  void Create(Call& call) {
    if (mode_ == "create-dies") _exit(9);
    if (mode_ == "create-fails") return call.Fail(absl::UnknownError("OCI runtime create failed"));
    if (mode_ != "empty") processes_[""] = Process();
    containerd::events::TaskCreate event;
    event.set_container_id(id_);
    event.set_pid(kPid);
    Publish("/tasks/create", event);
    task::CreateTaskResponse response;
    response.set_pid(kPid);
    call.Reply(response.SerializeAsString());
  }

  void Start(Call& call) {
    auto request = Read<task::StartRequest>(call);
    Process* process = Find(call, request.exec_id());
    if (process == nullptr) return;
    process->status = types::RUNNING;
    task::StartResponse response;
    response.set_pid(kPid);
    call.Reply(response.SerializeAsString());
  }

  void State(Call& call) {
    auto request = Read<task::StateRequest>(call);
    Process* process = Find(call, request.exec_id());
    if (process == nullptr) return;
    task::StateResponse response;
    response.set_id(id_);
    response.set_pid(kPid);
    response.set_status(process->status);
    response.set_exit_status(process->exit_status);
    call.Reply(response.SerializeAsString());
  }

  void Stats(Call& call) {
    task::StatsResponse response;
    response.mutable_stats()->set_type_url("io.containerd.cgroups.v1.Metrics");
    call.Reply(response.SerializeAsString());
  }

  void Kill(Call& call) {
    auto request = Read<task::KillRequest>(call);
    Process* process = Find(call, request.exec_id());
    if (process == nullptr) return;
    if (process->status == types::STOPPED) {
      return call.Fail(absl::NotFoundError("process already finished"));
    }
    process->status = types::STOPPED;
    process->exit_status = 128 + request.signal();
    process->exited_at = absl::Now();
    for (auto& waiter : process->waiting) AnswerWait(*waiter, *process);
    process->waiting.clear();
    containerd::events::TaskExit event;
    event.set_container_id(id_);
    event.set_id(request.exec_id().empty() ? id_ : request.exec_id());
    event.set_exit_status(process->exit_status);
    Publish("/tasks/exit", event);
    call.Reply("");
  }

  void AnswerWait(Call& call, const Process& process) {
    task::WaitResponse response;
    response.set_exit_status(process.exit_status);
    gantry::base::SetTimestamp(response.mutable_exited_at(), process.exited_at);
    call.Reply(response.SerializeAsString());
  }

  void Wait(std::shared_ptr<Call> call) {
    Process* process = Find(*call, Read<task::WaitRequest>(*call).exec_id());
    if (process == nullptr) return;
    if (process->status == types::STOPPED) return AnswerWait(*call, *process);
    process->waiting.push_back(std::move(call));
  }

  void Delete(Call& call) {
    auto request = Read<task::DeleteRequest>(call);
    Process* process = Find(call, request.exec_id());
    if (process == nullptr) return;
    if (process->status == types::RUNNING) {
      return call.Fail(absl::FailedPreconditionError("cannot delete a running process"));
    }
    task::DeleteResponse response;
    response.set_pid(kPid);
    response.set_exit_status(process->exit_status);
    gantry::base::SetTimestamp(response.mutable_exited_at(), process->exited_at);
    processes_.erase(request.exec_id());
    call.Reply(response.SerializeAsString());
  }

  void Publish(const std::string& topic, const google::protobuf::Message& event) {
    const char* address = getenv("TTRPC_ADDRESS");
    if (address == nullptr) return;
    if (events_ == nullptr) {
      auto client = gantry::base::ttrpc::Client::Connect(address);
      if (!client.ok()) return;
      events_ = *client;
    }
    containerd::services::events::ttrpc::v1::ForwardRequest request;
    auto* envelope = request.mutable_envelope();
    gantry::base::SetTimestamp(envelope->mutable_timestamp(), absl::Now());
    envelope->set_namespace_(ns_);
    envelope->set_topic(topic);
    envelope->mutable_event()->set_type_url(event.GetDescriptor()->full_name());
    envelope->mutable_event()->set_value(event.SerializeAsString());
    google::protobuf::Empty empty;
    (void)events_->Call("containerd.services.events.ttrpc.v1.Events", "Forward", request, &empty,
                        {}, absl::Seconds(5));
  }

  static constexpr uint32_t kPid = 4242;

  const std::string ns_;
  const std::string id_;
  const std::string mode_;
  gantry::base::EventLoop loop_;
  gantry::base::ttrpc::Server server_{&loop_};
  std::map<std::string, Process> processes_;
  std::vector<std::shared_ptr<Call>> hung_;
  std::vector<std::shared_ptr<Call>> sandbox_waiters_;
  std::shared_ptr<gantry::base::ttrpc::Client> events_;
};

struct Arguments {
  std::string ns;
  std::string id;
  std::string action;
};

Arguments ParseArguments(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    std::string word = argv[i];
    if (word == "-info") {
      arguments.action = word;
    } else if (word == "-debug") {
      continue;
    } else if (word[0] == '-' && i + 1 < argc) {
      ++i;
      if (word == "-namespace") arguments.ns = argv[i];
      if (word == "-id") arguments.id = argv[i];
    } else {
      arguments.action = word;
    }
  }
  return arguments;
}

int RunStart(const Arguments& arguments) {
  auto config = gantry::base::ReadFile("config.json");
  auto json = config.ok() ? gantry::base::ParseJson(*config) : config.status();
  std::string mode = json.ok() ? gantry::base::JsonString(*json, "mode") : "";
  if (mode == "fail") {
    fprintf(stderr, "boom\n");
    return 1;
  }
  if (mode == "garbage") return printf("I am no address\n") < 0;
  if (mode == "version9") {
    return printf(R"({"version":9,"address":"unix:///x","protocol":"ttrpc"})") < 0;
  }
  std::string path =
      absl::StrCat(getenv("FAKE_SHIM_DIR"), "/", gantry::base::RandomHex(6), ".sock");
  UniqueFd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  snprintf(address.sun_path, sizeof address.sun_path, "%s", path.c_str());
  if (bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      listen(listener.get(), 16) != 0) {
    perror("listen");
    return 1;
  }
  pid_t pid = fork();
  if (pid < 0) return 1;
  if (pid > 0) {
    (void)gantry::base::WriteFile("shim.pid", absl::StrCat(pid));
    printf(R"({"version":3,"address":"unix://%s","protocol":"ttrpc"})", path.c_str());
    return 0;
  }
  setsid();
  int log = open("log", O_WRONLY | O_NONBLOCK);
  int null = open("/dev/null", O_RDWR);
  for (int fd = 0; fd < 3; ++fd) dup2(fd == 2 && log >= 0 ? log : null, fd);
  fprintf(stderr, "level=info msg=\"fake shim serves\"\n");
  // A test that dies must not leave this behind for ever.
  alarm(120);
  FakeShim shim(arguments.ns, arguments.id, mode);
  return shim.Serve(std::move(listener));
}

int RunDelete(const Arguments& arguments) {
  std::string list = absl::StrCat(getenv("FAKE_SHIM_DIR"), "/deleted");
  UniqueFd fd(open(list.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600));
  if (!gantry::base::WriteAll(fd.get(), arguments.id + "\n").ok()) return 1;
  task::DeleteResponse response;
  response.set_pid(4242);
  response.set_exit_status(137);
  gantry::base::SetTimestamp(response.mutable_exited_at(), absl::Now());
  return gantry::base::WriteAll(1, response.SerializeAsString()).ok() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments = ParseArguments(argc, argv);
  if (arguments.action == "start") return RunStart(arguments);
  if (arguments.action == "delete") return RunDelete(arguments);
  if (arguments.action == "-info") {
    containerd::types::RuntimeInfo info;
    info.set_name("fake");
    return gantry::base::WriteAll(1, info.SerializeAsString()).ok() ? 0 : 1;
  }
  fprintf(stderr, "unknown action %s\n", arguments.action.c_str());
  return 2;
}
