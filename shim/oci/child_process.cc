#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>

#include "shim/oci/child.h"

namespace gantry::oci {
namespace {

constexpr uint64_t kSysAdmin = uint64_t{1} << CAP_SYS_ADMIN;

int CapSet(uint64_t effective, uint64_t permitted, uint64_t inheritable) {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  for (int i = 0; i < 2; ++i) {
    data[i].effective = static_cast<uint32_t>(effective >> (32 * i));
    data[i].permitted = static_cast<uint32_t>(permitted >> (32 * i));
    data[i].inheritable = static_cast<uint32_t>(inheritable >> (32 * i));
  }
  return static_cast<int>(syscall(SYS_capset, &header, data));
}

uint64_t CapPermitted() {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  if (syscall(SYS_capget, &header, data) != 0) return 0;
  return data[0].permitted | (static_cast<uint64_t>(data[1].permitted) << 32);
}

// A filter without no_new_privs needs CAP_SYS_ADMIN at the moment it is loaded, which is last.
bool KeepsSysAdmin(const ProcessPlan& plan) { return !plan.seccomp.empty() && !plan.no_new_privs; }

void DropBounding(const ChildLink& link, uint64_t keep) {
  for (int cap = 0; cap <= 63; ++cap) {
    if ((keep >> cap) & 1) continue;
    if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0) {
      if (errno == EINVAL) return;  // beyond the last that this kernel knows
      link.Fail(Stage::kCapabilities, errno, "bounding set");
    }
  }
}

void RaiseAmbient(const ChildLink& link, uint64_t ambient) {
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  for (int cap = 0; cap <= 63; ++cap) {
    if (!((ambient >> cap) & 1)) continue;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) != 0) {
      link.Fail(Stage::kCapabilities, errno, "ambient set");
    }
  }
}

void SetRlimits(const ChildLink& link, const ProcessPlan& plan) {
  for (const Rlimit& limit : plan.rlimits) {
    rlimit value = {limit.soft, limit.hard};
    if (setrlimit(static_cast<__rlimit_resource>(limit.resource), &value) != 0) {
      link.Fail(Stage::kUser, errno, limit.name.c_str());
    }
  }
}

void ChangeUser(const ChildLink& link, const ProcessPlan& plan) {
  if (plan.set_groups && syscall(SYS_setgroups, plan.groups.size(), plan.groups.data()) != 0) {
    link.Fail(Stage::kGroups, errno, "additional groups");
  }
  if (syscall(SYS_setresgid, plan.gid, plan.gid, plan.gid) != 0) {
    link.Fail(Stage::kUser, errno, "gid", static_cast<int>(plan.gid));
  }
  if (syscall(SYS_setresuid, plan.uid, plan.uid, plan.uid) != 0) {
    link.Fail(Stage::kUser, errno, "uid", static_cast<int>(plan.uid));
  }
}

// Programs open /dev/stdout anew, which needs rights on the pipe behind it.
void OwnStdio(const ChildLink& link, const ProcessPlan& plan) {
  struct stat null;
  if (plan.uid == 0 || fstat(plan.dev_null.get(), &null) != 0) return;
  for (int fd = 0; fd < 3; ++fd) {
    struct stat st;
    if (fstat(fd, &st) != 0 || st.st_uid == plan.uid) continue;
    if (S_ISCHR(st.st_mode) && st.st_rdev == null.st_rdev) continue;
    if (fchown(fd, plan.uid, static_cast<gid_t>(-1)) == 0) continue;
    // Unmapped ids, sockets, read-only file systems: the program gets what it got.
    if (errno == EINVAL || errno == EPERM || errno == EROFS) continue;
    link.Fail(Stage::kStdio, errno, "owner of stdio");
  }
}

void SetUser(const ChildLink& link, const ProcessPlan& plan) {
  if (plan.caps) DropBounding(link, plan.caps->bounding);
  if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) link.Fail(Stage::kUser, errno, "keepcaps");
  SetRlimits(link, plan);
  ChangeUser(link, plan);
  prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
  // A change of ids makes a process dumpable again: CVE-2016-9962.
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

