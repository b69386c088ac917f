#include "services/diff/inherit.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/file.h"
#include "base/status.h"
#include "services/diff/file_attributes.h"

namespace gantry::services {

absl::Status InheritDirectory(const std::vector<base::UniqueFd>& lowers, const std::string& path,
                              int fd, timespec* mtime) {
  for (const base::UniqueFd& lower : lowers) {
    auto from = base::OpenUnder(lower.get(), path, O_PATH);
    if (!from.ok()) {
      if (base::ErrnoOf(from.status()) == ENOENT) continue;
      break;
    }
    struct stat st;
    if (fstat(from->get(), &st) != 0 || !S_ISDIR(st.st_mode)) break;
    if (fchown(fd, st.st_uid, st.st_gid) != 0) return base::ErrnoStatus(errno, "chown");
    GANTRY_ASSIGN_OR_RETURN(auto xattrs, ReadXattrs(from->get()));
    GANTRY_RETURN_IF_ERROR(WriteXattrs(fd, xattrs));
    *mtime = st.st_mtim;
    if (fchmod(fd, st.st_mode & 07777) != 0) return base::ErrnoStatus(errno, "chmod");
    return absl::OkStatus();
  }
  return fchmod(fd, 0755) == 0 ? absl::OkStatus() : base::ErrnoStatus(errno, "chmod");
}

absl::Status InheritDirectories(const std::string& upper, const std::vector<std::string>& lowers,
                                const std::vector<std::string>& paths) {
  if (paths.empty()) return absl::OkStatus();
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd root, base::Open(upper, O_PATH | O_DIRECTORY));
  std::vector<base::UniqueFd> below;
  for (const std::string& lower : lowers) {
    GANTRY_ASSIGN_OR_RETURN(base::UniqueFd fd, base::Open(lower, O_PATH | O_DIRECTORY));
    below.push_back(std::move(fd));
  }
  for (const std::string& path : paths) {
    auto dir =
        base::OpenUnder(root.get(), path, O_RDONLY | O_DIRECTORY, 0, base::Resolve::kNoSymlinks);
    if (!dir.ok()) continue;  // a later entry of the layer replaced it
    timespec mtime{0, UTIME_OMIT};
    GANTRY_RETURN_IF_ERROR(InheritDirectory(below, path, dir->get(), &mtime));
    timespec times[2] = {mtime, mtime};
    if (futimens(dir->get(), times) != 0) return base::ErrnoStatus(errno, "set times of " + path);
  }
  return absl::OkStatus();
}

}  // namespace gantry::services
