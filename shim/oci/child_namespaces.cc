#include <fcntl.h>
#include <grp.h>
#include <linux/keyctl.h>
#include <linux/magic.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>

#include "shim/oci/child.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

namespace gantry::oci {
namespace {

// Only this process' own id: setresuid(2) of glibc would ask all threads of a process that has one.
void BecomeRoot(const ChildLink& link) {
  if (syscall(SYS_setresgid, 0, 0, 0) != 0 || syscall(SYS_setresuid, 0, 0, 0) != 0) {
    link.Fail(Stage::kUserNamespace, errno, "id 0");
  }
}

void JoinKeyring(const ChildLink& link, const NamespacePlan& plan) {
  if (plan.keyring.empty()) return;
  long ring = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, plan.keyring.c_str());
  // Kernels without keys, and seccomp of an outer container.
  if (ring < 0 && (errno == ENOSYS || errno == EPERM || errno == EDQUOT)) return;
  if (ring < 0) link.Fail(Stage::kKeyring, errno, plan.keyring.c_str());
  constexpr unsigned kUserSearch = 0x00080000;
  constexpr unsigned kPossessorAll = 0x3f000000;
  syscall(SYS_keyctl, KEYCTL_SETPERM, ring, kPossessorAll | kUserSearch);
}

void BringLoopbackUp(const ChildLink& link) {
  int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (sock < 0) link.Fail(Stage::kNetwork, errno, "lo");
  ifreq request = {};
  strcpy(request.ifr_name, "lo");
  if (ioctl(sock, SIOCGIFFLAGS, &request) != 0) link.Fail(Stage::kNetwork, errno, "lo");
  request.ifr_flags |= IFF_UP;
  if (ioctl(sock, SIOCSIFFLAGS, &request) != 0) link.Fail(Stage::kNetwork, errno, "lo");
  close(sock);
}

// Through the host's /proc, before anything of the container is mounted: no image can stand in
// between (CVE-2025-52881), and the kernel picks the namespaces of the writer.
void WriteSysctls(const ChildLink& link, const NamespacePlan& plan) {
  for (const auto& [path, value] : plan.sysctls) {
    int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);  // path: SysctlPath's, of the host's /proc
    struct statfs fs;
    if (fd < 0 || fstatfs(fd, &fs) != 0) link.Fail(Stage::kSysctl, errno, path.c_str());
    if (fs.f_type != PROC_SUPER_MAGIC) link.Fail(Stage::kSysctl, kErrorNotProcfs, path.c_str());
    if (write(fd, value.data(), value.size()) != static_cast<ssize_t>(value.size())) {
      link.Fail(Stage::kSysctl, errno, path.c_str());
    }
    close(fd);
  }
}

void SetAffinity(const ChildLink& link, const BitMask& cpus) {
  if (cpus.empty()) return;
  if (syscall(SYS_sched_setaffinity, 0, cpus.size() * sizeof cpus[0], cpus.data()) != 0) {
    link.Fail(Stage::kAffinity, errno, "process.execCPUAffinity");
  }
}

}  // namespace

void JoinCgroups(const ChildLink& link, const NamespacePlan& plan) {
  SetAffinity(link, plan.affinity.initial);
  for (const CgroupJoin& join : plan.cgroups) {
    // "0" is the writer; opened by the parent, so its rights count.
    if (write(join.fd.get(), "0", 1) != 1) link.Fail(Stage::kJoinCgroup, errno, join.path.c_str());
  }
  SetAffinity(link, plan.affinity.final);
}

int OpenTimeOffsets(const ChildLink& link) {
  int fd = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
  if (fd < 0) link.Fail(Stage::kTimeOffsets, errno, "timens_offsets");
  return fd;
}

void MakeTimeNamespace(const ChildLink& link, const NamespacePlan& plan, int offsets) {
  if (unshare(CLONE_NEWTIME) != 0) link.Fail(Stage::kUnshare, errno, "time namespace");
  const std::string& text = plan.time_offsets;
  if (!text.empty() &&
      write(offsets, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    link.Fail(Stage::kTimeOffsets, errno, text.c_str());
  }
  close(offsets);
}

void MapIds(const ChildLink& link) {
  link.Send(ReportKind::kNeedMaps);
  link.AwaitContinue();
  BecomeRoot(link);
}

void JoinNamespaces(const ChildLink& link, const NamespacePlan& plan) {
  for (const JoinPlan& join : plan.joins) {
    if (setns(join.fd.get(), join.flag) != 0) {
      link.Fail(Stage::kJoinNamespace, errno, join.path.c_str());
    }
    if (join.flag == CLONE_NEWUSER) BecomeRoot(link);
  }
}

void SetupNamespaces(const ChildLink& link, const NamespacePlan& plan) {
  if (plan.unshare_cgroup && unshare(CLONE_NEWCGROUP) != 0) {
    link.Fail(Stage::kUnshare, errno, "cgroup namespace");
  }
  if (setsid() < 0 && errno != EPERM) link.Fail(Stage::kSession, errno, "setsid");
  JoinKeyring(link, plan);
  if (plan.new_network) BringLoopbackUp(link);
  if (!plan.hostname.empty() && sethostname(plan.hostname.data(), plan.hostname.size()) != 0) {
    link.Fail(Stage::kHostname, errno, plan.hostname.c_str());
  }
  if (!plan.domainname.empty() &&
      setdomainname(plan.domainname.data(), plan.domainname.size()) != 0) {
    link.Fail(Stage::kHostname, errno, plan.domainname.c_str());
  }
  WriteSysctls(link, plan);
}

}  // namespace gantry::oci
