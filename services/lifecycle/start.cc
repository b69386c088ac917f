// Start: networks, volumes, task; all or nothing.

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <deque>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/crash_point.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "services/lifecycle/health.h"
#include "services/lifecycle/manager.h"
#include "services/lifecycle/spec_edit.h"
#include "services/lifecycle/task_calls.h"
#include "services/metadata/container_store.h"
#include "services/networks/network_manager.h"
#include "services/snapshots/snapshots.h"
#include "services/volumes/volume_manager.h"

namespace gantry::services::lifecycle {
namespace {

namespace tasks_api = containerd::services::tasks::v1;

constexpr absl::Duration kCreateTimeout = absl::Minutes(2);
constexpr absl::Duration kCallTimeout = absl::Seconds(10);

// What Docker's clients expect as the exit code of a container that could not be started.
uint32_t ExitCodeOf(const absl::Status& why) {
  const std::string text = absl::AsciiStrToLower(why.message());
  for (absl::string_view sign :
       {"permission denied", "is a directory", "not a directory", "exec format error"}) {
    if (absl::StrContains(text, sign)) return 126;
  }
  for (absl::string_view sign : {"executable file not found", "no such file or directory"}) {
    if (absl::StrContains(text, sign)) return 127;
  }
  return 128;
}

// The file in /proc/PID/ns of a namespace's type.
std::string NamespaceFile(const std::string& type) { return type == "network" ? "net" : type; }

}  // namespace

// Namespaces of other containers, held open while a task is made that enters them.
struct Manager::Joined {
  std::map<std::string, std::string> paths;  // type → path
  std::deque<base::UniqueFd> fds;
};

void Manager::Start(const std::string& ns, v1::StartRequest request, Done<v1::StartResponse> done) {
  std::string id = request.id();
  OnStrand<v1::StartResponse>(
      ns, id, std::move(done),
      [this, request = std::move(request)](const EntryPtr& entry, Done<v1::StartResponse> done) {
        StartByUser(entry, request, std::move(done));
      });
}

void Manager::StartByUser(const EntryPtr& entry, const v1::StartRequest& request,
                          Done<v1::StartResponse> done) {
  const std::string& status = entry->container.state().status();
  v1::StartResponse response;
  if (status == "paused") {
    return done(
        absl::FailedPreconditionError("cannot start a paused container, try unpause instead"));
  }
  if (status == "removing" || status == "dead") {
    return done(
        absl::FailedPreconditionError("container is marked for removal and cannot be started"));
  }
  if (status == "running" || status == "restarting") {
    response.set_already(true);
  } else {
    {
      std::lock_guard<std::mutex> lock(entry->mutex);
      entry->container.mutable_state()->set_stopped_by_user(false);
      entry->container.mutable_state()->set_restart_count(0);
    }
    entry->backoff.Reset();
    absl::Status started = StartNow(entry, request);
    if (!started.ok()) {
      FailStart(entry, started);
      return done(started);
    }
  }
  *response.mutable_container() = entry->container;
  done(std::move(response));
}

absl::Status Manager::StartNow(const EntryPtr& entry, const v1::StartRequest& request) {
  v1::State state = entry->container.state();
  absl::Status started = StartTask(*entry, request, &state);
  if (!started.ok()) {
    CleanUpRun(*entry);
    const uint32_t code = ExitCodeOf(started);
    absl::Status told = base::Annotate(started, "failed to create task for container");
    return code == 128 ? told : base::WithCode(told, absl::StatusCode::kInvalidArgument);
  }
  ++entry->run;
  entry->boot_id = boot_id_;
  state.set_status("running");
  state.set_exit_code(0);
  state.clear_error();
  state.set_oom_killed(false);
  base::SetTimestamp(state.mutable_started_at(), absl::Now());
  ResetHealth(entry->container.policy().has_health(), &state);
  base::CrashPoint("lifecycle.start.started");
  // The task itself says after a crash that it runs; a power loss ends it.
  Commit(*entry, state, Durability::kNone, {ContainerEvent(entry->container, "start")});
  BeginHealthChecks(entry);
  return absl::OkStatus();
}

absl::Status Manager::StartTask(Entry& entry, const v1::StartRequest& request, v1::State* state) {
  Joined joined;
  GANTRY_RETURN_IF_ERROR(PrepareRun(entry, state, &joined));
  base::CrashPoint("lifecycle.start.prepared");
  const std::pair<std::string, std::string> key(entry.ns, entry.id);
  if (!joined.paths.empty()) {
    GANTRY_ASSIGN_OR_RETURN(ContainerRecord record,
                            deps_.containers->Get(Context{.ns = entry.ns}, entry.id));
    GANTRY_ASSIGN_OR_RETURN(std::string spec, WithNamespaces(record.spec().value(), joined.paths));
    record.mutable_spec()->set_value(std::move(spec));
    std::lock_guard<std::mutex> lock(mutex_);
    specs_[key] = std::move(*record.mutable_spec());
    overrides_.store(static_cast<int>(specs_.size()), std::memory_order_release);
  }
  absl::StatusOr<uint32_t> pid = CreateTask(entry, request);
  if (!joined.paths.empty()) {
    std::lock_guard<std::mutex> lock(mutex_);
    specs_.erase(key);
    overrides_.store(static_cast<int>(specs_.size()), std::memory_order_release);
  }
  GANTRY_RETURN_IF_ERROR(pid.status());
  base::CrashPoint("lifecycle.start.created");
  state->set_pid(*pid);
  state->set_attach_path(AttachPath(entry));
  tasks_api::StartRequest start;
  start.set_container_id(entry.id);
  absl::Status started =
      CallTask(deps_.tasks, entry.ns, &TaskManager::Start, start, kCreateTimeout).status();
  if (!started.ok()) DeleteTask(entry);
  return started;
}

absl::Status Manager::PrepareRun(Entry& entry, v1::State* state, Joined* joined) {
  const v1::Policy& policy = entry.container.policy();
  GANTRY_RETURN_IF_ERROR(Join(entry, joined));
  std::string other;
  if (policy.network_mode() == "container") {
    GANTRY_ASSIGN_OR_RETURN(EntryPtr found, registry_.Find(entry.ns, policy.network_container()));
    other = files_.Directory(found->ns, found->id);
  }
  GANTRY_RETURN_IF_ERROR(files_.Refresh(entry.ns, entry.id, policy, other));
  if (!policy.volumes().empty()) {
    if (deps_.volumes == nullptr)
      return absl::FailedPreconditionError("this gantryd has no volumes");
    GANTRY_RETURN_IF_ERROR(deps_.volumes->Mount(entry.ns, entry.id));
  }
  if (policy.network_mode() != "networks") return absl::OkStatus();
  if (deps_.networks == nullptr)
    return absl::FailedPreconditionError("this gantryd has no networks");
  networks::SetUpRequest request;
  request.set_container_id(entry.id);
  request.set_container_name(policy.name());
  request.set_hostname(policy.hostname());
  request.set_domainname(policy.domainname());
  *request.mutable_endpoints() = policy.endpoints();
  *request.mutable_ports() = policy.ports();
  *request.mutable_dns() = policy.dns();
  *request.mutable_extra_hosts() = policy.extra_hosts();
  *request.mutable_sysctls() = policy.sysctls();
  const std::string directory = files_.Directory(entry.ns, entry.id);
  if (policy.manage_hosts()) request.set_hosts_path(directory + "/hosts");
  if (policy.manage_resolv_conf()) request.set_resolv_conf_path(directory + "/resolv.conf");
  GANTRY_ASSIGN_OR_RETURN(*state->mutable_sandbox(), deps_.networks->SetUp(entry.ns, request));
  return absl::OkStatus();
}

absl::Status Manager::Join(const Entry& entry, Joined* joined) const {
  const v1::Policy& policy = entry.container.policy();
  std::map<std::string, std::string> wanted(policy.join_namespaces().begin(),
                                            policy.join_namespaces().end());
  if (policy.network_mode() == "container") wanted["network"] = policy.network_container();
  for (const auto& [type, container] : wanted) {
    GANTRY_ASSIGN_OR_RETURN(EntryPtr other, registry_.Find(entry.ns, container));
    GANTRY_ASSIGN_OR_RETURN(base::UniqueFd fd, OpenNamespaceOf(*other, type));
    joined->paths[type] = absl::StrCat("/proc/", getpid(), "/fd/", fd.get());
    joined->fds.push_back(std::move(fd));
  }
  return absl::OkStatus();
}

absl::StatusOr<base::UniqueFd> Manager::OpenNamespaceOf(const Entry& entry,
                                                        const std::string& type) const {
  v1::State state;
  {
    std::lock_guard<std::mutex> lock(entry.mutex);
    state = entry.container.state();
  }
  const absl::Status not_running = absl::FailedPreconditionError(absl::StrCat(
      "cannot join ", type == "network" ? type : absl::AsciiStrToUpper(type),
      type == "network" ? " namespace" : "", " of a non running container: ", entry.id));
  if (!HasProcess(state)) return not_running;
  absl::StatusOr<base::UniqueFd> fd =
      base::Open(absl::StrCat("/proc/", state.pid(), "/ns/", NamespaceFile(type)), O_RDONLY);
  if (!fd.ok()) return absl::IsNotFound(fd.status()) ? not_running : fd.status();
  // Its shim has not reaped it yet, so the number was still its own when we opened.
  tasks_api::GetRequest request;
  request.set_container_id(entry.id);
  auto task = CallTask(deps_.tasks, entry.ns, &TaskManager::Get, request, kCallTimeout);
  const bool runs = task.ok() && task->process().pid() == state.pid() &&
                    (task->process().status() == containerd::v1::types::RUNNING ||
                     task->process().status() == containerd::v1::types::PAUSED);
  if (!runs) return not_running;
  return fd;
}

std::string Manager::AttachPath(const Entry& entry) const {
  if (options_.attach_dir.empty()) return "";
  return absl::StrCat(options_.attach_dir, "/",
                      base::DigestOf(absl::StrCat(entry.ns, "/", entry.id)).hex().substr(0, 20));
}

absl::StatusOr<uint32_t> Manager::CreateTask(Entry& entry, const v1::StartRequest& request) {
  const v1::Policy& policy = entry.container.policy();
  tasks_api::CreateTaskRequest create;
  create.set_container_id(entry.id);
  GANTRY_ASSIGN_OR_RETURN(
      std::vector<base::Mount> mounts,
      deps_.snapshots->Mounts(Context{.ns = entry.ns}, entry.container.snapshotter(),
                              entry.container.snapshot_key()));
  for (const base::Mount& mount : mounts) {
    auto* to = create.add_rootfs();
    to->set_type(mount.type);
    to->set_source(mount.source);
    to->set_target(mount.target);
    for (const std::string& option : mount.options) to->add_options(option);
  }
  std::string out = policy.log_uri();
  if (const std::string path = AttachPath(entry); !path.empty()) {
    out = out.empty() ? absl::StrCat("attach://", path) : WithQuery(out, "attach", path);
    if (request.expect_attach()) out = WithQuery(out, "attach-wait", "1");
    if (policy.open_stdin()) {
      std::string in = absl::StrCat("attach://", path);
      create.set_stdin(policy.stdin_once() ? WithQuery(in, "stdin-once", "1") : in);
    }
  }
  create.set_stdout(out);
  if (!policy.terminal()) create.set_stderr(out);
  create.set_terminal(policy.terminal());
  auto created = CallTask(deps_.tasks, entry.ns, &TaskManager::Create, create, kCreateTimeout);
  if (absl::IsAlreadyExists(created.status())) {
    // A task that has ended and could not be deleted then.
    DeleteTask(entry);
    created = CallTask(deps_.tasks, entry.ns, &TaskManager::Create, create, kCreateTimeout);
  }
  GANTRY_RETURN_IF_ERROR(created.status());
  return created->pid();
}

void Manager::FailStart(const EntryPtr& entry, const absl::Status& why) {
  v1::State state = entry->container.state();
  ++entry->run;
  const uint32_t code = ExitCodeOf(why);
  // One that never ran stays "created", as Docker has it.
  state.set_status(state.has_started_at() ? "exited" : "created");
  state.set_pid(0);
  state.set_exit_code(code);
  state.set_error(std::string(why.message()));
  state.clear_sandbox();
  state.clear_attach_path();
  BecomeStopped(entry, std::move(state), Durability::kNone,
                {ContainerEvent(entry->container, "die", {{"exitCode", absl::StrCat(code)}})});
}

}  // namespace gantry::services::lifecycle