void SetCapabilities(const ChildLink& link, const ProcessPlan& plan) {
  if (!plan.caps) return;
  uint64_t available = CapPermitted();
  uint64_t extra = KeepsSysAdmin(plan) ? kSysAdmin & available : 0;
  // What the engine itself does not have cannot be given away; runc skips it the same way.
  uint64_t permitted = plan.caps->permitted & available;
  uint64_t effective = plan.caps->effective & permitted;
  uint64_t inheritable = plan.caps->inheritable & available;
  if (CapSet(effective | extra, permitted | extra, inheritable) != 0) {
    link.Fail(Stage::kCapabilities, errno, "capset");
  }
  RaiseAmbient(link, plan.caps->ambient & permitted & inheritable);
}

void DropExtra(const ChildLink& link, const ProcessPlan& plan) {
  if (!plan.caps || !KeepsSysAdmin(plan)) return;
  uint64_t permitted = plan.caps->permitted & CapPermitted();
  if (CapSet(plan.caps->effective & permitted, permitted, plan.caps->inheritable & permitted) !=
      0) {
    link.Fail(Stage::kCapabilities, errno, "capset");
  }
}

// A directory inside the container: no magic link leads to it (CVE-2024-21626) and the kernel
// agrees that it lies beneath our root.
void EnterCwd(const ChildLink& link, const ProcessPlan& plan) {
  const char* cwd = plan.cwd.c_str();
  int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (root < 0) link.Fail(Stage::kCwd, errno, "/");
  int dir = OpenInRoot(root, cwd, O_PATH | O_DIRECTORY);
  if (dir < 0) link.Fail(Stage::kCwd, errno == ELOOP ? kErrorCwdOutside : errno, cwd);
  if (fchdir(dir) != 0) link.Fail(Stage::kCwd, errno, cwd);
  char where[PATH_MAX];
  long length = syscall(SYS_getcwd, where, sizeof where);
  if (length <= 0 || where[0] != '/') link.Fail(Stage::kCwd, kErrorCwdOutside, cwd);
  close(dir);
  close(root);
}

// 0 when `path` can be executed as far as file modes tell.
int CheckProgram(const char* path) {
  struct stat st;
  if (stat(path, &st) != 0) return errno;  // path: the container's, by the container's own process
  if (S_ISDIR(st.st_mode)) return EISDIR;
  if (faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) != 0) return errno;
  return 0;
}

bool JoinPath(const char* dir, size_t length, const char* name, char* out) {
  if (length == 0) {
    dir = ".";
    length = 1;
  }
  if (length + 1 + strlen(name) >= PATH_MAX) return false;
  memcpy(out, dir, length);
  out[length] = '/';
  strcpy(out + length + 1, name);
  return true;
}

void FindProgram(const ChildLink& link, const ProcessPlan& plan, char* program) {
  const char* name = plan.argv[0].c_str();
  if (strlen(name) >= PATH_MAX) link.Fail(Stage::kLookup, ENAMETOOLONG, name);
  if (strchr(name, '/') != nullptr) {
    int error = CheckProgram(name);
    if (error != 0) link.Fail(Stage::kLookup, error, name);
    strcpy(program, name);
    return;
  }
  int error = kErrorNotInPath;
  const char* dir = plan.search_path.c_str();
  while (*name != '\0') {
    size_t length = strcspn(dir, ":");
    if (JoinPath(dir, length, name, program)) {
      int found = CheckProgram(program);
      if (found == 0) return;
      if (found == EACCES) error = EACCES;
    }
    if (dir[length] == '\0') break;
    dir += length + 1;
  }
  link.Fail(Stage::kLookup, error, name);
}

// The sixth of the colon-separated fields of the first line whose third is `uid`.
bool HomeInLine(char* line, uid_t uid, char* home) {
  char* fields[7] = {line};
  int count = 1;
  for (char* c = line; *c != '\0' && count < 7; ++c) {
    if (*c != ':') continue;
    *c = '\0';
    fields[count++] = c + 1;
  }
  if (count < 6 || fields[2][0] < '0' || fields[2][0] > '9') return false;
  char* end = nullptr;
  unsigned long number = strtoul(fields[2], &end, 10);
  if (*end != '\0' || number != uid || fields[5][0] == '\0') return false;
  if (strlen(fields[5]) >= PATH_MAX) return false;
  strcpy(home, fields[5]);
  return true;
}

