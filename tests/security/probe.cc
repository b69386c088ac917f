// Runs inside a container and tells what its kernel lets it do: "NAME RESULT" a line, RESULT being
// 0 or an error number. Calls are made natively, through the door for 32-bit programs (a
// multiplexed number per line "i386.NAME") and with the x32 bit ("x32.NAME").

#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

namespace {

void Tell(const char* name, long result) {
  printf("%s %d\n", name, result < 0 ? errno : 0);
  fflush(stdout);
}

// In a process of its own, because what succeeds changes it.
template <typename Call>
void Try(const char* name, Call call) {
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    Tell(name, call());
    _exit(0);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  if (WIFSIGNALED(status)) printf("%s killed\n", name);
}

#if defined(__x86_64__)
// Addresses must fit 32 bits: static objects of a program that is not position-independent do.
long Call32(long number, long a, long b) {
  long result;
  asm volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(0) : "memory", "r8");
  if (result >= 0) return result;
  errno = static_cast<int>(-result);
  return -1;
}
#endif

}  // namespace

int main() {
  if (getpid() != 1) {
    fputs("escape_probe: only as the first process of a container: what works changes mounts\n",
          stderr);
    return 2;
  }
  Try("socket.alg", [] { return socket(38, SOCK_SEQPACKET, 0); });
  Try("socket.vsock", [] { return socket(40, SOCK_STREAM, 0); });
  Try("socket.inet", [] { return socket(AF_INET, SOCK_STREAM, 0); });
  Try("socket.unix", [] { return socket(AF_UNIX, SOCK_STREAM, 0); });
  Try("socket.netlink", [] { return socket(AF_NETLINK, SOCK_RAW, 0); });
  Try("unshare.user", [] { return unshare(CLONE_NEWUSER); });
  Try("unshare.mount", [] { return unshare(CLONE_NEWNS); });
  Try("unshare.user+cgroup", [] { return unshare(CLONE_NEWUSER | CLONE_NEWCGROUP); });
  Try("clone.user", [] { return syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0); });
  Try("clone3", [] { return syscall(SYS_clone3, nullptr, 0); });
  Try("mount.cgroup", [] { return mount("cgroup", "/tmp", "cgroup", 0, "memory"); });
  Try("mount.tmpfs", [] { return mount("tmpfs", "/tmp", "tmpfs", 0, nullptr); });
  Try("keyctl", [] { return syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, -3, 0); });
  Try("bpf", [] { return syscall(SYS_bpf, 0, nullptr, 0); });
  Try("perf_event_open", [] { return syscall(SYS_perf_event_open, nullptr, 0, -1, -1, 0); });
  Try("userfaultfd", [] { return syscall(SYS_userfaultfd, 0); });
  Try("io_uring_setup", [] { return syscall(SYS_io_uring_setup, 1, nullptr); });
  Try("open_by_handle_at", [] { return syscall(SYS_open_by_handle_at, 0, nullptr, 0); });
  Try("init_module", [] { return syscall(SYS_init_module, nullptr, 0, ""); });
  Try("kexec_load", [] { return syscall(SYS_kexec_load, 0, 0, nullptr, 0); });
  Try("reboot", [] { return syscall(SYS_reboot, 0, 0, 0, nullptr); });
  Try("swapon", [] { return syscall(SYS_swapon, nullptr, 0); });
  Try("setns", [] { return syscall(SYS_setns, 0, 0); });
  Try("unknown", [] { return syscall(9999); });
#if defined(__x86_64__)
  Try("i386.getpid", [] { return Call32(20, 0, 0); });
  Try("i386.unshare", [] { return Call32(310, CLONE_NEWUSER, 0); });
  Try("i386.mount", [] { return Call32(21, 0, 0); });
  Try("i386.socket.alg", [] { return Call32(359, 38, SOCK_SEQPACKET); });
  Try("i386.init_module", [] { return Call32(128, 0, 0); });
  Try("x32.unshare", [] { return syscall(SYS_unshare | 0x40000000, CLONE_NEWUSER); });
  Try("x32.mount", [] { return syscall(SYS_mount | 0x40000000, 0, 0, 0, 0, 0); });
#endif
  return 0;
}
