// The engine's interface over plain child processes: no namespaces, no cgroups. For tests of the
// shim's state machine, stdio and events, which need neither root nor a kernel of a certain kind.
// The "specification" is {"process": {"args": […]}, "pid": "shared"}.

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/json.h"
#include "base/status.h"
#include "shim/oci/container.h"
#include "shim/oci/network_pool.h"

namespace gantry::oci {
namespace {

std::vector<std::string> Args(const base::Json& process) {
  std::vector<std::string> args;
  for (const auto& arg : base::JsonAt(process, "args")) args.push_back(arg.get<std::string>());
  return args;
}

pid_t Launch(const std::vector<std::string>& args, const ProcessIo& io, int gate) {
  std::vector<char*> argv;
  for (const std::string& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));
  argv.push_back(nullptr);
  pid_t pid = fork();
  if (pid != 0) return pid;
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  int null = open("/dev/null", O_RDWR);
  dup2(io.stdin_fd >= 0 ? io.stdin_fd : null, 0);
  dup2(io.stdout_fd >= 0 ? io.stdout_fd : null, 1);
  dup2(io.stderr_fd >= 0 ? io.stderr_fd : null, 2);
  char byte;
  if (gate >= 0 && read(gate, &byte, 1) != 1) _exit(125);
  execvp(argv[0], argv.data());
  _exit(127);
}

absl::Status CheckProgram(const std::vector<std::string>& args) {
  if (args.empty() || access(args[0].c_str(), X_OK) != 0)
    return absl::NotFoundError(absl::StrCat("exec: \"", args.empty() ? "" : args[0],
                                            "\": executable file not found in $PATH"));
  return absl::OkStatus();
}

}  // namespace

void Container::Prepare() {}
void Container::LendNetwork(base::UniqueFd) {}
absl::StatusOr<NetworkPool> NetworkPool::Start() {
  return absl::UnimplementedError("this engine has no network namespaces");
}
base::UniqueFd NetworkPool::Take() { return {}; }

struct Container::Impl {
  pid_t pid = 0;
  base::UniqueFd gate;
  std::set<pid_t> members;
  bool paused = false;
};

Container::Container(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Container::~Container() = default;

const Namespace* Spec::FindNamespace(int flag) const {
  for (const Namespace& ns : linux_.namespaces) {
    if (ns.flag == flag) return &ns;
  }
  return nullptr;
}

absl::StatusOr<Spec> LoadSpec(const std::string& bundle) {
  GANTRY_ASSIGN_OR_RETURN(std::string text, base::ReadFile(bundle + "/config.json"));
  GANTRY_ASSIGN_OR_RETURN(base::Json json, base::ParseJson(text));
  Spec spec;
  spec.process.emplace();
  spec.process->args = Args(base::JsonAt(json, "process"));
  if (base::JsonString(json, "pid") != "shared")
    spec.linux_.namespaces.push_back({CLONE_NEWPID, "pid", ""});
  return spec;
}

absl::StatusOr<ProcessSpec> ParseProcess(absl::string_view text) {
  GANTRY_ASSIGN_OR_RETURN(base::Json json, base::ParseJson(text));
  ProcessSpec spec;
  spec.args = Args(json);
  return spec;
}

absl::StatusOr<Resources> ParseResources(absl::string_view text) {
  GANTRY_RETURN_IF_ERROR(base::ParseJson(text).status());
  return Resources();
}

absl::StatusOr<std::unique_ptr<Container>> Container::Create(const CreateOptions& options,
                                                             const Spec& spec,
                                                             CreatedProcess* init) {
  GANTRY_RETURN_IF_ERROR(CheckProgram(spec.process->args));
  GANTRY_ASSIGN_OR_RETURN(base::Pipe gate, base::MakePipe());
  auto impl = std::make_unique<Impl>();
  impl->pid = Launch(spec.process->args, options.io, gate.read.get());
  impl->gate = std::move(gate.write);
  impl->members.insert(impl->pid);
  init->pid = impl->pid;
  if (!options.pid_file.empty())
    GANTRY_RETURN_IF_ERROR(base::ReplaceFile(options.pid_file, absl::StrCat(impl->pid)));
  return std::unique_ptr<Container>(new Container(std::move(impl)));
}

absl::Status Container::Start() {
  absl::Status opened = base::WriteAll(impl_->gate.get(), "x");
  impl_->gate.Reset();
  return opened;
}

absl::StatusOr<CreatedProcess> Container::Exec(const ProcessSpec& process,
                                               const ExecOptions& options) {
  GANTRY_RETURN_IF_ERROR(CheckProgram(process.args));
  CreatedProcess created;
  created.pid = Launch(process.args, options.io, -1);
  impl_->members.insert(created.pid);
  return created;
}

absl::Status Container::Kill(int signal, bool all) {
  if (!all) {
    if (kill(impl_->pid, signal) == 0) return absl::OkStatus();
    return absl::NotFoundError("process already finished");
  }
  bool any = false;
  for (pid_t pid : impl_->members) any = kill(pid, signal) == 0 || any;
  if (any) return absl::OkStatus();
  return absl::NotFoundError("process already finished");
}

absl::StatusOr<std::vector<pid_t>> Container::Pids() const {
  std::vector<pid_t> alive;
  for (pid_t pid : impl_->members) {
    if (kill(pid, 0) == 0) alive.push_back(pid);
  }
  return alive;
}

absl::Status Container::Pause() {
  impl_->paused = true;
  return absl::OkStatus();
}
absl::Status Container::Resume() {
  impl_->paused = false;
  return absl::OkStatus();
}
absl::StatusOr<bool> Container::Paused() const { return impl_->paused; }
absl::Status Container::Update(const Resources&) { return absl::OkStatus(); }
absl::StatusOr<Metrics> Container::Stats() const {
  Metrics metrics;
  metrics.v1.has_pids = true;
  metrics.v1.pids_current = impl_->members.size();
  metrics.v1.has_memory = true;
  metrics.v1.memory_stat = {{"pgpgin", 7}, {"total_rss", 8}, {"something_new", 9}};
  return metrics;
}
absl::StatusOr<std::unique_ptr<OomWatch>> Container::WatchOom() {
  return absl::UnimplementedError("no cgroups");
}
absl::Status Container::Delete() {
  for (pid_t pid : impl_->members) kill(pid, SIGKILL);
  return absl::OkStatus();
}
absl::Status Container::DeleteLeftovers(const CreateOptions&) { return absl::OkStatus(); }
struct Remains Container::Remains() const {
  return {"/ns/id", 20u << 20, 10u << 20, impl_->members.size() > 7 ? 1u : 0u, ""};
}
std::string AuditedSyscallName(uint32_t, int number) { return absl::StrCat("syscall ", number); }
std::string FeaturesJson() { return "{}"; }

}  // namespace gantry::oci
