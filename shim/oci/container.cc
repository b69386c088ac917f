#include "shim/oci/container.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/status.h"
#include "shim/oci/cgroup.h"
#include "shim/oci/child.h"
#include "shim/oci/hooks.h"
#include "shim/oci/intel_rdt.h"
#include "shim/oci/mounts.h"
#include "shim/oci/namespaces.h"
#include "shim/oci/net_devices.h"
#include "shim/oci/process_plan.h"
#include "shim/oci/rootfs_plan.h"
#include "shim/oci/send_fd.h"
#include "shim/oci/spawn.h"

namespace gantry::oci {
namespace {

enum class Stand { kCreated, kRunning, kDeleted };

absl::Status SendSignal(int pidfd, int signal) {
  if (pidfd < 0) return absl::NotFoundError("process already finished");
  if (syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0) == 0) return absl::OkStatus();
  if (errno == ESRCH) return absl::NotFoundError("process already finished");
  return base::ErrnoStatus(errno, absl::StrCat("send signal ", signal));
}

absl::StatusOr<base::UniqueFd> OpenPidfd(pid_t pid) {
  base::UniqueFd fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!fd.valid()) return base::ErrnoStatus(errno, absl::StrCat("open process ", pid));
  return fd;
}

absl::Status CheckOptions(const CreateOptions& options, const Spec& spec) {
  if (options.id.empty() || options.id.size() > 1024 || absl::StrContains(options.id, '/') ||
      options.id == "." || options.id == "..") {
    return absl::InvalidArgumentError(absl::StrCat("invalid container id \"", options.id, "\""));
  }
  if (!spec.process) return absl::InvalidArgumentError("config.json: process is missing");
  if (spec.FindNamespace(CLONE_NEWNS) == nullptr) {
    return absl::InvalidArgumentError("linux.namespaces: one of type \"mount\" is needed");
  }
  return absl::OkStatus();
}

// setns(2) by pidfd takes all at once. The pid namespace is for children and joined by the parent;
// what the container shares with us must be left out (joining one's own user namespace fails).
int ExecNamespaces(const Spec& spec) {
  int flags = 0;
  for (const Namespace& ns : spec.linux_.namespaces) {
    if (ns.flag != CLONE_NEWPID && !ns.entered) flags |= ns.flag;
  }
  return flags;
}

