#include "shim/sandbox_service.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/status.h"

namespace gantry::shim {
namespace {

// A pause process ends at once; this is for a kernel that does not let it.
constexpr absl::Duration kLongestStop = absl::Seconds(10);

struct Kind {
  const char* name;
  int flag;
};
constexpr Kind kKinds[] = {
    {"ipc", CLONE_NEWIPC}, {"uts", CLONE_NEWUTS}, {"network", CLONE_NEWNET}, {"pid", CLONE_NEWPID}};

// A sysctl must belong to a namespace that is the sandbox's own.
absl::StatusOr<std::string> SysctlPath(const std::string& name, bool network, bool ipc) {
  bool of_network = absl::StartsWith(name, "net.");
  bool of_ipc = absl::StartsWith(name, "kernel.shm") || absl::StartsWith(name, "kernel.msg") ||
                name == "kernel.sem" || absl::StartsWith(name, "fs.mqueue.");
  bool plain = !name.empty() && !absl::StrContains(name, "..") &&
               std::all_of(name.begin(), name.end(), [](unsigned char c) {
                 return isalnum(c) || c == '.' || c == '_' || c == '-';
               });
  if (!plain || !((of_network && network) || (of_ipc && ipc)))
    return absl::InvalidArgumentError(
        absl::StrCat("sysctl \"", name, "\" is not one of the sandbox's own namespaces"));
  return absl::StrCat("/proc/sys/", absl::StrReplaceAll(name, {{".", "/"}}));
}

absl::Status AddNamespace(const std::string& type, const std::string& path, PausePlan* plan) {
  if (type == "mount" || type == "cgroup") return absl::OkStatus();  // each container's own
  for (const Kind& kind : kKinds) {
    if (type != kind.name) continue;
    if (path.empty()) {
      plan->new_namespaces |= kind.flag;
      return absl::OkStatus();
    }
    if (kind.flag == CLONE_NEWPID)
      return absl::UnimplementedError("a sandbox cannot join a pid namespace");
    GANTRY_ASSIGN_OR_RETURN(base::UniqueFd fd, base::Open(path, O_RDONLY));
    plan->joins.push_back(std::move(fd));
    return absl::OkStatus();
  }
  return absl::UnimplementedError(absl::StrCat("a sandbox with a ", type, " namespace"));
}

}  // namespace

absl::StatusOr<PausePlan> PlanSandbox(const std::string& bundle, const std::string& netns_path) {
  base::Json spec = base::Json::object();
  absl::StatusOr<std::string> text = base::ReadFile(bundle + "/config.json");
  if (!text.ok() && !absl::IsNotFound(text.status())) return text.status();
  if (text.ok()) {
    GANTRY_ASSIGN_OR_RETURN(spec, base::ParseJson(*text));
  }
  const base::Json& linux_part = base::JsonAt(spec, "linux");
  std::map<std::string, std::string> wanted;  // type → path
  for (const base::Json& entry : base::JsonAt(linux_part, "namespaces"))
    wanted[base::JsonString(entry, "type")] = base::JsonString(entry, "path");
  if (wanted.empty()) {
    for (const Kind& kind : kKinds) wanted[kind.name] = "";
  }
  if (!netns_path.empty()) wanted["network"] = netns_path;
  PausePlan plan;
  for (const auto& [type, path] : wanted) GANTRY_RETURN_IF_ERROR(AddNamespace(type, path, &plan));
  if (plan.new_namespaces & CLONE_NEWUTS) plan.hostname = base::JsonString(spec, "hostname");
  const base::Json& sysctls = base::JsonAt(linux_part, "sysctl");
  for (auto it = sysctls.begin(); it != sysctls.end(); ++it) {
    GANTRY_ASSIGN_OR_RETURN(
        std::string path, SysctlPath(it.key(), wanted.contains("network"), wanted.contains("ipc")));
    if (!it->is_string()) return absl::InvalidArgumentError("a sysctl's value is not a string");
    plan.sysctls.emplace_back(std::move(path), it->get<std::string>());
  }
  return plan;
}

SandboxService::SandboxService(base::EventLoop* loop, std::function<size_t()> containers,
                               std::function<void()> on_shutdown)
    : loop_(loop), containers_(std::move(containers)), on_shutdown_(std::move(on_shutdown)) {
  auto unary = [this](auto method) {
    return [this, method](const CallPtr& call) { Unary(call, method); };
  };
  methods_ = {
      {"CreateSandbox", unary(&SandboxService::Create)},
      {"StartSandbox", unary(&SandboxService::Start)},
      {"Platform", unary(&SandboxService::Platform)},
      {"SandboxStatus", unary(&SandboxService::Status)},
      {"PingSandbox", unary(&SandboxService::Ping)},
      {"SandboxMetrics", unary(&SandboxService::Metrics)},
      {"StopSandbox", [this](const CallPtr& call) { Stop(call); }},
      {"WaitSandbox", [this](const CallPtr& call) { Wait(call); }},
      {"ShutdownSandbox", [this](const CallPtr& call) { Shutdown(call); }},
  };
}

void SandboxService::Handle(const CallPtr& call) {
  auto found = methods_.find(call->method());
  if (found == methods_.end())
    return call->Fail(absl::UnimplementedError(absl::StrCat("method ", call->method())));
  found->second(call);
}

// With the sandbox that it names, or answered.
template <typename Request>
bool SandboxService::Parse(const CallPtr& call, Request* request) const {
  if (!request->ParseFromArray(call->payload().data(), static_cast<int>(call->payload().size()))) {
    call->Fail(absl::InvalidArgumentError(absl::StrCat(call->method(), ": malformed request")));
    return false;
  }
  absl::Status known = Check(request->sandbox_id());
  if (known.ok() || call->method() == "CreateSandbox") return true;
  call->Fail(known);
  return false;
}

template <typename Request, typename Response>
void SandboxService::Unary(const CallPtr& call,
                           absl::Status (SandboxService::*method)(const Request&, Response*)) {
  Request request;
  if (!Parse(call, &request)) return;
  Response response;
  absl::Status status = (this->*method)(request, &response);
  if (!status.ok()) return call->Fail(status);
  call->Reply(response.SerializeAsString());
}

absl::Status SandboxService::Check(const std::string& id) const {
  if (present() && id == id_) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat("sandbox ", id, ": not found"));
}

