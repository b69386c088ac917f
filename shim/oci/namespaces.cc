#include "shim/oci/namespaces.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

namespace gantry::oci {
namespace {

absl::StatusOr<JoinPlan> OpenNamespace(const Namespace& ns) {
  JoinPlan join;
  join.flag = ns.flag;
  join.path = ns.path;
  std::string what = absl::StrCat("join ", ns.type, " namespace ", ns.path);
  auto fd = base::Open(ns.path, O_RDONLY | O_NONBLOCK);
  if (!fd.ok()) return base::Annotate(fd.status(), what);
  int kind = ioctl(fd->get(), NS_GET_NSTYPE);
  if (kind != ns.flag) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, kind < 0 ? ": it is no namespace" : ": it is one of another kind"));
  }
  join.fd = *std::move(fd);
  return join;
}

absl::Status CheckUserNamespace(const Spec& spec, const Namespace* user) {
  bool has_maps = !spec.linux_.uid_mappings.empty() || !spec.linux_.gid_mappings.empty();
  if (user == nullptr) {
    if (!has_maps) return absl::OkStatus();
    return absl::InvalidArgumentError(
        "linux.uidMappings: id mappings need a namespace of type \"user\"");
  }
  if (user->path.empty() &&
      (spec.linux_.uid_mappings.empty() || spec.linux_.gid_mappings.empty())) {
    return absl::InvalidArgumentError(
        "linux.uidMappings: a new user namespace needs uid and gid mappings");
  }
  return absl::OkStatus();
}

std::string FormatMap(const std::vector<IdMapping>& mappings) {
  std::string text;
  for (const IdMapping& m : mappings) {
    absl::StrAppend(&text, m.container_id, " ", m.host_id, " ", m.size, "\n");
  }
  return text;
}

absl::Status PlanHostname(const Spec& spec, NamespacePlan* plan) {
  plan->hostname = spec.hostname;
  plan->domainname = spec.domainname;
  if (spec.hostname.empty() && spec.domainname.empty()) return absl::OkStatus();
  if (spec.FindNamespace(CLONE_NEWUTS) == nullptr) {
    return absl::InvalidArgumentError("hostname: needs a namespace of type \"uts\"");
  }
  if (spec.hostname.size() > 64 || spec.domainname.size() > 64) {
    return absl::InvalidArgumentError("hostname: longer than 64 characters");
  }
  return absl::OkStatus();
}

