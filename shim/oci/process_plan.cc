#include "shim/oci/process_plan.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "shim/oci/capabilities.h"
#include "shim/oci/seccomp.h"

namespace gantry::oci {
namespace {

// A stat of a mounted security file system; the kernel's own switch.
bool AppArmorEnabled() {
  return base::ReadFile("/sys/module/apparmor/parameters/enabled").value_or("N")[0] == 'Y';
}

absl::Status PlanLabels(const ProcessSpec& process, ProcessPlan* plan) {
  if (!process.apparmor_profile.empty()) {
    if (!AppArmorEnabled()) {
      return absl::FailedPreconditionError(
          absl::StrCat("process.apparmorProfile \"", process.apparmor_profile,
                       "\": apparmor is not enabled on this machine"));
    }
    plan->apparmor_exec = absl::StrCat("exec ", process.apparmor_profile);
  }
  // As runc: a label without SELinux means nothing.
  if (!process.selinux_label.empty() && base::Exists("/sys/fs/selinux/enforce")) {
    plan->selinux_exec = process.selinux_label;
  }
  return absl::OkStatus();
}

absl::StatusOr<base::UniqueFd> OpenDevNull() {
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd fd, base::Open("/dev/null", O_RDWR | O_NOFOLLOW));
  struct stat st;
  if (fstat(fd.get(), &st) != 0 || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3)) {
    return absl::FailedPreconditionError("/dev/null is not the character device 1:3");
  }
  return fd;
}

void PlanEnvironment(const ProcessSpec& process, ProcessPlan* plan) {
  bool has_home = false;
  for (const std::string& entry : process.env) {
    if (absl::StartsWith(entry, "PATH=")) plan->search_path = entry.substr(5);
    has_home |= absl::StartsWith(entry, "HOME=") && entry.size() > 5;
  }
  std::vector<std::string> env = process.env;
  if (!has_home) {
    // Programs expect one; the child fills it in from the container's own /etc/passwd.
    std::string slot = "HOME=/";
    slot.resize(5 + PATH_MAX, '\0');
    env.erase(std::remove(env.begin(), env.end(), "HOME="), env.end());
    env.push_back(std::move(slot));
    plan->home_slot = true;
  }
  plan->env = CStrings(std::move(env));
}

}  // namespace

absl::StatusOr<ProcessPlan> PlanProcess(const ProcessSpec& process, const LinuxSpec& linux_spec,
                                        const ProcessIo& io, const std::vector<int>& preserve_fds,
                                        const std::string& seccomp_cache_dir) {
  ProcessPlan plan;
  if (process.args.empty()) return absl::InvalidArgumentError("process.args must not be empty");
  if (preserve_fds.size() > 1024) {
    return absl::InvalidArgumentError("at most 1024 descriptors can be preserved");
  }
  plan.argv = CStrings(process.args);
  PlanEnvironment(process, &plan);
  plan.cwd = process.cwd;
  plan.uid = process.uid;
  plan.gid = process.gid;
  plan.groups = process.additional_gids;
  plan.umask = process.umask.value_or(022);
  if (RlimitsAreTheChilds(process, linux_spec)) plan.rlimits = process.rlimits;
  plan.caps = process.capabilities;
  plan.no_new_privs = process.no_new_privileges;
  if (!linux_spec.seccomp_json.empty()) {
    GANTRY_ASSIGN_OR_RETURN(SeccompProgram program,
                            CachedSeccomp(linux_spec.seccomp_json, seccomp_cache_dir));
    plan.seccomp = std::move(program.filter);
    plan.seccomp_flags = program.flags;
  }
  GANTRY_RETURN_IF_ERROR(PlanLabels(process, &plan));
  plan.personality = linux_spec.personality;
  plan.scheduler = process.scheduler;
  plan.io_priority = process.io_priority;
  plan.memory_policy = linux_spec.memory_policy;
  plan.terminal = process.terminal;
  plan.rows = static_cast<uint16_t>(process.console_height);
  plan.columns = static_cast<uint16_t>(process.console_width);
  plan.io[0] = io.stdin_fd;
  plan.io[1] = io.stdout_fd;
  plan.io[2] = io.stderr_fd;
  GANTRY_ASSIGN_OR_RETURN(plan.dev_null, OpenDevNull());
  plan.preserve_fds = preserve_fds;
  return plan;
}

bool RlimitsAreTheChilds(const ProcessSpec& process, const LinuxSpec& linux_spec) {
  // In a user namespace the child has no say over hard limits: only the parent can raise them.
  bool user_namespace = std::any_of(linux_spec.namespaces.begin(), linux_spec.namespaces.end(),
                                    [](const auto& ns) { return ns.flag == CLONE_NEWUSER; });
  return process.uid != 0 && !user_namespace;
}

absl::Status ApplyRlimits(pid_t pid, const std::vector<Rlimit>& limits) {
  for (const Rlimit& limit : limits) {
    rlimit value = {limit.soft, limit.hard};
    if (prlimit(pid, static_cast<__rlimit_resource>(limit.resource), &value, nullptr) == 0) {
      continue;
    }
    int error = errno;
    std::string what = absl::StrCat("set rlimit ", limit.name, " to ", limit.soft, ":", limit.hard);
    rlimit now = {};
    prlimit(pid, static_cast<__rlimit_resource>(limit.resource), nullptr, &now);
    bool raises = error == EPERM && limit.hard > now.rlim_max;
    if (raises && !((PermittedCapabilities() >> 24) & 1)) {
      what += absl::StrCat(" (the hard limit is ", now.rlim_max,
                           " and raising it needs CAP_SYS_RESOURCE, which the engine lacks)");
    }
    return base::ErrnoStatus(error, what);
  }
  return absl::OkStatus();
}

absl::Status ApplyOomScore(pid_t pid, const ProcessSpec& process) {
  if (!process.oom_score_adj) return absl::OkStatus();
  std::string value = absl::StrCat(*process.oom_score_adj);
  absl::Status status = base::WriteFile(absl::StrCat("/proc/", pid, "/oom_score_adj"), value);
  int error = base::ErrnoOf(status);
  if (error == EACCES || error == EPERM) {
    base::LogWarn("oom score not lowered: CAP_SYS_RESOURCE is missing", {{"value", value}});
    return absl::OkStatus();
  }
  return base::Annotate(status, "set process.oomScoreAdj");
}

}  // namespace gantry::oci