absl::StatusOr<base::UniqueFd> ListenForStart(const std::string& path) {
  base::UniqueFd sock(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return absl::InvalidArgumentError(absl::StrCat("socket path too long: ", path));
  }
  memcpy(address.sun_path, path.c_str(), path.size() + 1);
  if (bind(sock.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      listen(sock.get(), 4) != 0) {
    return base::ErrnoStatus(errno, absl::StrCat("listen on ", path));
  }
  return sock;
}

// Mounts do not change under a running engine; reading them costs more than using them. A process
// that forks engines reads them once for all.
absl::StatusOr<CgroupSystem> KnownCgroups() {
  static auto* known = new absl::StatusOr<CgroupSystem>(DetectCgroups());
  if (!known->ok()) *known = DetectCgroups();
  return *known;
}

absl::StatusOr<std::unique_ptr<Cgroup>> FindCgroup(const CreateOptions& options, const Spec& spec) {
  auto system = KnownCgroups();
  if (!system.ok() && options.rootless) return MakeNoCgroup();
  GANTRY_RETURN_IF_ERROR(system.status());
  return Cgroup::Make(*system, spec.linux_.cgroups_path, options.ns, options.id,
                      options.systemd_cgroup);
}

// user_namespaces(7): the first one maps all ids to themselves.
bool InFirstUserNamespace() {
  std::string map = base::ReadFile("/proc/self/uid_map").value_or("");
  std::vector<std::string> words = absl::StrSplit(map, absl::ByAnyChar(" \n"), absl::SkipEmpty());
  return words == std::vector<std::string>{"0", "0", "4294967295"};
}

// The engine cannot give up groups where setgroups(2) is denied; nobody has more than the caller
// had then.
absl::Status CheckGroups(const CreateOptions& options, const Spec& spec, ProcessPlan* plan) {
  // podman's --group-add keep-groups, for users who keep what is theirs. The groups of the
  // machine's root stay outside whatever an annotation says (CVE-2024-3154 is of that kind).
  auto keep = spec.annotations.find("run.oci.keep_original_groups");
  if (keep != spec.annotations.end() && keep->second == "1" &&
      (options.rootless || !InFirstUserNamespace())) {
    plan->set_groups = false;
    return absl::OkStatus();
  }
  if (!options.rootless || base::ReadFile("/proc/self/setgroups").value_or("") != "deny\n") {
    return absl::OkStatus();
  }
  if (!plan->groups.empty()) {
    return absl::FailedPreconditionError(
        "process.user.additionalGids: this user namespace maps one group only and denies others");
  }
  plan->set_groups = false;
  return absl::OkStatus();
}

// Redirects joins of the container's cgroups to cgroups below them.
absl::Status EnterSubCgroups(const std::vector<std::string>& sub_cgroups,
                             std::vector<CgroupJoin>* joins) {
  for (const std::string& text : sub_cgroups) {
    std::vector<std::string> parts = absl::StrSplit(text, absl::MaxSplits(':', 1));
    std::vector<std::string> controllers;
    if (parts.size() == 2) controllers = absl::StrSplit(parts[0], ',');
    bool found = false;
    for (CgroupJoin& join : *joins) {
      size_t slash = join.path.rfind('/');
      std::string dir = join.path.substr(0, slash), file = join.path.substr(slash + 1);
      bool wanted = controllers.empty();
      // "/sys/fs/cgroup/cpu,cpuacct/…"
      for (absl::string_view part : absl::StrSplit(dir, absl::ByAnyChar("/,"))) {
        wanted |= std::find(controllers.begin(), controllers.end(), part) != controllers.end();
      }
      if (!wanted) continue;
      GANTRY_ASSIGN_OR_RETURN(base::UniqueFd top, base::Open(dir, O_PATH | O_DIRECTORY));
      absl::string_view below = absl::StripPrefix(parts.back(), "/");
      auto fd = base::OpenUnder(top.get(), absl::StrCat(below, below.empty() ? "" : "/", file),
                                O_WRONLY, 0, base::Resolve::kBeneath);
      if (!fd.ok()) return base::Annotate(fd.status(), absl::StrCat("exec in cgroup ", text));
      join.fd = *std::move(fd);
      found = true;
    }
    if (!found) return absl::InvalidArgumentError(absl::StrCat("no such controller: ", text));
  }
  return absl::OkStatus();
}

// A container with a user and a cgroup namespace of its own that mounts its cgroups writable
// manages what is below its cgroup as its own root.
absl::Status DelegateCgroup(const Spec& spec, Cgroup* cgroup) {
  if (spec.FindNamespace(CLONE_NEWUSER) == nullptr) return absl::OkStatus();
  const Namespace* own = spec.FindNamespace(CLONE_NEWCGROUP);
  if (own == nullptr || !own->path.empty()) return absl::OkStatus();
  for (const MountSpec& mount : spec.mounts) {
    if (mount.type != "cgroup" && mount.type != "cgroup2") continue;
    if (ParseMountFlags(mount.options).set & MS_RDONLY) continue;
    auto host = [](const std::vector<IdMapping>& map, uint32_t id) -> std::optional<uint32_t> {
      for (const IdMapping& m : map) {
        if (id >= m.container_id && id - m.container_id < m.size) {
          return m.host_id + (id - m.container_id);
        }
      }
      return std::nullopt;
    };
    auto uid = host(spec.linux_.uid_mappings, spec.process->uid);
    auto gid = host(spec.linux_.gid_mappings, spec.process->gid);
    if (uid && gid) return cgroup->Delegate(*uid, *gid);
  }
  return absl::OkStatus();
}

base::UniqueFd& LentNetwork() {
  static auto* lent = new base::UniqueFd();
  return *lent;
}

void UseLentNetwork(const Spec& spec, NamespacePlan* plan) {
  base::UniqueFd lent = std::move(LentNetwork());
  if (!lent.valid() || !plan->new_network) return;
  if (spec.FindNamespace(CLONE_NEWUSER) != nullptr) return;
  if (!spec.linux_.net_devices.empty()) return;  // they are moved before the child joins
  plan->clone_flags &= ~CLONE_NEWNET;
  plan->new_network = false;
  JoinPlan join;
  join.flag = CLONE_NEWNET;
  join.path = "network namespace made ahead";
  join.fd = std::move(lent);
  plan->joins.insert(plan->joins.begin(), std::move(join));
}

}  // namespace

