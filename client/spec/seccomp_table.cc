#include "client/spec/seccomp_table.h"

#include <sched.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_split.h"
#include "client/image.h"

namespace gantry::client {
namespace {

// Allowed whatever the arguments and the capabilities. By subject.
constexpr absl::string_view kAlways =
    // files
    "access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 "
    "faccessat faccessat2 fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown "
    "fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr "
    "fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd "
    "getdents getdents64 getxattr getxattrat ioctl lchown lchown32 lgetxattr link linkat listxattr "
    "listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 mkdir mkdirat mknod "
    "mknodat newfstatat open openat openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read "
    "readahead readlink readlinkat readv removexattr removexattrat rename renameat renameat2 rmdir "
    "sendfile sendfile64 setxattr setxattrat splice stat stat64 statfs statfs64 statx symlink "
    "symlinkat sync sync_file_range syncfs tee truncate truncate64 umask unlink unlinkat utime "
    "utimensat utimensat_time64 utimes vmsplice write writev cachestat "
    // polling and notification
    "epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait "
    "epoll_wait_old eventfd eventfd2 fanotify_mark inotify_add_watch inotify_init inotify_init1 "
    "inotify_rm_watch _newselect poll ppoll ppoll_time64 pselect6 pselect6_time64 select signalfd "
    "signalfd4 "
    // asynchronous input and output
    "io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit "
    "ioprio_get ioprio_set "
    // memory
    "brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 "
    "mlockall "
    "mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free "
    "pkey_mprotect process_mrelease remap_file_pages "
    // processes and threads
    "arch_prctl capget capset execve execveat exit exit_group fork futex futex_requeue "
    "futex_time64 "
    "futex_wait futex_waitv futex_wake get_robust_list get_thread_area getcpu getegid getegid32 "
    "geteuid geteuid32 getgid getgid32 getgroups getgroups32 getpgid getpgrp getpid getppid "
    "getpriority getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid gettid "
    "getuid getuid32 landlock_add_rule landlock_create_ruleset landlock_restrict_self modify_ldt "
    "pidfd_open pidfd_send_signal prctl prlimit64 ptrace restart_syscall rseq "
    "sched_get_priority_max "
    "sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler "
    "sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr "
    "sched_setparam sched_setscheduler sched_yield seccomp set_robust_list set_thread_area "
    "set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 "
    "setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid "
    "setreuid32 setrlimit setsid setuid setuid32 ugetrlimit uretprobe vfork wait4 waitid waitpid "
    // signals
    "kill pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn "
    "rt_sigsuspend "
    "rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack sigprocmask sigreturn "
    "tgkill tkill "
    // time
    "adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime "
    "clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep "
    "setitimer time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 "
    "timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 "
    "timerfd_settime timerfd_settime64 times "
    // interprocess communication
    "ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend "
    "mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd pipe pipe2 semctl semget semop "
    "semtimedop semtimedop_time64 shmat shmctl shmdt shmget "
    // sockets; socket itself has a rule of its own
    "accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg "
    "recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall "
    "socketpair "
    // the machine
    "getrandom sysinfo uname";

struct CapabilityCalls {
  absl::string_view capability;
  absl::string_view calls;
};
constexpr CapabilityCalls kByCapability[] = {
    {"CAP_BPF", "bpf"},
    {"CAP_DAC_READ_SEARCH", "open_by_handle_at"},
    {"CAP_PERFMON", "perf_event_open"},
    {"CAP_SYS_ADMIN",
     "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick listmount lookup_dcookie mount "
     "mount_setattr move_mount name_to_handle_at open_tree perf_event_open quotactl quotactl_fd "
     "setdomainname sethostname setns statmount syslog umount umount2 unshare"},
    {"CAP_SYS_BOOT", "reboot"},
    {"CAP_SYS_CHROOT", "chroot"},
    {"CAP_SYSLOG", "syslog"},
    {"CAP_SYS_MODULE", "delete_module finit_module init_module"},
    {"CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"},
    {"CAP_SYS_PACCT", "acct"},
    {"CAP_SYS_PTRACE",
     "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"},
    {"CAP_SYS_RAWIO", "ioperm iopl"},
    {"CAP_SYS_TIME", "clock_settime clock_settime64 settimeofday stime"},
    {"CAP_SYS_TTY_CONFIG", "vhangup"},
};

// personality(2) may only ask what it is, or for the plain Linux ones.
constexpr uint64_t kPersonalities[] = {0x0, 0x8, 0x20000, 0x20008, 0xffffffff};

constexpr uint64_t kNewNamespaces = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |
                                    CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWCGROUP;

base::Json Allow(absl::string_view names) {
  base::Json rule;
  base::Json& list = rule["names"];
  for (absl::string_view name : absl::StrSplit(names, ' ', absl::SkipEmpty())) {
    list.push_back(base::Json::string_t(name));
  }
  rule["action"] = "SCMP_ACT_ALLOW";
  return rule;
}

base::Json AllowIf(absl::string_view name, base::Json argument) {
  base::Json rule = Allow(name);
  rule["args"] = base::Json::array({std::move(argument)});
  return rule;
}

base::Json Architectures() {
  std::string machine = MachineArchitecture();
  if (machine == "amd64") return {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"};
  if (machine == "arm64") return {"SCMP_ARCH_ARM", "SCMP_ARCH_AARCH64"};
  if (machine == "s390x") return {"SCMP_ARCH_S390", "SCMP_ARCH_S390X"};
  if (machine == "riscv64") return base::Json::array({"SCMP_ARCH_RISCV64"});
  return base::Json::array();
}

void AddMachineCalls(base::Json& rules) {
  std::string machine = MachineArchitecture();
  if (machine == "arm64" || machine == "arm") {
    rules.push_back(Allow(
        "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2"));
  } else if (machine == "ppc64le") {
    rules.push_back(Allow("swapcontext sync_file_range2"));
  } else if (machine == "s390x") {
    rules.push_back(Allow("s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr"));
  } else if (machine == "riscv64") {
    rules.push_back(Allow("riscv_flush_icache riscv_hwprobe"));
  }
}

// Without CAP_SYS_ADMIN, clone may make no namespaces; clone3's flags cannot be seen by a filter,
// so it looks absent and C libraries fall back to clone.
void AddCloneRules(base::Json& rules) {
  int flags_index = MachineArchitecture() == "s390x" ? 1 : 0;
  rules.push_back(AllowIf("clone", {{"index", flags_index},
                                    {"value", kNewNamespaces},
                                    {"valueTwo", 0},
                                    {"op", "SCMP_CMP_MASKED_EQ"}}));
  rules.push_back({{"names", {"clone3"}}, {"action", "SCMP_ACT_ERRNO"}, {"errnoRet", ENOSYS}});
}

}  // namespace

base::Json DefaultSeccompProfile(const std::vector<std::string>& bounding) {
  base::Json rules = base::Json::array({Allow(kAlways)});
  for (uint64_t value : kPersonalities) {
    rules.push_back(
        AllowIf("personality", {{"index", 0}, {"value", value}, {"op", "SCMP_CMP_EQ"}}));
  }
  // vsock reaches the hypervisor's host past all network namespaces; AF_ALG wrote to files that are
  // only open for reading (CVE-2026-31431). One condition a rule: two of the same argument in one
  // would have to hold both. A 32-bit program's socketcall hides the family behind a pointer.
  static_assert(AF_ALG + 2 == AF_VSOCK);
  rules.push_back(AllowIf("socket", {{"index", 0}, {"value", AF_ALG}, {"op", "SCMP_CMP_LT"}}));
  rules.push_back(AllowIf("socket", {{"index", 0}, {"value", AF_ALG + 1}, {"op", "SCMP_CMP_EQ"}}));
  rules.push_back(AllowIf("socket", {{"index", 0}, {"value", AF_VSOCK}, {"op", "SCMP_CMP_GT"}}));
  AddMachineCalls(rules);
  auto has = [&](absl::string_view capability) {
    return std::find(bounding.begin(), bounding.end(), capability) != bounding.end();
  };
  for (const CapabilityCalls& entry : kByCapability) {
    if (has(entry.capability)) rules.push_back(Allow(entry.calls));
  }
  if (!has("CAP_SYS_ADMIN")) AddCloneRules(rules);
  return {{"defaultAction", "SCMP_ACT_ERRNO"},
          {"architectures", Architectures()},
          {"syscalls", std::move(rules)}};
}

}  // namespace gantry::client
