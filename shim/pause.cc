#include "shim/pause.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"

namespace gantry::shim {
namespace {

constexpr unsigned kNobody = 65534;

enum Step : int { kJoin, kHostname, kLoopback, kSysctl, kRoot, kPrivileges, kReady };

constexpr const char* kStepNames[] = {
    "join a namespace", "set the host name",     "bring up the loopback device",
    "set a sysctl",     "leave the file system", "drop privileges",
    "be ready"};

struct Report {
  int step;
  int error;
};

// --- the child: one thread, no allocation, system calls only

[[noreturn]] void Fail(int status, Step step) {
  Report report{step, errno};
  [[maybe_unused]] ssize_t n = write(status, &report, sizeof report);
  _exit(1);
}

bool BringUpLoopback() {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno == EAFNOSUPPORT;
  ifreq request{};
  memcpy(request.ifr_name, "lo", 3);
  if (ioctl(fd, SIOCGIFFLAGS, &request) != 0) return false;
  request.ifr_flags |= IFF_UP;
  return ioctl(fd, SIOCSIFFLAGS, &request) == 0;
}

bool WriteSysctl(const char* path, const char* value, size_t size) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  return fd >= 0 && write(fd, value, size) == static_cast<ssize_t>(size) && close(fd) == 0;
}

// Nothing of the host's files is reachable through /proc/PID/root.
bool LeaveFileSystem() {
  constexpr unsigned long kFlags = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY;
  return mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         mount("pause", "/proc", "tmpfs", kFlags, "size=4k,nr_inodes=2,mode=555") == 0 &&
         chdir("/proc") == 0 && syscall(SYS_pivot_root, ".", ".") == 0 &&
         umount2(".", MNT_DETACH) == 0 && chdir("/") == 0;
}

bool DropPrivileges() {
  // Raw calls: glibc's would talk to other threads.
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && syscall(SYS_setgroups, 0, nullptr) == 0 &&
         syscall(SYS_setresgid, kNobody, kNobody, kNobody) == 0 &&
         syscall(SYS_setresuid, kNobody, kNobody, kNobody) == 0 &&
         prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 &&
         // Taken away by the change of user.
         prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0;
}

[[noreturn]] void Hold() {
  sigset_t all;
  sigfillset(&all);
  while (true) {
    siginfo_t info;
    int number = sigwaitinfo(&all, &info);
    if (number == SIGTERM || number == SIGINT) _exit(0);
    if (number != SIGCHLD) continue;
    while (waitpid(-1, nullptr, WNOHANG) > 0) {
    }
  }
}

[[noreturn]] void RunPause(const PausePlan& plan, int status) {
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  signal(SIGCHLD, SIG_DFL);
  if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) Fail(status, kPrivileges);
  prctl(PR_SET_NAME, "gantry-pause", 0, 0, 0);
  for (const base::UniqueFd& join : plan.joins) {
    if (setns(join.get(), 0) != 0) Fail(status, kJoin);
  }
  if (!plan.hostname.empty() && sethostname(plan.hostname.data(), plan.hostname.size()) != 0)
    Fail(status, kHostname);
  if ((plan.new_namespaces & CLONE_NEWNET) && !BringUpLoopback()) Fail(status, kLoopback);
  for (const auto& [path, value] : plan.sysctls) {
    if (!WriteSysctl(path.c_str(), value.data(), value.size())) Fail(status, kSysctl);
  }
  if (!LeaveFileSystem()) Fail(status, kRoot);
  if (!DropPrivileges()) Fail(status, kPrivileges);
  Report report{kReady, 0};
  if (write(status, &report, sizeof report) != sizeof report) _exit(1);
  syscall(SYS_close_range, 0, ~0u, 0);
  Hold();
}

}  // namespace

absl::StatusOr<PauseProcess> StartPause(const PausePlan& plan) {
  GANTRY_ASSIGN_OR_RETURN(base::Pipe status, base::MakePipe());
  int pidfd = -1;
  clone_args args{};
  args.flags = CLONE_PIDFD | CLONE_NEWNS | static_cast<uint64_t>(plan.new_namespaces);
  args.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  args.exit_signal = SIGCHLD;
  long pid = syscall(SYS_clone3, &args, sizeof args);
  if (pid < 0) return base::ErrnoStatus(errno, "clone the pause process with new namespaces");
  if (pid == 0) RunPause(plan, status.write.get());
  PauseProcess process{static_cast<pid_t>(pid), base::UniqueFd(pidfd)};
  status.write.Reset();
  Report report{};
  ssize_t n;
  do {
    n = read(status.read.get(), &report, sizeof report);
  } while (n < 0 && errno == EINTR);
  if (n == sizeof report && report.step == kReady) return process;
  // It ended, or is about to.
  kill(process.pid, SIGKILL);
  waitpid(process.pid, nullptr, __WALL);
  if (n != sizeof report) return absl::InternalError("the pause process ended at once");
  return base::ErrnoStatus(report.error, absl::StrCat("pause process: ", kStepNames[report.step]));
}

}  // namespace gantry::shim
