#include "base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/ids.h"
#include "base/status.h"

namespace gantry::base {
namespace {

bool IsSingleName(absl::string_view name) {
  return !name.empty() && name != "." && name != ".." && !absl::StrContains(name, '/') &&
         name.find('\0') == absl::string_view::npos;
}

absl::StatusOr<UniqueFd> OpenAt2(int dir_fd, const std::string& path, int flags, mode_t mode,
                                 uint64_t resolve) {
  if (path.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError("path contains a NUL byte");
  }
  open_how how = {};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
  how.mode = (flags & (O_CREAT | __O_TMPFILE)) ? mode : 0;
  how.resolve = resolve;
  // EAGAIN means that a rename or mount raced with the walk (openat2(2)); bounded retries.
  for (int attempt = 0; attempt < 128; ++attempt) {
    int fd = static_cast<int>(syscall(SYS_openat2, dir_fd, path.c_str(), &how, sizeof how));
    if (fd >= 0) return UniqueFd(fd);
    if (errno != EAGAIN && errno != EINTR) break;
  }
  return ErrnoStatus(errno, absl::StrCat("open ", path));
}

absl::Status RemoveContents(UniqueFd dir);

absl::Status RemoveEntry(int dir_fd, const std::string& name) {
  if (unlinkat(dir_fd, name.c_str(), 0) == 0 || errno == ENOENT) return absl::OkStatus();
  if (errno != EISDIR && errno != EPERM) return ErrnoStatus(errno, absl::StrCat("unlink ", name));
  auto child = OpenAt2(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0,
                       RESOLVE_NO_XDEV | RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
  if (!child.ok()) {
    if (ErrnoOf(child.status()) == EXDEV) {
      return ErrnoStatus(EBUSY, absl::StrCat("remove ", name, ": something is mounted there"));
    }
    return child.status();
  }
  GANTRY_RETURN_IF_ERROR(Annotate(RemoveContents(*std::move(child)), name));
  if (unlinkat(dir_fd, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) {
    return ErrnoStatus(errno, absl::StrCat("rmdir ", name));
  }
  return absl::OkStatus();
}

absl::Status RemoveContents(UniqueFd dir) {
  GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> names, ListDirFd(dir.get()));
  for (const std::string& name : names) {
    GANTRY_RETURN_IF_ERROR(RemoveEntry(dir.get(), name));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<UniqueFd> Open(const std::string& path, int flags, mode_t mode) {
  int fd;
  do {
    fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return ErrnoStatus(errno, absl::StrCat("open ", path));
  return UniqueFd(fd);
}

absl::StatusOr<UniqueFd> OpenChild(int dir_fd, absl::string_view name, int flags, mode_t mode) {
  if (!IsSingleName(name)) {
    return absl::InvalidArgumentError(absl::StrCat("not a file name: \"", name, "\""));
  }
  int fd;
  do {
    fd = ::openat(dir_fd, std::string(name).c_str(), flags | O_CLOEXEC | O_NOFOLLOW, mode);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return ErrnoStatus(errno, absl::StrCat("open ", name));
  return UniqueFd(fd);
}

absl::StatusOr<UniqueFd> OpenUnder(int dir_fd, const std::string& path, int flags, mode_t mode,
                                   Resolve resolve) {
  uint64_t bits = RESOLVE_NO_MAGICLINKS;
  switch (resolve) {
    case Resolve::kInRoot:
      bits |= RESOLVE_IN_ROOT;
      break;
    case Resolve::kBeneath:
      bits |= RESOLVE_BENEATH;
      break;
    case Resolve::kNoSymlinks:
      bits |= RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
      break;
  }
  return OpenAt2(dir_fd, path.empty() ? "." : path, flags, mode, bits);
}

absl::StatusOr<UniqueFd> MakeDirsUnder(int root_fd, absl::string_view path, mode_t mode, uid_t uid,
                                       gid_t gid) {
  // The path as seen so far, from the root; each step is resolved again from root_fd, so a swapped
  // component can redirect only inside the root.
  std::string sofar = ".";
  GANTRY_ASSIGN_OR_RETURN(UniqueFd current, OpenUnder(root_fd, ".", O_PATH | O_DIRECTORY));
  for (absl::string_view part : absl::StrSplit(path, '/', absl::SkipEmpty())) {
    if (part == ".") continue;
    absl::StrAppend(&sofar, "/", part);
    auto next = OpenUnder(root_fd, sofar, O_PATH | O_DIRECTORY);
    if (!next.ok() && ErrnoOf(next.status()) == ENOENT) {
      if (part == "..") return next.status();
      if (mkdirat(current.get(), std::string(part).c_str(), mode) == 0) {
        GANTRY_ASSIGN_OR_RETURN(
            UniqueFd made, OpenUnder(current.get(), std::string(part),
                                     O_PATH | O_DIRECTORY | O_NOFOLLOW, 0, Resolve::kNoSymlinks));
        if ((uid != 0 || gid != 0) && fchownat(made.get(), "", uid, gid, AT_EMPTY_PATH) != 0) {
          return ErrnoStatus(errno, absl::StrCat("chown ", sofar));
        }
      } else if (errno != EEXIST) {
        return ErrnoStatus(errno, absl::StrCat("mkdir ", sofar));
      }
      next = OpenUnder(root_fd, sofar, O_PATH | O_DIRECTORY);
    }
    if (!next.ok()) return Annotate(next.status(), "make directory");
    current = *std::move(next);
  }
  return current;
}

absl::StatusOr<std::string> ReadFd(int fd, size_t limit) {
  std::string data;
  char buffer[65536];
  while (true) {
    ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, "read");
    }
    if (n == 0) return data;
    if (data.size() + static_cast<size_t>(n) > limit) {
      return absl::ResourceExhaustedError(absl::StrCat("more than ", limit, " bytes"));
    }
    data.append(buffer, static_cast<size_t>(n));
  }
}

absl::StatusOr<std::string> ReadFile(const std::string& path, size_t limit) {
  GANTRY_ASSIGN_OR_RETURN(UniqueFd fd, Open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY));
  struct stat st;
  if (fstat(fd.get(), &st) != 0) return ErrnoStatus(errno, absl::StrCat("stat ", path));
  if (!S_ISREG(st.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat("read ", path, ": not a regular file"));
  }
  auto data = ReadFd(fd.get(), limit);
  if (!data.ok()) return Annotate(data.status(), absl::StrCat("read ", path));
  return data;
}

absl::Status WriteAll(int fd, absl::string_view data) {
  while (!data.empty()) {
    ssize_t n = ::write(fd, data.data(), data.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, "write");
    }
    data.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

absl::Status WriteFile(const std::string& path, absl::string_view data, mode_t mode) {
  GANTRY_ASSIGN_OR_RETURN(UniqueFd fd, Open(path, O_WRONLY | O_CREAT | O_TRUNC, mode));
  return Annotate(WriteAll(fd.get(), data), path);
}

absl::Status ReplaceFile(const std::string& path, absl::string_view data, mode_t mode,
                         Durability durability) {
  std::string temporary = absl::StrCat(path, ".", RandomHex(6), ".tmp");
  GANTRY_ASSIGN_OR_RETURN(UniqueFd fd, Open(temporary, O_WRONLY | O_CREAT | O_EXCL, mode));
  absl::Cleanup remove = [&temporary] { ::unlink(temporary.c_str()); };
  GANTRY_RETURN_IF_ERROR(Annotate(WriteAll(fd.get(), data), temporary));
  if (durability == Durability::kSync) GANTRY_RETURN_IF_ERROR(SyncFd(fd.get()));
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    return ErrnoStatus(errno, absl::StrCat("rename to ", path));
  }
  std::move(remove).Cancel();
  if (durability == Durability::kSync) {
    size_t slash = path.rfind('/');
    return SyncDir(slash == std::string::npos ? "." : path.substr(0, slash + 1));
  }
  return absl::OkStatus();
}

absl::Status SyncFd(int fd) {
  if (::fdatasync(fd) != 0) return ErrnoStatus(errno, "fdatasync");
  return absl::OkStatus();
}

absl::Status SyncDir(const std::string& path) {
  GANTRY_ASSIGN_OR_RETURN(UniqueFd fd, Open(path, O_RDONLY | O_DIRECTORY));
  if (::fsync(fd.get()) != 0) return ErrnoStatus(errno, absl::StrCat("fsync ", path));
  return absl::OkStatus();
}

absl::Status MakeDirs(const std::string& path, mode_t mode) {
  if (::mkdir(path.c_str(), mode) == 0 || errno == EEXIST) return absl::OkStatus();
  if (errno != ENOENT) return ErrnoStatus(errno, absl::StrCat("mkdir ", path));
  size_t slash = path.find_last_not_of('/');
  slash = path.rfind('/', slash);
  if (slash == std::string::npos || slash == 0)
    return ErrnoStatus(ENOENT, absl::StrCat("mkdir ", path));
  GANTRY_RETURN_IF_ERROR(MakeDirs(path.substr(0, slash), mode));
  if (::mkdir(path.c_str(), mode) != 0 && errno != EEXIST) {
    return ErrnoStatus(errno, absl::StrCat("mkdir ", path));
  }
  return absl::OkStatus();
}

absl::Status EnsurePrivateDir(const std::string& path, mode_t mode) {
  GANTRY_RETURN_IF_ERROR(MakeDirs(path, mode));
  GANTRY_ASSIGN_OR_RETURN(UniqueFd fd, Open(path, O_RDONLY | O_DIRECTORY));
  struct stat st;
  if (fstat(fd.get(), &st) != 0) return ErrnoStatus(errno, absl::StrCat("stat ", path));
  if (st.st_uid != geteuid() && fchown(fd.get(), geteuid(), getegid()) != 0) {
    return ErrnoStatus(errno, absl::StrCat("chown ", path));
  }
  if ((st.st_mode & 07777) != mode && fchmod(fd.get(), mode) != 0) {
    return ErrnoStatus(errno, absl::StrCat("chmod ", path));
  }
  return absl::OkStatus();
}

bool Exists(const std::string& path) {
  return ::faccessat(AT_FDCWD, path.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

absl::StatusOr<std::vector<std::string>> ListDirFd(int dir_fd) {
  int copy = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (copy < 0) return ErrnoStatus(errno, "open directory");
  DIR* dir = fdopendir(copy);
  if (dir == nullptr) {
    ::close(copy);
    return ErrnoStatus(errno, "open directory");
  }
  absl::Cleanup close = [dir] { closedir(dir); };
  std::vector<std::string> names;
  while (true) {
    errno = 0;
    dirent* entry = readdir(dir);
    if (entry == nullptr) {
      if (errno != 0) return ErrnoStatus(errno, "read directory");
      return names;
    }
    absl::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
}

absl::StatusOr<std::vector<std::string>> ListDir(const std::string& path) {
  GANTRY_ASSIGN_OR_RETURN(UniqueFd fd, Open(path, O_RDONLY | O_DIRECTORY));
  auto names = ListDirFd(fd.get());
  if (!names.ok()) return Annotate(names.status(), path);
  return names;
}

absl::Status RemoveTreeAt(int dir_fd, const std::string& name) {
  if (!IsSingleName(name))
    return absl::InvalidArgumentError(absl::StrCat("not a file name: ", name));
  return RemoveEntry(dir_fd, name);
}

absl::Status RemoveTree(const std::string& path) {
  size_t end = path.find_last_not_of('/');
  if (end == std::string::npos) return absl::InvalidArgumentError("refusing to remove /");
  std::string trimmed = path.substr(0, end + 1);
  size_t slash = trimmed.rfind('/');
  std::string parent = slash == std::string::npos ? "." : trimmed.substr(0, slash + 1);
  auto dir = Open(parent, O_RDONLY | O_DIRECTORY);
  if (!dir.ok()) return absl::IsNotFound(dir.status()) ? absl::OkStatus() : dir.status();
  return Annotate(RemoveTreeAt(dir->get(), trimmed.substr(slash + 1)),
                  absl::StrCat("remove ", path));
}

absl::StatusOr<Pipe> MakePipe(int flags) {
  int fds[2];
  if (::pipe2(fds, flags | O_CLOEXEC) != 0) return ErrnoStatus(errno, "pipe");
  return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

}  // namespace gantry::base
