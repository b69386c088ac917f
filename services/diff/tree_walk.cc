#include "services/diff/tree_walk.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <string>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "services/diff/file_attributes.h"

namespace gantry::services {
namespace {

constexpr int kDirFlags = O_RDONLY | O_DIRECTORY;

absl::StatusOr<std::vector<std::string>> SortedNames(int dir_fd) {
  if (dir_fd < 0) return std::vector<std::string>();
  GANTRY_ASSIGN_OR_RETURN(auto names, base::ListDirFd(dir_fd));
  std::sort(names.begin(), names.end());
  return names;
}

// Nothing when it is gone meanwhile.
absl::StatusOr<std::optional<struct stat>> StatAt(int dir_fd, const std::string& name) {
  struct stat st;
  if (fstatat(dir_fd, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0) return std::optional(st);
  if (errno == ENOENT) return std::optional<struct stat>();
  return base::ErrnoStatus(errno, name);
}

absl::StatusOr<std::string> ReadLinkAt(int dir_fd, const std::string& name) {
  char target[PATH_MAX];
  ssize_t n = readlinkat(dir_fd, name.c_str(), target, sizeof target);
  if (n < 0) return base::ErrnoStatus(errno, absl::StrCat("read link ", name));
  return std::string(target, static_cast<size_t>(n));
}

absl::StatusOr<std::string> XattrAt(int dir_fd, const std::string& name, const char* xattr) {
  char value[256];
  std::string path = absl::StrCat(FdPath(dir_fd), "/", name);
  ssize_t n = lgetxattr(path.c_str(), xattr, value, sizeof value);
  if (n >= 0) return std::string(value, static_cast<size_t>(n));
  if (errno == ENODATA || errno == EOPNOTSUPP || errno == EPERM) return std::string();
  return base::ErrnoStatus(errno, absl::StrCat("read ", xattr, " of ", name));
}

absl::StatusOr<bool> SameContent(int lower, int upper, const std::string& name) {
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd a, base::OpenChild(lower, name, O_RDONLY | O_NONBLOCK));
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd b, base::OpenChild(upper, name, O_RDONLY | O_NONBLOCK));
  std::vector<char> left(64 << 10), right(64 << 10);
  for (off_t at = 0;;) {
    ssize_t n = pread(a.get(), left.data(), left.size(), at);
    if (n < 0) return base::ErrnoStatus(errno, absl::StrCat("read ", name));
    if (n == 0) return true;
    for (ssize_t got = 0; got < n;) {
      ssize_t m = pread(b.get(), right.data() + got, static_cast<size_t>(n - got), at + got);
      if (m < 0) return base::ErrnoStatus(errno, absl::StrCat("read ", name));
      if (m == 0) return false;
      got += m;
    }
    if (!std::equal(left.begin(), left.begin() + n, right.begin())) return false;
    at += n;
  }
}

absl::StatusOr<bool> IsSame(int lower, int upper, const std::string& name, const struct stat& a,
                            const struct stat& b) {
  if (a.st_dev == b.st_dev && a.st_ino == b.st_ino) return true;
  if (a.st_mode != b.st_mode || a.st_uid != b.st_uid || a.st_gid != b.st_gid ||
      a.st_rdev != b.st_rdev) {
    return false;
  }
  GANTRY_ASSIGN_OR_RETURN(std::string caps_a, XattrAt(lower, name, "security.capability"));
  GANTRY_ASSIGN_OR_RETURN(std::string caps_b, XattrAt(upper, name, "security.capability"));
  if (caps_a != caps_b) return false;
  if (S_ISDIR(a.st_mode)) return true;
  if (a.st_size != b.st_size || a.st_mtim.tv_sec != b.st_mtim.tv_sec ||
      a.st_mtim.tv_nsec != b.st_mtim.tv_nsec) {
    return false;
  }
  if (a.st_mtim.tv_nsec != 0) return true;
  // Times without a fraction may have been cut off and prove nothing.
  if (S_ISLNK(a.st_mode)) {
    GANTRY_ASSIGN_OR_RETURN(std::string target_a, ReadLinkAt(lower, name));
    GANTRY_ASSIGN_OR_RETURN(std::string target_b, ReadLinkAt(upper, name));
    return target_a == target_b;
  }
  if (!S_ISREG(a.st_mode) || a.st_size == 0) return true;
  return SameContent(lower, upper, name);
}

class DoubleWalk {
 public:
  explicit DoubleWalk(ChangeWriter* writer) : writer_(writer) {}

  absl::Status Walk(int lower, int upper, const std::string& path) {
    GANTRY_ASSIGN_OR_RETURN(auto below, SortedNames(lower));
    GANTRY_ASSIGN_OR_RETURN(auto above, SortedNames(upper));
    auto a = below.begin();
    for (auto b = above.begin(); a != below.end() || b != above.end();) {
      if (b == above.end() || (a != below.end() && *a < *b)) {
        GANTRY_RETURN_IF_ERROR(writer_->Delete(*a++));
      } else if (a == below.end() || *b < *a) {
        GANTRY_RETURN_IF_ERROR(Visit(-1, upper, path, *b++));
      } else {
        GANTRY_RETURN_IF_ERROR(Visit(lower, upper, path, *b++));
        ++a;
      }
    }
    return absl::OkStatus();
  }