// Reads at most 1 MiB of a regular file: it is the image's (CVE-2026-47262).
void FillHome(const ProcessPlan& plan) {
  if (!plan.home_slot) return;
  char* home = const_cast<char*>(plan.env[plan.env.size() - 1].data()) + 5;
  int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  int fd = OpenInRoot(root, "/etc/passwd", O_RDONLY | O_NONBLOCK | O_NOCTTY);
  close(root);
  struct stat st;
  if (fd < 0) return;
  char buffer[PATH_MAX + 512];
  size_t used = 0, total = 0;
  bool found = fstat(fd, &st) != 0 || !S_ISREG(st.st_mode);
  while (!found && total < (1u << 20)) {
    ssize_t n = read(fd, buffer + used, sizeof buffer - 1 - used);
    if (n <= 0 && used == 0) break;
    total += n > 0 ? static_cast<size_t>(n) : 0;
    used += n > 0 ? static_cast<size_t>(n) : 0;
    char* newline = static_cast<char*>(memchr(buffer, '\n', used));
    if (newline == nullptr && n > 0 && used < sizeof buffer - 1) continue;
    size_t line = newline != nullptr ? static_cast<size_t>(newline - buffer) : used;
    buffer[line] = '\0';
    found = HomeInLine(buffer, plan.uid, home);
    size_t eaten = newline != nullptr ? line + 1 : used;
    memmove(buffer, buffer + eaten, used - eaten);
    used -= eaten;
  }
  close(fd);
}

void WriteLabel(const ChildLink& link, const char* path, const std::string& value) {
  if (value.empty()) return;
  int fd = open(path, O_WRONLY | O_CLOEXEC);  // path: a constant; what is there is checked
  struct statfs fs;
  if (fd < 0 || fstatfs(fd, &fs) != 0) link.Fail(Stage::kLabel, errno, value.c_str());
  if (fs.f_type != PROC_SUPER_MAGIC) link.Fail(Stage::kLabel, kErrorNotProcfs, value.c_str());
  if (write(fd, value.data(), value.size()) != static_cast<ssize_t>(value.size())) {
    link.Fail(Stage::kLabel, errno, value.c_str());
  }
  close(fd);
}

// Moves `link`'s socket and the wanted descriptors out of the way first, so that no dup2 hits a
// source of a later one.
void PlaceDescriptors(ChildLink* link, const ProcessPlan& plan, int terminal) {
  int keep = 3 + static_cast<int>(plan.preserve_fds.size());
  int base = keep + 1;
  int sock = fcntl(link->sock(), F_DUPFD_CLOEXEC, base);
  if (sock < 0) link->Fail(Stage::kDescriptors, errno, "socket");
  link->set_sock(sock);
  constexpr int kMost = 3 + 1024;
  int sources[kMost];
  if (keep > kMost) link->Fail(Stage::kDescriptors, EMFILE, "preserved descriptors");
  for (int i = 0; i < keep; ++i) {
    int from = i >= 3            ? plan.preserve_fds[static_cast<size_t>(i - 3)]
               : terminal >= 0   ? terminal
               : plan.io[i] >= 0 ? plan.io[i]
                                 : plan.dev_null.get();
    sources[i] = fcntl(from, F_DUPFD_CLOEXEC, base);
    if (sources[i] < 0) link->Fail(Stage::kDescriptors, errno, "stdio");
  }
  for (int i = 0; i < keep; ++i) {
    if (dup2(sources[i], i) < 0) link->Fail(Stage::kDescriptors, errno, "stdio");
  }
}

// Now, not at execve: until then /proc/self/fd/N would lead to what the engine and its caller hold
// of the host, as a working directory or as the program (CVE-2024-21626). Sockets lead nowhere.
void CloseOthers(const ChildLink& link, const ProcessPlan& plan, int listener) {
  int first = 3 + static_cast<int>(plan.preserve_fds.size());
  for (int kept : {std::min(listener, link.sock()), std::max(listener, link.sock()), INT_MAX}) {
    if (first < kept && syscall(SYS_close_range, first, kept - 1, 0u) != 0) {
      link.Fail(Stage::kDescriptors, errno, "close_range");
    }
    if (kept >= first && kept < INT_MAX) first = kept + 1;
  }
}

