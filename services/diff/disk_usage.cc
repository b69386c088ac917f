#include "services/diff/disk_usage.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <string>

#include "absl/container/flat_hash_set.h"
#include "base/file.h"
#include "base/status.h"

namespace gantry::services {
namespace {

absl::Status Measure(int dir_fd, absl::flat_hash_set<uint64_t>* linked, TreeUsage* usage) {
  GANTRY_ASSIGN_OR_RETURN(auto names, base::ListDirFd(dir_fd));
  for (const std::string& name : names) {
    struct stat st;
    if (fstatat(dir_fd, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) continue;
      return base::ErrnoStatus(errno, name);
    }
    if (!S_ISDIR(st.st_mode) && st.st_nlink > 1 && !linked->insert(st.st_ino).second) continue;
    usage->bytes += st.st_blocks * 512;
    ++usage->inodes;
    if (!S_ISDIR(st.st_mode)) continue;
    GANTRY_ASSIGN_OR_RETURN(base::UniqueFd child,
                            base::OpenChild(dir_fd, name, O_RDONLY | O_DIRECTORY));
    GANTRY_RETURN_IF_ERROR(Measure(child.get(), linked, usage));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TreeUsage> MeasureTree(int dir_fd) {
  struct stat st;
  if (fstat(dir_fd, &st) != 0) return base::ErrnoStatus(errno, "stat");
  TreeUsage usage{st.st_blocks * 512, 1};
  absl::flat_hash_set<uint64_t> linked;
  GANTRY_RETURN_IF_ERROR(Measure(dir_fd, &linked, &usage));
  return usage;
}

}  // namespace gantry::services
