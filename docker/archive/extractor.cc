#include "docker/archive/extractor.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/status.h"
#include "docker/archive/path_stat.h"

namespace gantry::docker {
namespace {

using archive::TarEntry;
using archive::TarType;

constexpr size_t kMaxDirectories = 1'000'000;
constexpr mode_t kImpliedMode = 0755;

std::string ProcPath(int fd) { return absl::StrCat("/proc/self/fd/", fd); }

bool IsDirAt(int parent, const std::string& name, bool* exists) {
  struct stat st = {};
  *exists = fstatat(parent, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0;
  return *exists && S_ISDIR(st.st_mode);
}

mode_t TypeBits(TarType type) {
  return type == TarType::kCharDevice ? S_IFCHR : type == TarType::kBlockDevice ? S_IFBLK : S_IFIFO;
}

uint64_t MountIdOf(int fd) {
  struct statx info = {};
  return statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &info) == 0 ? info.stx_mnt_id : 0;
}

}  // namespace

absl::Status ReadOnlyError(int root_fd, int fd) {
  return absl::PermissionDeniedError(MountIdOf(root_fd) == MountIdOf(fd)
                                         ? "container rootfs is marked read-only"
                                         : "mounted volume is marked read-only");
}

Extractor::Extractor(int root_fd, std::string directory, const ExtractOptions& options)
    : root_fd_(root_fd), directory_(std::move(directory)), options_(options) {}

absl::StatusOr<std::string> Extractor::PathOf(absl::string_view name) const {
  std::vector<absl::string_view> parts;
  for (absl::string_view part : absl::StrSplit(name, '/', absl::SkipEmpty())) {
    if (part == "..") {
      if (parts.empty()) {
        return absl::InvalidArgumentError(
            absl::StrCat("\"", name, "\" is outside of \"", directory_, "\""));
      }
      parts.pop_back();
    } else if (part != ".") {
      parts.push_back(part);
    }
  }
  return absl::StrJoin(parts, "/");
}

absl::StatusOr<Extractor::Place> Extractor::Open(const std::string& path) {
  Place place;
  const size_t slash = path.rfind('/');
  const std::string parent =
      absl::StrCat(directory_, "/", slash == std::string::npos ? "" : path.substr(0, slash));
  place.name = slash == std::string::npos ? path : path.substr(slash + 1);
  place.path = absl::StrCat(directory_, "/", path);
  auto fd = base::OpenUnder(root_fd_, parent, O_PATH | O_DIRECTORY);
  if (!fd.ok() && base::ErrnoOf(fd.status()) == ENOENT) {
    const auto [uid, gid] = options_.owner.value_or(std::make_pair(0u, 0u));
    fd = base::MakeDirsUnder(root_fd_, parent, kImpliedMode, uid, gid);
  }
  GANTRY_RETURN_IF_ERROR(fd.status());
  place.parent = *std::move(fd);
  if (IsKernelFileSystem(place.parent.get())) {
    return absl::PermissionDeniedError(
        absl::StrCat("refusing to write into a file system of the kernel: ", place.path));
  }
  return place;
}

// Removes what must go so that the entry can be made.
absl::Status Extractor::MakeRoom(const Place& place, const TarEntry& entry) {
  bool exists = false;
  const bool is_dir = IsDirAt(place.parent.get(), place.name, &exists);
  if (!exists) return absl::OkStatus();
  const bool want_dir = entry.type == TarType::kDirectory;
  if (is_dir && want_dir) return absl::OkStatus();
  if (options_.no_overwrite_dir_non_dir && is_dir && !want_dir) {
    return absl::InvalidArgumentError(absl::StrCat("cannot overwrite directory \"", place.path,
                                                   "\" with non-directory \"", directory_, "\""));
  }
  if (options_.no_overwrite_dir_non_dir && !is_dir && want_dir) {
    return absl::InvalidArgumentError(absl::StrCat("cannot overwrite non-directory \"", place.path,
                                                   "\" with directory \"", directory_, "\""));
  }
  // RemoveTreeAt wants a descriptor that can be listed.
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd parent,
                          base::OpenUnder(place.parent.get(), ".", O_RDONLY | O_DIRECTORY));
  absl::Status removed = base::RemoveTreeAt(parent.get(), place.name);
  if (base::ErrnoOf(removed) == EROFS) return ReadOnlyError(root_fd_, place.parent.get());
  return removed;
}

absl::Status Extractor::SetAttributes(int fd, const TarEntry& entry) {
  const std::string path = ProcPath(fd);
  const auto [uid, gid] = options_.owner.value_or(std::make_pair(entry.uid, entry.gid));
  if (fchownat(fd, "", uid, gid, AT_EMPTY_PATH) != 0) {
    return base::ErrnoStatus(errno, absl::StrCat("chown ", entry.name));
  }
  if (entry.type == TarType::kSymlink) return absl::OkStatus();
  if (chmod(path.c_str(), entry.mode & 07777) != 0) {
    return base::ErrnoStatus(errno, absl::StrCat("chmod ", entry.name));
  }
  for (const auto& [key, value] : entry.xattrs) {
    if (key != "security.capability" && !absl::StartsWith(key, "user.")) continue;
    if (setxattr(path.c_str(), key.c_str(), value.data(), value.size(), 0) != 0 &&
        errno != ENOTSUP && errno != EPERM) {
      return base::ErrnoStatus(errno, absl::StrCat("set ", key, " of ", entry.name));
    }
  }
  return absl::OkStatus();
}

