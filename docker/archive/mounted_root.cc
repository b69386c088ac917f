#include "docker/archive/mounted_root.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <thread>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"

namespace gantry::docker {
namespace {

// Where snapshots are mounted, each in a namespace where it is the only one.
constexpr char kMountPoint[] = "/run/gantry/docker-root";

// Missing mount points are made, as the engine does at start.
absl::StatusOr<base::UniqueFd> OpenTarget(int root_fd, const std::string& destination,
                                          bool directory) {
  auto target = base::OpenUnder(root_fd, destination, O_PATH);
  if (target.ok() || base::ErrnoOf(target.status()) != ENOENT) return target;
  if (directory) return base::MakeDirsUnder(root_fd, destination, 0755);
  const size_t slash = destination.rfind('/');
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd parent,
                          base::MakeDirsUnder(root_fd, destination.substr(0, slash), 0755));
  return base::OpenUnder(parent.get(), destination.substr(slash + 1),
                         O_WRONLY | O_CREAT | O_NOFOLLOW, 0644, base::Resolve::kNoSymlinks);
}

absl::Status MakeReadOnly(int fd, bool recursive) {
  mount_attr attr = {};
  attr.attr_set = MOUNT_ATTR_RDONLY;
  if (syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &attr,
              sizeof attr) != 0) {
    return base::ErrnoStatus(errno, "make a mount read-only");
  }
  return absl::OkStatus();
}

absl::Status Attach(int root_fd, const ExtraMount& mount) {
  base::UniqueFd tree(
      static_cast<int>(syscall(SYS_open_tree, AT_FDCWD, mount.source.c_str(),
                               OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE)));
  // A volume or directory that is gone hinders nobody to look at the rest.
  if (!tree.valid())
    return errno == ENOENT ? absl::OkStatus() : base::ErrnoStatus(errno, mount.source);
  if (mount.read_only) GANTRY_RETURN_IF_ERROR(MakeReadOnly(tree.get(), true));
  struct stat st = {};
  if (fstatat(tree.get(), "", &st, AT_EMPTY_PATH) != 0) {
    return base::ErrnoStatus(errno, mount.source);
  }
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd target,
                          OpenTarget(root_fd, mount.destination, S_ISDIR(st.st_mode)));
  if (syscall(SYS_move_mount, tree.get(), "", target.get(), "",
              MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0) {
    return base::ErrnoStatus(errno, absl::StrCat("mount on ", mount.destination));
  }
  return absl::OkStatus();
}

absl::Status InPrivateNamespace(const std::vector<base::Mount>& root,
                                const std::vector<ExtraMount>& extra, bool read_only_root,
                                const std::function<absl::Status(int)>& work) {
  if (unshare(CLONE_NEWNS) != 0) return base::ErrnoStatus(errno, "make a mount namespace");
  if (mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return base::ErrnoStatus(errno, "make mounts private");
  }
  GANTRY_RETURN_IF_ERROR(base::MountAll(root, kMountPoint));
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd fd, base::Open(kMountPoint, O_PATH | O_DIRECTORY));
  for (const ExtraMount& mount : extra) GANTRY_RETURN_IF_ERROR(Attach(fd.get(), mount));
  if (read_only_root) GANTRY_RETURN_IF_ERROR(MakeReadOnly(fd.get(), false));
  return work(fd.get());
}

bool IsAlive(int pidfd) {
  pollfd poll_fd = {pidfd, POLLIN, 0};
  return poll(&poll_fd, 1, 0) == 0;
}

}  // namespace

absl::Status WithMounts(const std::vector<base::Mount>& root, const std::vector<ExtraMount>& extra,
                        bool read_only_root, const std::function<absl::Status(int)>& work) {
  GANTRY_RETURN_IF_ERROR(base::MakeDirs(kMountPoint, 0700));
  // The namespace is the thread's alone, and ends with it.
  absl::Status status;
  std::thread thread([&] { status = InPrivateNamespace(root, extra, read_only_root, work); });
  thread.join();
  return status;
}

absl::StatusOr<base::UniqueFd> OpenProcessRoot(pid_t pid, const std::function<bool()>& still_it) {
  if (pid <= 0) return absl::UnavailableError("the container has no process");
  base::UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd.valid()) return base::ErrnoStatus(errno, "open the container's process");
  if (!still_it()) return absl::UnavailableError("the container has just ended");
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd root,
                          base::Open(absl::StrCat("/proc/", pid, "/root"), O_PATH | O_DIRECTORY));
  if (!IsAlive(pidfd.get())) return absl::UnavailableError("the container has just ended");
  return root;
}

}  // namespace gantry::docker