absl::Status SandboxService::Create(const sandbox_api::CreateSandboxRequest& request,
                                    sandbox_api::CreateSandboxResponse*) {
  if (request.sandbox_id().empty()) return absl::InvalidArgumentError("sandbox id is empty");
  if (present())
    return absl::AlreadyExistsError(absl::StrCat("sandbox ", id_, " lives in this shim"));
  if (!absl::StartsWith(request.bundle_path(), "/"))
    return absl::InvalidArgumentError(
        absl::StrCat("bundle \"", request.bundle_path(), "\" is not an absolute path"));
  GANTRY_ASSIGN_OR_RETURN(plan_, PlanSandbox(request.bundle_path(), request.netns_path()));
  id_ = request.sandbox_id();
  state_ = State::kCreated;
  return absl::OkStatus();
}

absl::Status SandboxService::Start(const sandbox_api::StartSandboxRequest&,
                                   sandbox_api::StartSandboxResponse* response) {
  if (state_ != State::kCreated)
    return absl::FailedPreconditionError(absl::StrCat("sandbox ", id_, " was started before"));
  GANTRY_ASSIGN_OR_RETURN(pause_, StartPause(plan_));
  plan_ = {};
  state_ = State::kReady;
  created_at_ = absl::Now();
  response->set_pid(static_cast<uint32_t>(pause_.pid));
  base::SetTimestamp(response->mutable_created_at(), created_at_);
  return absl::OkStatus();
}

absl::Status SandboxService::Platform(const sandbox_api::PlatformRequest&,
                                      sandbox_api::PlatformResponse* response) {
  utsname name{};
  uname(&name);
  absl::string_view machine = name.machine;
  response->mutable_platform()->set_os("linux");
  response->mutable_platform()->set_architecture(machine == "x86_64"    ? "amd64"
                                                 : machine == "aarch64" ? "arm64"
                                                                        : std::string(machine));
  return absl::OkStatus();
}

