#include "shim/oci/readonly_self.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "base/file.h"
#include "base/status.h"

namespace gantry::oci {

absl::Status ExecuteFromReadonlyMount(char** argv) {
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd self, base::Open("/proc/self/exe", O_PATH));
  struct statvfs fs;
  if (fstatvfs(self.get(), &fs) != 0) return base::ErrnoStatus(errno, "statvfs of the program");
  if ((fs.f_flag & ST_RDONLY) != 0) return absl::OkStatus();
  base::UniqueFd tree(
      open_tree(self.get(), "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH));
  if (!tree.valid()) return base::ErrnoStatus(errno, "clone the mount of the program");
  mount_attr attr = {};
  attr.attr_set = MOUNT_ATTR_RDONLY;
  if (mount_setattr(tree.get(), "", AT_EMPTY_PATH, &attr, sizeof attr) != 0) {
    return base::ErrnoStatus(errno, "make the program's mount read-only");
  }
  syscall(SYS_execveat, tree.get(), "", argv, environ, AT_EMPTY_PATH);
  return base::ErrnoStatus(errno, "execute the program again");
}

}  // namespace gantry::oci