absl::Status Extractor::CreateLink(const Place& place, const TarEntry& entry) {
  if (entry.type == TarType::kSymlink) {
    if (symlinkat(entry.link_name.c_str(), place.parent.get(), place.name.c_str()) != 0) {
      return base::ErrnoStatus(errno, absl::StrCat("symlink ", place.path));
    }
    return absl::OkStatus();
  }
  GANTRY_ASSIGN_OR_RETURN(const std::string target, PathOf(entry.link_name));
  GANTRY_ASSIGN_OR_RETURN(Place from, Open(target));
  if (from.name.empty()) return absl::InvalidArgumentError("hard link to a directory");
  if (linkat(from.parent.get(), from.name.c_str(), place.parent.get(), place.name.c_str(), 0) !=
      0) {
    return base::ErrnoStatus(errno, absl::StrCat("link ", place.path, " to ", from.path));
  }
  return absl::OkStatus();
}

absl::Status Extractor::Create(const Place& place, const TarEntry& entry) {
  const int parent = place.parent.get();
  const char* name = place.name.c_str();
  auto failed = [&](absl::string_view what) {
    const int error = errno;
    if (error == EROFS) return ReadOnlyError(root_fd_, parent);
    return base::ErrnoStatus(error, absl::StrCat(what, " ", place.path));
  };
  base::UniqueFd fd;
  switch (entry.type) {
    case TarType::kRegular: {
      fd.Reset(openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
      if (!fd.valid()) return failed("create");
      file_ = std::move(fd);
      return absl::OkStatus();  // attributes come after the content
    }
    case TarType::kDirectory:
      if (mkdirat(parent, name, 0700) != 0 && errno != EEXIST) return failed("mkdir");
      break;
    case TarType::kSymlink:
    case TarType::kHardLink: {
      absl::Status linked = CreateLink(place, entry);
      if (base::ErrnoOf(linked) == EROFS) return ReadOnlyError(root_fd_, parent);
      if (!linked.ok() || entry.type == TarType::kHardLink) return linked;
      break;
    }
    default:
      if (mknodat(parent, name, TypeBits(entry.type) | 0600,
                  makedev(entry.dev_major, entry.dev_minor)) != 0) {
        return failed("make");
      }
  }
  fd.Reset(openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) return failed("open");
  GANTRY_RETURN_IF_ERROR(SetAttributes(fd.get(), entry));
  if (entry.type == TarType::kDirectory) {
    if (directory_times_.size() < kMaxDirectories) {
      directory_times_.emplace_back(place.path, entry.mtime);
    }
    return absl::OkStatus();
  }
  const timespec times[2] = {{0, UTIME_OMIT}, entry.mtime};
  (void)utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW);  // best effort, as tar does
  return absl::OkStatus();
}

absl::Status Extractor::OnEntry(const TarEntry& entry) {
  entry_ = entry;
  GANTRY_ASSIGN_OR_RETURN(const std::string path, PathOf(entry.name));
  // The directory itself: it is there, and stays as it is.
  if (path.empty()) return absl::OkStatus();
  GANTRY_ASSIGN_OR_RETURN(Place place, Open(path));
  GANTRY_RETURN_IF_ERROR(MakeRoom(place, entry));
  return Create(place, entry);
}

absl::Status Extractor::OnData(int64_t offset, absl::string_view data) {
  if (!file_.valid()) return absl::OkStatus();
  while (!data.empty()) {
    const ssize_t n = pwrite(file_.get(), data.data(), data.size(), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return base::ErrnoStatus(errno, absl::StrCat("write ", entry_.name));
    data.remove_prefix(static_cast<size_t>(n));
    offset += n;
  }
  return absl::OkStatus();
}

absl::Status Extractor::OnEntryEnd() {
  if (!file_.valid()) return absl::OkStatus();
  base::UniqueFd file = std::move(file_);
  if (ftruncate(file.get(), entry_.size) != 0) {
    return base::ErrnoStatus(errno, absl::StrCat("truncate ", entry_.name));
  }
  GANTRY_RETURN_IF_ERROR(SetAttributes(file.get(), entry_));
  const timespec times[2] = {{0, UTIME_OMIT}, entry_.mtime};
  (void)futimens(file.get(), times);  // best effort, as tar does
  return absl::OkStatus();
}

absl::Status Extractor::Finish() {
  for (auto it = directory_times_.rbegin(); it != directory_times_.rend(); ++it) {
    auto dir = base::OpenUnder(root_fd_, it->first, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!dir.ok()) continue;
    const timespec times[2] = {{0, UTIME_OMIT}, it->second};
    (void)futimens(dir->get(), times);
  }
  return absl::OkStatus();
}

}  // namespace gantry::docker
