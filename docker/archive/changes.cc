#include "docker/archive/changes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace gantry::docker {
namespace {

constexpr size_t kMaxChanges = 1'000'000;
constexpr int kMaxDepth = 1000;

bool IsWhiteout(const struct stat& st) { return S_ISCHR(st.st_mode) && st.st_rdev == 0; }

bool IsOpaque(int fd) {
  char value[2] = {};
  const std::string path = absl::StrCat("/proc/self/fd/", fd);
  return getxattr(path.c_str(), "trusted.overlay.opaque", value, sizeof value) > 0 &&
         value[0] == 'y';
}

class Walk {
 public:
  Walk(std::vector<base::UniqueFd> lower, const std::set<std::string>& mount_points)
      : lower_(std::move(lower)), mount_points_(mount_points) {}

  // `below`: whether lower layers show through here.
  absl::StatusOr<bool> Directory(int fd, const std::string& path, bool below, int depth) {
    if (depth > kMaxDepth) {
      return absl::ResourceExhaustedError(
          absl::StrCat("directories are nested deeper than ", kMaxDepth));
    }
    GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> names, base::ListDirFd(fd));
    std::sort(names.begin(), names.end());
    bool changed = false;
    for (const std::string& name : names) {
      GANTRY_ASSIGN_OR_RETURN(const bool shows,
                              Entry(fd, name, absl::StrCat(path, "/", name), below, depth));
      changed |= shows;
    }
    return changed;
  }

  std::vector<FileChange> Take() { return std::move(changes_); }

 private:
  absl::StatusOr<bool> Entry(int dir, const std::string& name, const std::string& path, bool below,
                             int depth) {
    if (changes_.size() > kMaxChanges) return absl::ResourceExhaustedError("too many changes");
    auto fd = base::OpenChild(dir, name, O_PATH);
    if (!fd.ok()) return absl::IsNotFound(fd.status()) ? absl::StatusOr<bool>(false) : fd.status();
    struct stat st = {};
    if (fstatat(fd->get(), "", &st, AT_EMPTY_PATH) != 0) return base::ErrnoStatus(errno, path);
    if (IsWhiteout(st)) {
      if (!below || !Lower(path)) return false;
      changes_.push_back({path, FileChange::kDeleted});
      return true;
    }
    const std::optional<struct stat> old = below ? Lower(path) : std::nullopt;
    const bool existed = old.has_value();
    const struct stat was = old.value_or(st);
    if (!S_ISDIR(st.st_mode)) {
      if (S_ISREG(st.st_mode) && st.st_size == 0 && mount_points_.contains(path)) return false;
      changes_.push_back({path, existed ? FileChange::kModified : FileChange::kAdded});
      return true;
    }
    // Its line stands before those of what is in it.
    const size_t line = changes_.size();
    changes_.push_back({path, existed ? FileChange::kModified : FileChange::kAdded});
    GANTRY_ASSIGN_OR_RETURN(base::UniqueFd child,
                            base::OpenChild(dir, name, O_RDONLY | O_DIRECTORY));
    const bool shows_lower = below && existed && S_ISDIR(was.st_mode) && !IsOpaque(child.get());
    GANTRY_ASSIGN_OR_RETURN(const bool inside,
                            Directory(child.get(), path, shows_lower, depth + 1));
    const bool same = existed && S_ISDIR(was.st_mode) && was.st_mode == st.st_mode &&
                      was.st_uid == st.st_uid && was.st_gid == st.st_gid;
    const bool place_only = !existed && mount_points_.contains(path);
    if (inside || !(same || place_only)) return true;
    changes_.resize(line);
    return false;
  }

  // What the layers below have at `path`; the nearest counts.
  std::optional<struct stat> Lower(const std::string& path) const {
    for (const base::UniqueFd& layer : lower_) {
      // A name that a nearer layer took away, or replaced with what is no directory, ends it.
      std::string sofar;
      bool ended = false;
      bool there = true;
      struct stat st = {};
      for (absl::string_view part : absl::StrSplit(path, '/', absl::SkipEmpty())) {
        absl::StrAppend(&sofar, sofar.empty() ? "" : "/", part);
        auto fd =
            base::OpenUnder(layer.get(), sofar, O_PATH | O_NOFOLLOW, 0, base::Resolve::kNoSymlinks);
        if (!fd.ok() || fstatat(fd->get(), "", &st, AT_EMPTY_PATH) != 0) {
          there = false;
          break;
        }
        if (IsWhiteout(st)) return std::nullopt;
        if (S_ISDIR(st.st_mode) && IsOpaque(fd->get())) ended = true;
        if (!S_ISDIR(st.st_mode)) ended = true;
      }
      if (there) return st;
      if (ended) return std::nullopt;
    }
    return std::nullopt;
  }

  const std::vector<base::UniqueFd> lower_;
  const std::set<std::string>& mount_points_;
  std::vector<FileChange> changes_;
};

}  // namespace

absl::StatusOr<std::vector<FileChange>> OverlayChanges(const std::vector<base::Mount>& mounts,
                                                       const std::set<std::string>& mount_points) {
  std::string upper;
  std::vector<std::string> lower;
  for (const base::Mount& mount : mounts) {
    for (absl::string_view option : mount.options) {
      if (absl::ConsumePrefix(&option, "upperdir=")) upper = std::string(option);
      if (absl::ConsumePrefix(&option, "lowerdir=")) lower = absl::StrSplit(option, ':');
    }
    // A container on an image without layers has no lower directory.
    if (mounts.size() == 1 && mount.type == "bind") upper = mount.source;
  }
  if (upper.empty()) {
    return absl::UnimplementedError("the container's snapshotter does not tell what was changed");
  }
  std::vector<base::UniqueFd> layers;
  for (const std::string& path : lower) {
    GANTRY_ASSIGN_OR_RETURN(base::UniqueFd fd, base::Open(path, O_PATH | O_DIRECTORY));
    layers.push_back(std::move(fd));
  }
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd top, base::Open(upper, O_RDONLY | O_DIRECTORY));
  Walk walk(std::move(layers), mount_points);
  GANTRY_RETURN_IF_ERROR(walk.Directory(top.get(), "", true, 0).status());
  return walk.Take();
}

}  // namespace gantry::docker