absl::Status PlanTimeOffsets(const Spec& spec, NamespacePlan* plan) {
  if (!spec.linux_.time_offsets.empty() && !plan->new_time) {
    return absl::InvalidArgumentError("linux.timeOffsets: needs a new namespace of type \"time\"");
  }
  for (const TimeOffset& offset : spec.linux_.time_offsets) {
    absl::StrAppend(&plan->time_offsets, offset.clock, " ", offset.seconds, " ", offset.nanoseconds,
                    "\n");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<NamespacePlan> PlanNamespaces(const Spec& spec) {
  NamespacePlan plan;
  const Namespace* user = spec.FindNamespace(CLONE_NEWUSER);
  GANTRY_RETURN_IF_ERROR(CheckUserNamespace(spec, user));
  for (const Namespace& ns : spec.linux_.namespaces) {
    if (ns.entered) continue;
    if (ns.path.empty()) {
      if (ns.flag == CLONE_NEWCGROUP) {
        plan.unshare_cgroup = true;
      } else if (ns.flag == CLONE_NEWTIME) {
        plan.new_time = true;
      } else {
        plan.clone_flags |= ns.flag;
      }
      continue;
    }
    GANTRY_ASSIGN_OR_RETURN(JoinPlan join, OpenNamespace(ns));
    if (ns.flag == CLONE_NEWPID) {
      plan.join_pid = std::move(join.fd);
    } else {
      plan.joins.push_back(std::move(join));
    }
  }
  GANTRY_RETURN_IF_ERROR(PlanTimeOffsets(spec, &plan));
  // Joining the user namespace first gives the rights to join what belongs to it; the mount
  // namespace last, because the paths of the others were those outside.
  auto rank = [](const JoinPlan& join) {
    return join.flag == CLONE_NEWUSER ? 0 : join.flag == CLONE_NEWNS ? 2 : 1;
  };
  std::stable_sort(plan.joins.begin(), plan.joins.end(),
                   [&](const JoinPlan& a, const JoinPlan& b) { return rank(a) < rank(b); });
  plan.maps = (plan.clone_flags & CLONE_NEWUSER) != 0;
  plan.becomes_root = user != nullptr;
  plan.staged =
      plan.new_time || (user != nullptr && (!plan.joins.empty() || plan.join_pid.valid()));
  plan.new_network = (plan.clone_flags & CLONE_NEWNET) != 0;
  GANTRY_RETURN_IF_ERROR(PlanHostname(spec, &plan));
  for (const auto& [key, value] : spec.linux_.sysctl) {
    GANTRY_ASSIGN_OR_RETURN(std::string path, SysctlPath(spec, key, value));
    plan.sysctls.emplace_back(path, value);
  }
  return plan;
}

absl::StatusOr<std::string> SysctlPath(const Spec& spec, const std::string& key,
                                       const std::string& value) {
  auto refuse = [&](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat("linux.sysctl \"", key, "\": ", why));
  };
  std::string path = key;
  // As sysctl(8): the first separator decides, the other one is then part of names.
  size_t first = path.find_first_of("./");
  if (first != std::string::npos && path[first] == '.') {
    for (char& c : path) c = c == '.' ? '/' : c == '/' ? '.' : c;
  }
  if (path.empty() || path[0] == '/' || absl::StrContains(path, "//") ||
      absl::StrContains("/" + path + "/", "/../") || absl::StrContains("/" + path + "/", "/./") ||
      std::any_of(path.begin(), path.end(), [](unsigned char c) { return c <= ' ' || c > 126; })) {
    return refuse("is no name of a kernel parameter");
  }
  if (std::any_of(value.begin(), value.end(),
                  [](unsigned char c) { return c < ' ' && c != '\t'; })) {
    return refuse("its value has control characters");
  }
  static constexpr absl::string_view kIpc[] = {
      "kernel/msgmax",      "kernel/msgmnb",      "kernel/msgmni",      "kernel/sem",
      "kernel/shmall",      "kernel/shmmax",      "kernel/shmmni",      "kernel/shm_rmid_forced",
      "kernel/auto_msgmni", "kernel/msg_next_id", "kernel/sem_next_id", "kernel/shm_next_id"};
  int need = 0;
  if (absl::StartsWith(path, "fs/mqueue/") ||
      std::find(std::begin(kIpc), std::end(kIpc), path) != std::end(kIpc)) {
    need = CLONE_NEWIPC;
  } else if (absl::StartsWith(path, "net/")) {
    need = CLONE_NEWNET;
  } else if (path == "kernel/domainname" || path == "kernel/hostname") {
    need = CLONE_NEWUTS;
  } else if (absl::StartsWith(path, "user/")) {
    need = CLONE_NEWUSER;
  } else {
    return refuse("is not in a separate kernel namespace");
  }
  if (path == "kernel/domainname" && !spec.domainname.empty() && value != spec.domainname) {
    return refuse("conflicts with the spec's own domainname field");
  }
  if (path == "kernel/hostname") return refuse("conflicts with the spec's own hostname field");
  if (spec.FindNamespace(need) == nullptr) {
    return refuse("not allowed in the host's namespace of that kind");
  }
  return absl::StrCat("/proc/sys/", path);
}

absl::Status WriteIdMaps(pid_t pid, const std::vector<IdMapping>& uids,
                         const std::vector<IdMapping>& gids) {
  std::string dir = absl::StrCat("/proc/", pid);
  GANTRY_RETURN_IF_ERROR(base::Annotate(base::WriteFile(dir + "/gid_map", FormatMap(gids)),
                                        "map group ids of the new user namespace"));
  return base::Annotate(base::WriteFile(dir + "/uid_map", FormatMap(uids)),
                        "map user ids of the new user namespace");
}

}  // namespace gantry::oci
