#include "shim/oci/readonly_self.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "base/file.h"
#include "base/status.h"

namespace gantry::oci {

namespace {

constexpr int kSeals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

// For those who may not clone mounts: a copy in memory that nobody can change any more.
absl::Status ExecuteFromSealedCopy(char** argv) {
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd self, base::Open("/proc/self/exe", O_RDONLY));
  if ((fcntl(self.get(), F_GET_SEALS) & kSeals) == kSeals) return absl::OkStatus();
  struct stat st;
  base::UniqueFd copy(memfd_create("gantry-oci", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!copy.valid() || fstat(self.get(), &st) != 0) {
    return base::ErrnoStatus(errno, "copy the program");
  }
  for (off_t left = st.st_size; left > 0;) {
    ssize_t n = sendfile(copy.get(), self.get(), nullptr, static_cast<size_t>(left));
    if (n <= 0) return base::ErrnoStatus(n < 0 ? errno : EIO, "copy the program");
    left -= n;
  }
  if (fcntl(copy.get(), F_ADD_SEALS, kSeals) != 0) return base::ErrnoStatus(errno, "seal the copy");
  syscall(SYS_execveat, copy.get(), "", argv, environ, AT_EMPTY_PATH);
  return base::ErrnoStatus(errno, "execute the program again");
}

}  // namespace

absl::Status ExecuteFromReadonlyMount(char** argv) {
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd self, base::Open("/proc/self/exe", O_PATH));
  struct statvfs fs;
  if (fstatvfs(self.get(), &fs) != 0) return base::ErrnoStatus(errno, "statvfs of the program");
  if ((fs.f_flag & ST_RDONLY) != 0) return absl::OkStatus();
  base::UniqueFd tree(
      open_tree(self.get(), "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH));
  if (!tree.valid() && errno == EPERM) return ExecuteFromSealedCopy(argv);
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