absl::Status SandboxService::Status(const sandbox_api::SandboxStatusRequest& request,
                                    sandbox_api::SandboxStatusResponse* response) {
  response->set_sandbox_id(id_);
  response->set_state(state_ == State::kReady ? "SANDBOX_READY" : "SANDBOX_NOTREADY");
  if (state_ == State::kCreated) return absl::OkStatus();
  response->set_pid(static_cast<uint32_t>(pause_.pid));
  base::SetTimestamp(response->mutable_created_at(), created_at_);
  if (state_ == State::kExited) base::SetTimestamp(response->mutable_exited_at(), exited_at_);
  if (request.verbose()) {
    (*response->mutable_info())["shim_pid"] = absl::StrCat(getpid());
    (*response->mutable_info())["containers"] = absl::StrCat(containers_());
  }
  return absl::OkStatus();
}

absl::Status SandboxService::Ping(const sandbox_api::PingRequest&, sandbox_api::PingResponse*) {
  return absl::OkStatus();
}

// What the pod's containers use is their metrics; the sandbox itself uses nothing worth a figure.
absl::Status SandboxService::Metrics(const sandbox_api::SandboxMetricsRequest&,
                                     sandbox_api::SandboxMetricsResponse* response) {
  response->mutable_metrics()->set_id(id_);
  base::SetTimestamp(response->mutable_metrics()->mutable_timestamp(), absl::Now());
  return absl::OkStatus();
}

void SandboxService::WhenEnded(std::function<void()> function) {
  if (state_ != State::kReady) return function();
  ended_.push_back(std::move(function));
}

void SandboxService::End() {
  if (state_ == State::kCreated) {
    state_ = State::kExited;
    exited_at_ = absl::Now();
  }
  if (state_ != State::kReady) return;
  syscall(SYS_pidfd_send_signal, pause_.pidfd.get(), SIGTERM, nullptr, 0);
  int fd = fcntl(pause_.pidfd.get(), F_DUPFD_CLOEXEC, 0);
  loop_->After(kLongestStop, [kept = std::make_shared<base::UniqueFd>(fd)] {
    syscall(SYS_pidfd_send_signal, kept->get(), SIGKILL, nullptr, 0);
  });
}

void SandboxService::Stop(const CallPtr& call) {
  sandbox_api::StopSandboxRequest request;
  if (!Parse(call, &request)) return;
  End();
  WhenEnded([call] { call->Reply(sandbox_api::StopSandboxResponse().SerializeAsString()); });
}

void SandboxService::Wait(const CallPtr& call) {
  sandbox_api::WaitSandboxRequest request;
  if (!Parse(call, &request)) return;
  auto answer = [this, call] {
    sandbox_api::WaitSandboxResponse response;
    response.set_exit_status(exit_status_);
    base::SetTimestamp(response.mutable_exited_at(), exited_at_);
    call->Reply(response.SerializeAsString());
  };
  if (state_ == State::kExited) return answer();
  ended_.push_back(answer);  // also before the start
}

void SandboxService::Shutdown(const CallPtr& call) {
  sandbox_api::ShutdownSandboxRequest request;
  if (!Parse(call, &request)) return;
  if (size_t count = containers_(); count > 0)
    return call->Fail(absl::FailedPreconditionError(
        absl::StrCat("sandbox ", id_, " still has ", count, " containers; delete them first")));
  End();
  WhenEnded([this, call] {
    for (auto& waiter : std::exchange(ended_, {})) waiter();
    state_ = State::kNone;
    call->Reply(sandbox_api::ShutdownSandboxResponse().SerializeAsString());
    loop_->Post(on_shutdown_);
  });
}

bool SandboxService::OnChildExit(pid_t pid, int wait_status, absl::Time at) {
  if (state_ != State::kReady || pid != pause_.pid) return false;
  state_ = State::kExited;
  exit_status_ = static_cast<uint32_t>(WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status)
                                                                : WEXITSTATUS(wait_status));
  exited_at_ = at;
  for (auto& waiter : std::exchange(ended_, {})) waiter();
  return true;
}

}  // namespace gantry::shim
