// The layer between our objects and the kernel. What runs between clone and execve must not
// allocate here either.

#include "tests/security/mistakes.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <string>

namespace gantry::tests {
namespace {

Mistake chosen = Mistake::kNone;
pid_t chooser = 0;
int last_root = -1;       // of openat2
int pretended_null = -1;  // to be taken for the host's /dev/null
int passwd_file = -1;     // to be taken for a regular file

[[gnu::constructor]] void ChooseFromEnvironment() {
  const char* number = getenv("GANTRY_MISTAKE");
  if (number == nullptr) return;
  chosen = static_cast<Mistake>(atoi(number));
  chooser = getpid();
}

// As code that joins strings sees it.
long OpenByJoining(long root, const char* path, const open_how& how) {
  while (*path == '/') ++path;
  return openat(static_cast<int>(root), *path == '\0' ? "." : path, static_cast<int>(how.flags),
                static_cast<mode_t>(how.mode));
}

bool IsPasswd(const char* path) {
  return strcmp(path, "/etc/passwd") == 0 || strcmp(path, "etc/passwd") == 0;
}

}  // namespace

void Make(Mistake mistake) {
  chosen = mistake;
  chooser = getpid();
  setenv("GANTRY_MISTAKE", std::to_string(static_cast<int>(mistake)).c_str(), 1);
}

bool Makes(Mistake mistake) { return chosen == mistake; }
bool ChildMakes(Mistake mistake) { return chosen == mistake && getpid() != chooser; }

extern "C" {

long __real_syscall(long number, ...);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f);
int __real_prctl(int option, ...);
int __wrap_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);
ssize_t __real_readlink(const char* path, char* buffer, size_t size);
ssize_t __wrap_readlink(const char* path, char* buffer, size_t size);
int __real_open(const char* path, int flags, ...);
int __wrap_open(const char* path, int flags, unsigned mode);
int __real_fstat(int fd, struct stat* st);
int __wrap_fstat(int fd, struct stat* st);
int __real_mount_setattr(int fd, const char* path, unsigned flags, mount_attr* attr, size_t size);
int __wrap_mount_setattr(int fd, const char* path, unsigned flags, mount_attr* attr, size_t size);
int __real_getsockopt(int fd, int level, int name, void* value, socklen_t* size);
int __wrap_getsockopt(int fd, int level, int name, void* value, socklen_t* size);

static long WrapOpenat2(long root, const char* path, open_how how, long size) {
  last_root = static_cast<int>(root);
  bool passwd = IsPasswd(path);
  if (passwd && Makes(Mistake::kFilesOfAnyKind)) how.flags &= ~uint64_t{O_NONBLOCK};
  if (ChildMakes(Mistake::kKernelFsOverLinks)) how.resolve &= ~uint64_t{RESOLVE_NO_SYMLINKS};
  bool joins = ChildMakes(Mistake::kFollowsLinksOut) || ChildMakes(Mistake::kAnyWorkingDirectory) ||
               (passwd && Makes(Mistake::kPasswdThroughLinks)) || Makes(Mistake::kJoinsPaths);
  long fd =
      joins ? OpenByJoining(root, path, how) : __real_syscall(SYS_openat2, root, path, &how, size);
  if (passwd) passwd_file = static_cast<int>(fd);
  return fd;
}

long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f) {
  if (number == SYS_openat2) {
    return WrapOpenat2(a, reinterpret_cast<const char*>(b), *reinterpret_cast<const open_how*>(c),
                       d);
  }
  if (number == SYS_getcwd && ChildMakes(Mistake::kAnyWorkingDirectory)) {
    strcpy(reinterpret_cast<char*>(a), "/");
    return 2;
  }
  bool leaks = ChildMakes(Mistake::kLeaksDescriptors) || ChildMakes(Mistake::kAnyWorkingDirectory);
  if (number == SYS_close_range && leaks) return 0;
  return __real_syscall(number, a, b, c, d, e, f);
}

int __wrap_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d) {
  if (option == PR_SET_DUMPABLE && ChildMakes(Mistake::kDumpable)) a = 1;
  return __real_prctl(option, a, b, c, d);
}

ssize_t __wrap_readlink(const char* path, char* buffer, size_t size) {
  if (ChildMakes(Mistake::kMountsOverProc) && strncmp(path, "/proc/self/fd/", 14) == 0) {
    memcpy(buffer, "/elsewhere", 10);
    return 10;
  }
  return __real_readlink(path, buffer, size);
}

int __wrap_open(const char* path, int flags, unsigned mode) {
  if (ChildMakes(Mistake::kContainersDevNull) && strcmp(path, "/dev/null") == 0) {
    open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT};
    long fd = __real_syscall(SYS_openat2, last_root, "dev/null", &how, sizeof how);
    return pretended_null = static_cast<int>(fd);
  }
  return __real_open(path, flags, mode);
}

int __wrap_fstat(int fd, struct stat* st) {
  int result = __real_fstat(fd, st);
  if (result != 0) return result;
  if (ChildMakes(Mistake::kContainersDevNull) && fd == pretended_null) {
    st->st_mode = S_IFCHR | 0666;
    st->st_rdev = makedev(1, 3);
  }
  if (Makes(Mistake::kFilesOfAnyKind) && fd == passwd_file) {
    st->st_mode = S_IFREG | 0644;
    st->st_size = 1;
  }
  return result;
}

int __wrap_mount_setattr(int fd, const char* path, unsigned flags, mount_attr* attr, size_t size) {
  bool readonly = (attr->attr_set & MOUNT_ATTR_RDONLY) != 0;
  if (Makes(Mistake::kReadonlyAtTopOnly) && readonly) flags &= ~unsigned{AT_RECURSIVE};
  return __real_mount_setattr(fd, path, flags, attr, size);
}

int __wrap_getsockopt(int fd, int level, int name, void* value, socklen_t* size) {
  int result = __real_getsockopt(fd, level, name, value, size);
  if (Makes(Mistake::kTrustsEveryPeer) && level == SOL_SOCKET && name == SO_PEERCRED) {
    static_cast<ucred*>(value)->uid = 0;
  }
  return result;
}

}  // extern "C"
}  // namespace gantry::tests