void Container::Prepare() { KnownCgroups().IgnoreError(); }

void Container::LendNetwork(base::UniqueFd network_namespace) {
  LentNetwork() = std::move(network_namespace);
}

struct Container::Impl {
  CreateOptions options;
  Spec spec;
  std::unique_ptr<Cgroup> cgroup;
  std::optional<Spawned> init;  // until it was started
  base::UniqueFd pidfd;
  pid_t pid = 0;
  Stand stand = Stand::kCreated;

  absl::Status Spawn(const InitPlan& plan, CreatedProcess* process);
  absl::StatusOr<InitPlan> Plan();
  absl::Status WritePidFile(const std::string& path, pid_t number) const {
    if (path.empty()) return absl::OkStatus();
    return base::ReplaceFile(path, absl::StrCat(number), 0644);
  }
  std::string State(absl::string_view status, pid_t number) const;
  // Gives a process' seccomp notifications to the agent that the spec names.
  absl::Status SendListener(int fd, pid_t process) const;
};

Container::Container(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Container::~Container() {
  if (impl_->init) impl_->init->Detach();
}

std::string Container::Impl::State(absl::string_view status, pid_t number) const {
  base::Json state;
  state["ociVersion"] = absl::StrCat(spec.oci_version.empty() ? "1.0.2" : spec.oci_version.c_str());
  state["id"] = options.id;
  state["status"] = absl::StrCat(status);
  state["bundle"] = options.bundle;
  if (number > 0) state["pid"] = number;
  if (!spec.annotations.empty()) state["annotations"] = spec.annotations;
  return base::DumpJson(state);
}

absl::Status Container::Impl::SendListener(int fd, pid_t process) const {
  base::Json message;
  message["ociVersion"] = spec.oci_version;
  message["fds"] = {"seccompFd"};
  message["pid"] = process;
  message["metadata"] = spec.linux_.seccomp_metadata;
  GANTRY_ASSIGN_OR_RETURN(message["state"],
                          base::ParseJson(State(process == pid ? "creating" : "running", pid)));
  return base::Annotate(SendFd(spec.linux_.seccomp_listener, base::DumpJson(message), fd),
                        "linux.seccomp.listenerPath");
}

pid_t Container::init_pid() const { return impl_->pid; }

std::string Container::StateJson(absl::string_view status) const {
  return impl_->State(status, status == "stopped" ? 0 : impl_->pid);
}

absl::StatusOr<InitPlan> Container::Impl::Plan() {
  InitPlan plan;
  if (!options.start_socket.empty()) {
    GANTRY_ASSIGN_OR_RETURN(plan.start_listener, ListenForStart(options.start_socket));
  }
  GANTRY_ASSIGN_OR_RETURN(plan.namespaces, PlanNamespaces(spec));
  UseLentNetwork(spec, &plan.namespaces);
  GANTRY_ASSIGN_OR_RETURN(plan.namespaces.cgroups, cgroup->OpenJoins(0));
  if (!options.no_new_keyring) plan.namespaces.keyring = absl::StrCat("_ses.", options.id);
  if (spec.FindNamespace(CLONE_NEWNS)->path.empty()) {
    GANTRY_ASSIGN_OR_RETURN(plan.rootfs, PlanRootfs(options, spec, *cgroup));
  }
  GANTRY_ASSIGN_OR_RETURN(plan.process,
                          PlanProcess(*spec.process, spec.linux_, options.io, options.preserve_fds,
                                      options.seccomp_cache_dir));
  GANTRY_RETURN_IF_ERROR(CheckGroups(options, spec, &plan.process));
  plan.parent_hooks = !spec.hooks.prestart.empty() || !spec.hooks.create_runtime.empty();
  plan.create_container = PlanHooks(spec.hooks.create_container, options.bundle);
  plan.start_container = PlanHooks(spec.hooks.start_container, "/");
  if (!plan.create_container.empty() || !plan.start_container.empty()) {
    // {"annotations":…,"status":"…","pid":N}: the pid is what the child itself sees.
    auto prefix = [this](absl::string_view status) {
      std::string text = State(status, 0);
      return absl::StrCat(absl::string_view(text).substr(0, text.size() - 1), ",\"pid\":");
    };
    plan.creating_prefix = prefix("creating");
    plan.created_prefix = prefix("created");
    plan.state_suffix.push_back('}');
  }
  return plan;
}

absl::Status Container::Impl::Spawn(const InitPlan& plan, CreatedProcess* process) {
  bool staged = plan.namespaces.staged;
  GANTRY_ASSIGN_OR_RETURN(Spawned child,
                          Spawned::Clone(staged ? 0 : plan.namespaces.clone_flags,
                                         plan.namespaces.join_pid.get(), [&plan, staged](int sock) {
                                           if (staged) RunStaged(sock, plan);
                                           RunInit(sock, plan);
                                         }));
  Spawned::Handlers handlers;
  handlers.maps = [&] {
    return WriteIdMaps(child.pid(), spec.linux_.uid_mappings, spec.linux_.gid_mappings);
  };
  if (staged) GANTRY_RETURN_IF_ERROR(child.AdoptSibling(handlers.maps));
  GANTRY_RETURN_IF_ERROR(ApplyOomScore(child.pid(), *spec.process));
  if (spec.linux_.intel_rdt) {
    GANTRY_RETURN_IF_ERROR(JoinIntelRdt(*spec.linux_.intel_rdt, options.id, child.pid()));
  }
  GANTRY_RETURN_IF_ERROR(MoveNetDevices(spec, child.pid()));
  handlers.hooks = [&] {
    // prestart is older than the state "creating".
    GANTRY_RETURN_IF_ERROR(RunHostHooks(spec.hooks.prestart, "prestart", options.bundle,
                                        State("created", child.pid())));
    std::string state = State("creating", child.pid());
    return RunHostHooks(spec.hooks.create_runtime, "createRuntime", options.bundle, state);
  };
  GANTRY_RETURN_IF_ERROR(child.AwaitReady(handlers));
  // Last, because a low limit of files or file sizes would hit the set-up itself.
  if (!RlimitsAreTheChilds(*spec.process, spec.linux_)) {
    GANTRY_RETURN_IF_ERROR(ApplyRlimits(child.pid(), spec.process->rlimits));
  }
  GANTRY_RETURN_IF_ERROR(WritePidFile(options.pid_file, child.pid()));
  pid = process->pid = child.pid();
  process->console = child.TakeConsole();
  GANTRY_ASSIGN_OR_RETURN(pidfd, OpenPidfd(pid));
  int copy = fcntl(child.pidfd(), F_DUPFD_CLOEXEC, 0);
  if (copy < 0) return base::ErrnoStatus(errno, "copy a pidfd");
  process->pidfd.Reset(copy);
  init.emplace(std::move(child));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Container>> Container::Create(const CreateOptions& options,
                                                             const Spec& spec,
                                                             CreatedProcess* init) {
  GANTRY_RETURN_IF_ERROR(CheckOptions(options, spec));
  auto impl = std::make_unique<Impl>();
  impl->options = options;
  impl->spec = spec;
  GANTRY_ASSIGN_OR_RETURN(impl->cgroup, FindCgroup(options, spec));
  // From here on things exist that a failure has to take away again. A cgroup that somebody else
  // lives in is not ours to remove.
  absl::Status created = impl->cgroup->Create();
  if (options.rootless && absl::IsPermissionDenied(created)) {
    impl->cgroup = MakeNoCgroup();
    created = absl::OkStatus();
  }
  GANTRY_RETURN_IF_ERROR(created);
  auto build = [&]() -> absl::Status {
    GANTRY_RETURN_IF_ERROR(impl->cgroup->Apply(spec.linux_.resources, true));
    GANTRY_RETURN_IF_ERROR(DelegateCgroup(spec, impl->cgroup.get()));
    GANTRY_ASSIGN_OR_RETURN(InitPlan plan, impl->Plan());
    GANTRY_RETURN_IF_ERROR(impl->Spawn(plan, init));
    impl->cgroup->Entered();
    return absl::OkStatus();
  };
  absl::Status status = build();
  if (!status.ok()) {
    impl->cgroup->KillAll().IgnoreError();
    if (spec.linux_.intel_rdt) RemoveIntelRdt(*spec.linux_.intel_rdt, options.id).IgnoreError();
    absl::Status removed = impl->cgroup->Remove(/*killed=*/true);
    if (!removed.ok()) base::LogWarn("cgroup left behind", {{"error", removed.message()}});
    return status;
  }
  return std::unique_ptr<Container>(new Container(std::move(impl)));
}

absl::StatusOr<std::unique_ptr<Container>> Container::Open(const CreateOptions& options,
                                                           const Spec& spec, pid_t pid) {
  auto impl = std::make_unique<Impl>();
  impl->options = options;
  impl->spec = spec;
  impl->pid = pid;
  auto pidfd = OpenPidfd(pid);
  if (pidfd.ok()) impl->pidfd = *std::move(pidfd);
  GANTRY_ASSIGN_OR_RETURN(impl->cgroup, FindCgroup(options, spec));
  if (options.rootless && !base::Exists(impl->cgroup->directory())) impl->cgroup = MakeNoCgroup();
  return std::unique_ptr<Container>(new Container(std::move(impl)));
}

absl::Status Container::Start() {
  if (impl_->stand == Stand::kCreated && !impl_->init && !impl_->options.start_socket.empty()) {
    GANTRY_ASSIGN_OR_RETURN(Spawned waiting,
                            Spawned::Connect(impl_->pid, impl_->options.start_socket));
    impl_->init.emplace(std::move(waiting));
  }
  if (impl_->stand != Stand::kCreated || !impl_->init) {
    return absl::FailedPreconditionError("the container was already started");
  }
  impl_->stand = Stand::kRunning;
  absl::Status status = impl_->init->Execute(
      [this](base::UniqueFd fd) { return impl_->SendListener(fd.get(), impl_->pid); });
  impl_->init->Detach();
  impl_->init.reset();
  GANTRY_RETURN_IF_ERROR(status);
  const auto& hooks = impl_->spec.hooks.poststart;
  if (hooks.empty()) return absl::OkStatus();
  status = RunHostHooks(hooks, "poststart", impl_->options.bundle, StateJson("running"));
  if (!status.ok()) {
    // The program runs already: a start that failed must not leave it running.
    SendSignal(impl_->pidfd.get(), SIGKILL).IgnoreError();
    impl_->cgroup->KillAll().IgnoreError();
  }
  return status;
}

absl::StatusOr<CreatedProcess> Container::Exec(const ProcessSpec& process,
                                               const ExecOptions& options) {
  if (impl_->stand == Stand::kDeleted || !SendSignal(impl_->pidfd.get(), 0).ok()) {
    return absl::FailedPreconditionError("cannot exec in a stopped container");
  }
  GANTRY_ASSIGN_OR_RETURN(bool paused, impl_->cgroup->Frozen());
  if (paused && !options.ignore_paused) {
    return absl::FailedPreconditionError("cannot exec in a paused container");
  }
  NamespacePlan namespaces;
  GANTRY_ASSIGN_OR_RETURN(namespaces.cgroups, impl_->cgroup->OpenJoins(impl_->pid));
  GANTRY_RETURN_IF_ERROR(EnterSubCgroups(options.sub_cgroups, &namespaces.cgroups));
  if (!impl_->options.no_new_keyring) {
    namespaces.keyring = absl::StrCat("_ses.", impl_->options.id);
  }
  namespaces.affinity = process.exec_cpu_affinity;
  GANTRY_ASSIGN_OR_RETURN(ProcessPlan plan,
                          PlanProcess(process, impl_->spec.linux_, options.io, options.preserve_fds,
                                      impl_->options.seccomp_cache_dir));
  GANTRY_RETURN_IF_ERROR(CheckGroups(impl_->options, impl_->spec, &plan));
  int flags = ExecNamespaces(impl_->spec);
  bool new_pid_namespace = impl_->spec.FindNamespace(CLONE_NEWPID) != nullptr;
  int init = impl_->pidfd.get();
  GANTRY_ASSIGN_OR_RETURN(
      Spawned child, Spawned::Clone(0, new_pid_namespace ? init : -1,
                                    [&](int s) { RunExec(s, namespaces, init, flags, plan); }));
  GANTRY_RETURN_IF_ERROR(ApplyOomScore(child.pid(), process));
  GANTRY_RETURN_IF_ERROR(child.AwaitReady({}));
  if (!RlimitsAreTheChilds(process, impl_->spec.linux_)) {
    GANTRY_RETURN_IF_ERROR(ApplyRlimits(child.pid(), process.rlimits));
  }
  GANTRY_RETURN_IF_ERROR(impl_->WritePidFile(options.pid_file, child.pid()));
  GANTRY_RETURN_IF_ERROR(
      child.Execute([&](base::UniqueFd fd) { return impl_->SendListener(fd.get(), child.pid()); }));
  child.Detach();
  return CreatedProcess{child.pid(), child.TakePidfd(), child.TakeConsole()};
}

absl::Status Container::Kill(int signal, bool all) {
  if (!all) return SendSignal(impl_->pidfd.get(), signal);
  if (signal == SIGKILL) return impl_->cgroup->KillAll();
  GANTRY_ASSIGN_OR_RETURN(std::vector<pid_t> pids, impl_->cgroup->Pids());
  if (pids.empty()) return absl::NotFoundError("process already finished");
  for (pid_t pid : pids) {
    if (kill(pid, signal) != 0 && errno != ESRCH) {
      return base::ErrnoStatus(errno, absl::StrCat("send signal ", signal, " to process ", pid));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<pid_t>> Container::Pids() const { return impl_->cgroup->Pids(); }
absl::Status Container::Pause() { return impl_->cgroup->Freeze(true); }
absl::Status Container::Resume() { return impl_->cgroup->Freeze(false); }
absl::StatusOr<bool> Container::Paused() const { return impl_->cgroup->Frozen(); }
absl::StatusOr<Metrics> Container::Stats() const { return impl_->cgroup->Stats(); }
struct Remains Container::Remains() const {
  return impl_->cgroup->Remains();
}

absl::StatusOr<std::unique_ptr<OomWatch>> Container::WatchOom() {
  return impl_->cgroup->WatchOom();
}
absl::Status Container::Update(const Resources& resources) {
  return impl_->cgroup->Apply(resources, false);
}

absl::Status Container::Delete() {
  if (impl_->stand == Stand::kDeleted) return absl::OkStatus();
  if (impl_->init) {
    SendSignal(impl_->pidfd.get(), SIGKILL).IgnoreError();
    impl_->init->Detach();
    impl_->init.reset();
  }
  if (!impl_->cgroup->Remove().ok()) {
    GANTRY_RETURN_IF_ERROR(impl_->cgroup->KillAll());
    GANTRY_RETURN_IF_ERROR(impl_->cgroup->Remove(/*killed=*/true));
  }
  if (impl_->spec.linux_.intel_rdt) {
    GANTRY_RETURN_IF_ERROR(RemoveIntelRdt(*impl_->spec.linux_.intel_rdt, impl_->options.id));
  }
  impl_->stand = Stand::kDeleted;
  const auto& hooks = impl_->spec.hooks.poststop;
  if (hooks.empty()) return absl::OkStatus();
  // All of them run, and what goes wrong is only worth a warning (runtime-spec, lifecycle).
  for (const Hook& hook : hooks) {
    absl::Status status =
        RunHostHooks({hook}, "poststop", impl_->options.bundle, StateJson("stopped"));
    if (!status.ok()) base::LogWarn("poststop hook failed", {{"error", status.message()}});
  }
  return absl::OkStatus();
}

absl::Status Container::DeleteLeftovers(const CreateOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->options = options;
  auto spec = LoadSpec(options.bundle);
  if (spec.ok()) impl->spec = *std::move(spec);
  GANTRY_ASSIGN_OR_RETURN(CgroupSystem system, KnownCgroups());
  GANTRY_ASSIGN_OR_RETURN(
      impl->cgroup, Cgroup::Make(system, impl->spec.linux_.cgroups_path, options.ns, options.id,
                                 options.systemd_cgroup));
  GANTRY_RETURN_IF_ERROR(impl->cgroup->KillAll());
  Container container(std::move(impl));
  return container.Delete();
}

}  // namespace gantry::oci