void ResetSignals() {
  struct sigaction standard = {};
  standard.sa_handler = SIG_DFL;
  for (int number = 1; number < 65; ++number) sigaction(number, &standard, nullptr);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

// Sends the notification descriptor away. A thread of its own, because the filter, which is a
// thread's, may hold back every system call of the one that loaded it. execve ends it.
class ListenerSender {
 public:
  explicit ListenerSender(const ChildLink& link) : link_(link) {
    int flags = CLONE_VM | CLONE_FILES | CLONE_FS | CLONE_SIGHAND | CLONE_THREAD;
    if (clone(&ListenerSender::Run, stack_ + sizeof stack_, flags, this) < 0) {
      link.Fail(Stage::kSeccomp, errno, "listener");
    }
  }
  // No system call in here.
  void Finish(long fd) {
    fd_.store(static_cast<int>(fd));
    while (!done_.load()) {
    }
  }

 private:
  static constexpr int kUnknown = -2;
  static int Run(void* self) {
    auto* sender = static_cast<ListenerSender*>(self);
    timespec pause = {0, 20000};
    while (sender->fd_.load() == kUnknown) nanosleep(&pause, nullptr);
    if (sender->fd_.load() >= 0) sender->link_.Send(ReportKind::kListener, 0, sender->fd_.load());
    sender->done_.store(true);
    return 0;
  }

  const ChildLink& link_;
  std::atomic<int> fd_{kUnknown};
  std::atomic<bool> done_{false};
  alignas(16) char stack_[16384];
};

void LoadSeccomp(const ChildLink& link, const ProcessPlan& plan) {
  if (plan.seccomp.empty()) return;
  sock_fprog filter = {static_cast<unsigned short>(plan.seccomp.size()),
                       const_cast<sock_filter*>(plan.seccomp.data())};
  auto load = [&] {
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, plan.seccomp_flags, &filter);
  };
  long result;
  if ((plan.seccomp_flags & SECCOMP_FILTER_FLAG_NEW_LISTENER) != 0) {
    ListenerSender sender(link);
    result = load();
    int error = errno;
    sender.Finish(result);
    errno = error;
  } else {
    result = load();
  }
  if (result < 0) link.Fail(Stage::kSeccomp, errno, "filter");
}

}  // namespace

void OpenStdio(ChildLink* link, const ProcessPlan& plan, int terminal, int listener) {
  PlaceDescriptors(link, plan, terminal);
  if (terminal >= 0 && ioctl(0, TIOCSCTTY, 0) != 0) link->Fail(Stage::kConsole, errno, "TIOCSCTTY");
  OwnStdio(*link, plan);
  CloseOthers(*link, plan, listener);
}

void PrepareProcess(const ChildLink& link, const ProcessPlan& plan, char* program) {
  if (plan.personality && personality(*plan.personality) < 0) {
    link.Fail(Stage::kPersonality, errno, "personality");
  }
  ApplyTuning(link, plan);
  EnterCwd(link, plan);
  FillHome(plan);
  umask(plan.umask);
  SetUser(link, plan);
  SetCapabilities(link, plan);
  if (plan.no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    link.Fail(Stage::kCapabilities, errno, "no_new_privs");
  }
  FindProgram(link, plan, program);
}

void ExecuteProgram(const ChildLink& link, const ProcessPlan& plan, const char* program) {
  ResetSignals();
  WriteLabel(link, "/proc/self/attr/apparmor/exec", plan.apparmor_exec);
  WriteLabel(link, "/proc/self/attr/exec", plan.selinux_exec);
  // Everything above stdio and what was asked for closes at execve at the latest.
  unsigned first = 3 + static_cast<unsigned>(plan.preserve_fds.size());
  if (syscall(SYS_close_range, first, ~0u, CLOSE_RANGE_CLOEXEC) != 0) {
    link.Fail(Stage::kDescriptors, errno, "close_range");
  }
  LoadSeccomp(link, plan);
  DropExtra(link, plan);
  execve(program, plan.argv.data(), plan.env.data());
  link.Fail(Stage::kExec, errno, program);
}

}  // namespace gantry::oci
