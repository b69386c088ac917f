#include "docker/archive/tree_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/archive/tar_writer.h"
#include "base/file.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "docker/archive/path_stat.h"

namespace gantry::docker {
namespace {

constexpr int kMaxDepth = 1000;
constexpr size_t kBuffer = 256u << 10;
constexpr char kCapability[] = "security.capability";

// A descriptor's path, for calls that do not take an O_PATH descriptor.
std::string ProcPath(int fd) { return absl::StrCat("/proc/self/fd/", fd); }

absl::StatusOr<uint64_t> MountIdOf(int fd) {
  struct statx info = {};
  if (statx(fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, STATX_MNT_ID, &info) != 0) {
    return base::ErrnoStatus(errno, "statx");
  }
  return info.stx_mnt_id;
}

class Writer {
 public:
  Writer(const TreeReadOptions& options, const archive::ByteSink& sink)
      : options_(options), tar_(sink), buffer_(kBuffer, '\0') {}

  absl::Status Run(int fd) {
    GANTRY_ASSIGN_OR_RETURN(mount_, MountIdOf(fd));
    GANTRY_RETURN_IF_ERROR(Add(fd, options_.name, 0));
    return tar_.Finish();
  }

 private:
  // Foreign: what lies on another mount and is only to be shown as the place that it covers.
  absl::Status Add(int fd, const std::string& name, int depth) {
    struct stat st = {};
    if (fstatat(fd, "", &st, AT_EMPTY_PATH) != 0) return base::ErrnoStatus(errno, "stat " + name);
    GANTRY_ASSIGN_OR_RETURN(const uint64_t mount, MountIdOf(fd));
    const bool covered =
        depth > 0 && ((mount != mount_ && !options_.cross_mounts) || IsKernelFileSystem(fd));
    archive::TarEntry entry = EntryOf(st, name);
    if (S_ISDIR(st.st_mode)) return AddDirectory(fd, entry, covered, depth);
    if (S_ISSOCK(st.st_mode)) return absl::OkStatus();
    if (S_ISLNK(st.st_mode)) return AddLink(fd, &entry);
    if (covered) {
      if (!S_ISREG(st.st_mode)) return absl::OkStatus();
      entry.size = 0;
      return tar_.AddEntry(entry);
    }
    if (st.st_nlink > 1 && !AddHardLink(st, &entry)) return tar_.AddEntry(entry);
    return S_ISREG(st.st_mode) ? AddFile(fd, &entry) : tar_.AddEntry(entry);
  }

  static archive::TarEntry EntryOf(const struct stat& st, const std::string& name) {
    archive::TarEntry entry;
    entry.name = name;
    entry.mode = st.st_mode & 07777;
    entry.uid = st.st_uid;
    entry.gid = st.st_gid;
    entry.mtime = st.st_mtim;
    using archive::TarType;
    entry.type = S_ISDIR(st.st_mode)    ? TarType::kDirectory
                 : S_ISLNK(st.st_mode)  ? TarType::kSymlink
                 : S_ISCHR(st.st_mode)  ? TarType::kCharDevice
                 : S_ISBLK(st.st_mode)  ? TarType::kBlockDevice
                 : S_ISFIFO(st.st_mode) ? TarType::kFifo
                                        : TarType::kRegular;
    if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) {
      entry.dev_major = major(st.st_rdev);
      entry.dev_minor = minor(st.st_rdev);
    }
    return entry;
  }

  absl::Status AddDirectory(int fd, archive::TarEntry entry, bool covered, int depth) {
    if (depth > kMaxDepth) {
      return absl::ResourceExhaustedError(
          absl::StrCat("directories are nested deeper than ", kMaxDepth));
    }
    const std::string name = entry.name;
    if (!name.empty()) {
      if (!absl::EndsWith(entry.name, "/")) entry.name += '/';
      GANTRY_RETURN_IF_ERROR(tar_.AddEntry(entry));
    }
    if (covered) return absl::OkStatus();
    auto dir = base::OpenUnder(fd, ".", O_RDONLY | O_DIRECTORY, 0, base::Resolve::kNoSymlinks);
    if (!dir.ok()) return absl::IsNotFound(dir.status()) ? absl::OkStatus() : dir.status();
    GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> children, base::ListDirFd(dir->get()));
    std::sort(children.begin(), children.end());
    for (const std::string& child : children) {
      auto opened = base::OpenChild(dir->get(), child, O_PATH | O_NOFOLLOW);
      if (!opened.ok()) {
        if (absl::IsNotFound(opened.status())) continue;
        return opened.status();
      }
      const std::string path = name.empty()  ? child
                               : name == "/" ? absl::StrCat("/", child)
                                             : absl::StrCat(name, "/", child);
      GANTRY_RETURN_IF_ERROR(Add(opened->get(), path, depth + 1));
    }
    return absl::OkStatus();
  }

  absl::Status AddLink(int fd, archive::TarEntry* entry) {
    std::string target(PATH_MAX, '\0');
    const ssize_t n = readlinkat(fd, "", target.data(), target.size());
    if (n < 0) return base::ErrnoStatus(errno, "read link " + entry->name);
    target.resize(static_cast<size_t>(n));
    entry->link_name = std::move(target);
    return tar_.AddEntry(*entry);
  }

  // False: it was in the archive already, and the entry is a link to that now.
  bool AddHardLink(const struct stat& st, archive::TarEntry* entry) {
    auto [known, added] = links_.emplace(std::make_pair(st.st_dev, st.st_ino), entry->name);
    if (added) return true;
    entry->type = archive::TarType::kHardLink;
    entry->link_name = known->second;
    return false;
  }

  absl::Status AddFile(int fd, archive::TarEntry* entry) {
    auto file = base::Open(ProcPath(fd), O_RDONLY | O_NONBLOCK);
    if (!file.ok()) return base::Annotate(file.status(), entry->name);
    struct stat st = {};
    if (fstat(file->get(), &st) != 0) return base::ErrnoStatus(errno, "stat " + entry->name);
    entry->size = st.st_size;
    char value[256];
    const ssize_t n = fgetxattr(file->get(), kCapability, value, sizeof value);
    if (n > 0) entry->xattrs[kCapability] = std::string(value, static_cast<size_t>(n));
    GANTRY_RETURN_IF_ERROR(tar_.AddEntry(*entry));
    int64_t left = st.st_size;
    while (left > 0) {
      const size_t want = static_cast<size_t>(std::min<int64_t>(left, kBuffer));
      ssize_t got = read(file->get(), buffer_.data(), want);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return base::ErrnoStatus(errno, "read " + entry->name);
      if (got == 0) {
        std::fill_n(buffer_.begin(), want, '\0');
        got = static_cast<ssize_t>(want);
      }
      GANTRY_RETURN_IF_ERROR(
          tar_.Write(absl::string_view(buffer_.data(), static_cast<size_t>(got))));
      left -= got;
    }
    return absl::OkStatus();
  }

  const TreeReadOptions& options_;
  archive::TarWriter tar_;
  std::string buffer_;
  uint64_t mount_ = 0;
  std::map<std::pair<dev_t, ino_t>, std::string> links_;
};

}  // namespace

absl::Status WriteTree(int fd, const TreeReadOptions& options, const archive::ByteSink& sink) {
  return Writer(options, sink).Run(fd);
}

}  // namespace gantry::docker