 private:
  // `lower` is -1 when the name is new.
  absl::Status Visit(int lower, int upper, const std::string& path, const std::string& name) {
    GANTRY_ASSIGN_OR_RETURN(auto now, StatAt(upper, name));
    if (!now.has_value()) return absl::OkStatus();
    std::optional<struct stat> before;
    if (lower >= 0) {
      GANTRY_ASSIGN_OR_RETURN(before, StatAt(lower, name));
    }
    bool same = false;
    if (before.has_value()) {
      GANTRY_ASSIGN_OR_RETURN(same, IsSame(lower, upper, name, *before, *now));
    }
    if (!S_ISDIR(now->st_mode))
      return same ? writer_->Unchanged(name, *now) : writer_->Change(upper, name, *now);
    return VisitDirectory(before.has_value() && S_ISDIR(before->st_mode) ? lower : -1, upper,
                          absl::StrCat(path, path.empty() ? "" : "/", name), name, *now, same);
  }

  absl::Status VisitDirectory(int lower, int upper, const std::string& path,
                              const std::string& name, const struct stat& st, bool same) {
    GANTRY_ASSIGN_OR_RETURN(base::UniqueFd above, base::OpenChild(upper, name, kDirFlags));
    base::UniqueFd below;
    if (lower >= 0) {
      GANTRY_ASSIGN_OR_RETURN(below, base::OpenChild(lower, name, kDirFlags));
    }
    writer_->Enter(path, above.get(), st);
    absl::Cleanup leave = [this] { writer_->Leave(); };
    if (!same) GANTRY_RETURN_IF_ERROR(writer_->Change(above.get(), "", st));
    return Walk(below.get(), above.get(), path);
  }

  ChangeWriter* writer_;
};

class UpperWalk {
 public:
  explicit UpperWalk(ChangeWriter* writer) : writer_(writer) {}

  absl::Status Walk(int upper, const std::string& path) {
    GANTRY_ASSIGN_OR_RETURN(auto names, SortedNames(upper));
    for (const std::string& name : names) {
      GANTRY_ASSIGN_OR_RETURN(auto st, StatAt(upper, name));
      if (!st.has_value()) continue;
      if (S_ISCHR(st->st_mode) && st->st_rdev == 0) {
        GANTRY_RETURN_IF_ERROR(writer_->Delete(name));
      } else if (!S_ISDIR(st->st_mode)) {
        GANTRY_RETURN_IF_ERROR(writer_->Change(upper, name, *st));
      } else {
        GANTRY_RETURN_IF_ERROR(
            Descend(upper, absl::StrCat(path, path.empty() ? "" : "/", name), name, *st));
      }
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Descend(int upper, const std::string& path, const std::string& name,
                       const struct stat& st) {
    GANTRY_ASSIGN_OR_RETURN(base::UniqueFd dir, base::OpenChild(upper, name, kDirFlags));
    writer_->Enter(path, dir.get(), st);
    absl::Cleanup leave = [this] { writer_->Leave(); };
    GANTRY_RETURN_IF_ERROR(writer_->Change(dir.get(), "", st));
    GANTRY_ASSIGN_OR_RETURN(std::string opaque, XattrAt(upper, name, kOverlayOpaqueXattr));
    if (opaque == "y") GANTRY_RETURN_IF_ERROR(writer_->Opaque());
    return Walk(dir.get(), path);
  }

  ChangeWriter* writer_;
};

}  // namespace

absl::Status WalkTrees(int lower, int upper, ChangeWriter* writer) {
  struct stat st;
  if (fstat(upper, &st) != 0) return base::ErrnoStatus(errno, "stat");
  writer->Enter("", upper, st);
  absl::Cleanup leave = [writer] { writer->Leave(); };
  return DoubleWalk(writer).Walk(lower, upper, "");
}

absl::Status WalkUpper(int upper, ChangeWriter* writer) {
  struct stat st;
  if (fstat(upper, &st) != 0) return base::ErrnoStatus(errno, "stat");
  writer->Enter("", upper, st);
  absl::Cleanup leave = [writer] { writer->Leave(); };
  return UpperWalk(writer).Walk(upper, "");
}

absl::StatusOr<bool> NeedsMount(int upper) {
  GANTRY_ASSIGN_OR_RETURN(auto names, SortedNames(upper));
  for (const std::string& name : names) {
    GANTRY_ASSIGN_OR_RETURN(auto st, StatAt(upper, name));
    if (!st.has_value()) continue;
    if (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode)) {
      for (const char* xattr : {"trusted.overlay.redirect", "trusted.overlay.metacopy"}) {
        std::string path = absl::StrCat(FdPath(upper), "/", name);
        if (lgetxattr(path.c_str(), xattr, nullptr, 0) >= 0) return true;
      }
    }
    if (!S_ISDIR(st->st_mode)) continue;
    GANTRY_ASSIGN_OR_RETURN(base::UniqueFd dir, base::OpenChild(upper, name, kDirFlags));
    GANTRY_ASSIGN_OR_RETURN(bool needs, NeedsMount(dir.get()));
    if (needs) return true;
  }
  return false;
}

}  // namespace gantry::services
