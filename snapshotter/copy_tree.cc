#include "snapshotter/copy_tree.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/status.h"

namespace gantry::snapshotter {
namespace {

constexpr int kMaxDepth = 500;  // each level holds two descriptors

// The l*xattr calls take paths only; this names an entry of an open directory without following it.
std::string ProcPath(int dir_fd, const std::string& name) {
  return absl::StrCat("/proc/self/fd/", dir_fd, "/", name);
}

bool NotSupportedHere(int error) {
  return error == EXDEV || error == EINVAL || error == ENOSYS || error == EOPNOTSUPP ||
         error == ETXTBSY;
}

absl::Status CopyByHand(int from, int to, off_t offset, off_t end) {
  std::vector<char> buffer(1 << 17);
  while (offset < end) {
    size_t want = std::min<off_t>(end - offset, buffer.size());
    ssize_t n = pread(from, buffer.data(), want, offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return base::ErrnoStatus(errno, "read");
    if (n == 0) break;
    for (ssize_t done = 0; done < n;) {
      ssize_t w = pwrite(to, buffer.data() + done, n - done, offset + done);
      if (w < 0 && errno != EINTR) return base::ErrnoStatus(errno, "write");
      if (w > 0) done += w;
    }
    offset += n;
  }
  return absl::OkStatus();
}

absl::Status CopyRange(int from, int to, off_t offset, off_t end) {
  while (offset < end) {
    off_t in = offset, out = offset;
    ssize_t n = copy_file_range(from, &in, to, &out, end - offset, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && NotSupportedHere(errno)) return CopyByHand(from, to, offset, end);
    if (n < 0) return base::ErrnoStatus(errno, "copy");
    if (n == 0) break;
    offset += n;
  }
  return absl::OkStatus();
}

absl::Status CopyContent(int from, int to, off_t size) {
  if (size == 0 || ioctl(to, FICLONE, from) == 0) return absl::OkStatus();
  if (ftruncate(to, size) != 0) return base::ErrnoStatus(errno, "set size");
  off_t data = 0;
  while (data < size) {
    data = lseek(from, data, SEEK_DATA);
    if (data < 0) {
      if (errno == ENXIO) break;  // only a hole is left
      return base::ErrnoStatus(errno, "seek");
    }
    off_t hole = lseek(from, data, SEEK_HOLE);
    if (hole < 0) return base::ErrnoStatus(errno, "seek");
    GANTRY_RETURN_IF_ERROR(CopyRange(from, to, data, hole));
    data = hole;
  }
  return absl::OkStatus();
}

absl::Status CopyXattrs(const std::string& from, const std::string& to) {
  ssize_t size = llistxattr(from.c_str(), nullptr, 0);
  if (size == 0 || (size < 0 && errno == EOPNOTSUPP)) return absl::OkStatus();
  if (size < 0) return base::ErrnoStatus(errno, "list xattrs");
  std::string names(size, '\0');
  size = llistxattr(from.c_str(), names.data(), names.size());
  if (size < 0) return base::ErrnoStatus(errno, "list xattrs");
  names.resize(size);
  for (absl::string_view piece : absl::StrSplit(names, '\0', absl::SkipEmpty())) {
    std::string name(piece);
    std::string value(XATTR_SIZE_MAX, '\0');
    ssize_t length = lgetxattr(from.c_str(), name.c_str(), value.data(), value.size());
    if (length < 0) return base::ErrnoStatus(errno, absl::StrCat("read xattr ", name));
    if (lsetxattr(to.c_str(), name.c_str(), value.data(), length, 0) != 0)
      return base::ErrnoStatus(errno, absl::StrCat("write xattr ", name));
  }
  return absl::OkStatus();
}

// After the content, and in this order: chown clears set-id bits and file capabilities, everything
// before touches the times.
absl::Status CopyMetadata(const struct stat& st, int from_dir, int to_dir,
                          const std::string& name) {
  if (fchownat(to_dir, name.c_str(), st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) != 0)
    return base::ErrnoStatus(errno, "chown");
  if (!S_ISLNK(st.st_mode) && fchmodat(to_dir, name.c_str(), st.st_mode & 07777, 0) != 0)
    return base::ErrnoStatus(errno, "chmod");
  GANTRY_RETURN_IF_ERROR(CopyXattrs(ProcPath(from_dir, name), ProcPath(to_dir, name)));
  timespec times[2] = {st.st_atim, st.st_mtim};
  if (utimensat(to_dir, name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0)
    return base::ErrnoStatus(errno, "set times");
  return absl::OkStatus();
}

absl::Status CopySymlink(int from_dir, int to_dir, const std::string& name) {
  std::string target(PATH_MAX, '\0');
  ssize_t n = readlinkat(from_dir, name.c_str(), target.data(), target.size());
  if (n < 0) return base::ErrnoStatus(errno, "read link");
  target.resize(n);
  if (symlinkat(target.c_str(), to_dir, name.c_str()) != 0)
    return base::ErrnoStatus(errno, "make link");
  return absl::OkStatus();
}

class TreeCopier {
 public:
  explicit TreeCopier(int to_root) : to_root_(to_root) {}

  absl::Status CopyChildren(int from, int to, const std::string& path, int depth) {
    if (depth > kMaxDepth) {
      return absl::ResourceExhaustedError(
          absl::StrCat("directories are nested deeper than ", kMaxDepth));
    }
    GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> names, base::ListDirFd(from));
    for (const std::string& name : names) {
      std::string child = path.empty() ? name : absl::StrCat(path, "/", name);
      absl::Status copied = CopyEntry(from, to, name, child, depth);
      if (!copied.ok()) return depth == 0 ? base::Annotate(copied, name) : copied;
    }
    return absl::OkStatus();
  }

 private:
  absl::Status CopyEntry(int from, int to, const std::string& name, const std::string& path,
                         int depth) {
    struct stat st;
    if (fstatat(from, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
      return base::ErrnoStatus(errno, "stat");
    if (!S_ISDIR(st.st_mode) && st.st_nlink > 1) {
      auto [first, fresh] = links_.try_emplace(std::make_pair(st.st_dev, st.st_ino), path);
      if (!fresh) {
        if (linkat(to_root_, first->second.c_str(), to, name.c_str(), 0) != 0)
          return base::ErrnoStatus(errno, absl::StrCat("hard link to ", first->second));
        return absl::OkStatus();
      }
    }
    GANTRY_RETURN_IF_ERROR(CopyBody(st, from, to, name, path, depth));
    return CopyMetadata(st, from, to, name);
  }

  absl::Status CopyBody(const struct stat& st, int from, int to, const std::string& name,
                        const std::string& path, int depth) {
    if (S_ISDIR(st.st_mode)) return CopyDirectory(from, to, name, path, depth);
    if (S_ISLNK(st.st_mode)) return CopySymlink(from, to, name);
    if (S_ISREG(st.st_mode)) {
      GANTRY_ASSIGN_OR_RETURN(base::UniqueFd in,
                              base::OpenChild(from, name, O_RDONLY | O_NOFOLLOW));
      GANTRY_ASSIGN_OR_RETURN(base::UniqueFd out,
                              base::OpenChild(to, name, O_WRONLY | O_CREAT | O_EXCL, 0600));
      return CopyContent(in.get(), out.get(), st.st_size);
    }
    if (mknodat(to, name.c_str(), st.st_mode, st.st_rdev) != 0)
      return base::ErrnoStatus(errno, "make special file");
    return absl::OkStatus();
  }

  absl::Status CopyDirectory(int from, int to, const std::string& name, const std::string& path,
                             int depth) {
    if (mkdirat(to, name.c_str(), 0700) != 0) return base::ErrnoStatus(errno, "make directory");
    constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
    GANTRY_ASSIGN_OR_RETURN(base::UniqueFd in, base::OpenChild(from, name, kFlags));
    GANTRY_ASSIGN_OR_RETURN(base::UniqueFd out, base::OpenChild(to, name, kFlags));
    return CopyChildren(in.get(), out.get(), path, depth + 1);
  }

  const int to_root_;
  // Where the first name of each inode with several names went.
  absl::flat_hash_map<std::pair<dev_t, ino_t>, std::string> links_;
};

}  // namespace

absl::Status CopyTree(base::UniqueFd from, base::UniqueFd to) {
  struct stat st;
  if (fstat(from.get(), &st) != 0) return base::ErrnoStatus(errno, "stat");
  GANTRY_RETURN_IF_ERROR(TreeCopier(to.get()).CopyChildren(from.get(), to.get(), "", 0));
  return CopyMetadata(st, from.get(), to.get(), ".");
}

}  // namespace gantry::snapshotter
