#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>

#include "shim/oci/child.h"

namespace gantry::oci {
namespace {

// Files of /proc that lxcfs and the like replace; the same list as runc's.
constexpr const char* kProcFiles[] = {"/proc/cpuinfo", "/proc/diskstats",
                                      "/proc/meminfo", "/proc/stat",
                                      "/proc/swaps",   "/proc/uptime",
                                      "/proc/loadavg", "/proc/slabinfo",
                                      "/proc/net/dev", "/proc/sys/kernel/ns_last_pid"};

bool IsBelow(const char* path, const char* dir) {
  size_t length = strlen(dir);
  return strncmp(path, dir, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

// A volume over /proc would let the container answer what we and LSMs write there
// (CVE-2019-16884, CVE-2019-19921, CVE-2025-52881). `target` is where the walk really arrived.
void RefuseOverProc(const ChildLink& link, const MountStep& step, int target) {
  char path[PATH_MAX];
  ssize_t length = readlink(FdPath(target).text, path, sizeof path - 1);
  if (length < 0) link.Fail(Stage::kMount, errno, step.destination.c_str());
  path[length] = '\0';
  // The root is mounted on our own "/", so this is the path as seen from inside.
  if (!IsBelow(path, "/proc")) return;
  if (strcmp(path, "/proc") == 0) {
    if (step.kind == MountStep::Kind::kNew && step.type == "proc") return;
    struct statfs fs;
    if (step.kind == MountStep::Kind::kTree && fstatfs(step.tree.get(), &fs) == 0 &&
        fs.f_type == PROC_SUPER_MAGIC) {
      return;
    }
  }
  for (const char* allowed : kProcFiles) {
    if (strcmp(path, allowed) == 0 && step.kind == MountStep::Kind::kTree) return;
  }
  link.Fail(Stage::kMount, kErrorProcMount, step.destination.c_str());
}

// proc and sysfs go on plain directories of the image: through a link they would be mounted
// somewhere else and their masks with them.
int OpenTarget(const ChildLink& link, const MountStep& step, int root) {
  const char* destination = step.destination.c_str();
  bool kernel_fs =
      step.kind == MountStep::Kind::kNew && (step.type == "proc" || step.type == "sysfs");
  if (!kernel_fs) {
    int target = OpenOrMake(root, destination, step.directory);
    if (target < 0) link.Fail(Stage::kMount, errno, destination);
    return target;
  }
  int target = OpenInRoot(root, destination, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
  if (target < 0 && errno == ENOENT) {
    target = OpenOrMake(root, destination, true);
    if (target >= 0) close(target);
    target = OpenInRoot(root, destination, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
  }
  if (target < 0) {
    bool is_link = errno == ELOOP || errno == ENOTDIR;
    link.Fail(Stage::kMount, is_link ? kErrorSymlink : errno, destination);
  }
  return target;
}

void AttachTree(const ChildLink& link, const MountStep& step, int target) {
  if (move_mount(step.tree.get(), "", target, "",
                 MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0) {
    link.Fail(Stage::kMount, errno, step.destination.c_str());
  }
}

void FillMount(const ChildLink& link, const MountStep& step, int root, int hidden) {
  int mounted = OpenInRoot(root, step.destination.c_str(), O_RDONLY | O_DIRECTORY);
  if (mounted < 0) link.Fail(Stage::kCopyUp, errno, step.destination.c_str());
  CopyUp(link, hidden, mounted, step.destination.c_str());
  close(mounted);
  close(hidden);
}

void MountNew(const ChildLink& link, const MountStep& step, int root, int target) {
  char data[2 * PATH_MAX];
  const char* options = step.data.empty() ? nullptr : step.data.c_str();
  struct stat st;
  if (step.inherit_mode && fstat(target, &st) == 0 && step.data.size() < PATH_MAX) {
    snprintf(data, sizeof data, "%s%smode=%04o", step.data.c_str(), options ? "," : "",
             st.st_mode & 07777);
    options = data;
  }
  const char* source = step.source.empty() ? step.type.c_str() : step.source.c_str();
  int hidden = -1;
  if (step.copy_up) {
    hidden = open(FdPath(target).text, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (hidden < 0) link.Fail(Stage::kCopyUp, errno, step.destination.c_str());
  }
  if (mount(source, FdPath(target).text, step.type.c_str(), step.flags, options) == 0) {
    if (step.copy_up) FillMount(link, step, root, hidden);
    return;
  }
  if (step.fall_back_to_tree && step.tree.valid() && (errno == EPERM || errno == EBUSY)) {
    AttachTree(link, step, target);
    return;
  }
  link.Fail(Stage::kMount, errno, step.destination.c_str());
}

void MakeSymlink(const ChildLink& link, const MountStep& step, int root) {
  const char* name = nullptr;
  int dir = OpenParent(root, step.destination.c_str(), &name);
  if (dir < 0 || (symlinkat(step.source.c_str(), dir, name) != 0 && errno != EEXIST)) {
    link.Fail(Stage::kMount, errno, step.destination.c_str());
  }
  close(dir);
}

void SetPropagation(const ChildLink& link, const MountStep& step, int root) {
  if (step.propagation.empty()) return;
  // A fresh walk: the old descriptor shows what lies below the mount.
  int mounted = OpenInRoot(root, step.destination.c_str(), O_PATH);
  if (mounted < 0) link.Fail(Stage::kMount, errno, step.destination.c_str());
  for (unsigned long flags : step.propagation) {
    if (mount(nullptr, FdPath(mounted).text, nullptr, flags, nullptr) != 0) {
      link.Fail(Stage::kPropagation, errno, step.destination.c_str());
    }
  }
  close(mounted);
}

void RunStep(const ChildLink& link, const MountStep& step, int root) {
  if (step.kind == MountStep::Kind::kSymlink) {
    MakeSymlink(link, step, root);
    return;
  }
  int target = OpenTarget(link, step, root);
  RefuseOverProc(link, step, target);
  if (step.kind == MountStep::Kind::kNew) {
    MountNew(link, step, root, target);
  } else if (step.kind == MountStep::Kind::kTree) {
    AttachTree(link, step, target);
  } else if (mount(nullptr, FdPath(target).text, nullptr, step.flags | MS_REMOUNT,
                   step.data.empty() ? nullptr : step.data.c_str()) != 0) {
    link.Fail(Stage::kMount, errno, step.destination.c_str());
  }
  close(target);
  SetPropagation(link, step, root);
}

void MakeReadonly(const ChildLink& link, int fd, const char* path) {
  mount_attr attr = {};
  attr.attr_set = MOUNT_ATTR_RDONLY;
  if (mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof attr) != 0) {
    link.Fail(Stage::kReadonly, errno, path);
  }
}

// What would have been in the way of mounts inside.
void FinishAttributes(const ChildLink& link, const RootfsPlan& plan, int root) {
  for (const MountStep& step : plan.mounts) {
    mount_attr attr = {};
    attr.attr_set = step.recursive_set | (step.readonly_later ? MOUNT_ATTR_RDONLY : 0u);
    attr.attr_clr = step.recursive_cleared;
    if (attr.attr_set == 0 && attr.attr_clr == 0) continue;
    int fd = OpenInRoot(root, step.destination.c_str(), O_PATH);
    if (fd < 0 || mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof attr) != 0) {
      link.Fail(Stage::kReadonly, errno, step.destination.c_str());
    }
    close(fd);
  }
}

// The host's /dev/null, never the container's: that one may be a link to whatever a mask must hide
// (CVE-2025-31133).
int OpenDevNull(const ChildLink& link) {
  int fd = open("/dev/null", O_PATH | O_CLOEXEC | O_NOFOLLOW);
  struct stat st;
  if (fd < 0 || fstat(fd, &st) != 0) link.Fail(Stage::kMask, errno, "/dev/null");
  if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3)) {
    link.Fail(Stage::kMask, kErrorNotDevNull, "/dev/null");
  }
  return fd;
}

void MaskPaths(const ChildLink& link, const RootfsPlan& plan, int root) {
  if (plan.masked.empty()) return;
  int null = OpenDevNull(link);
  for (const std::string& path : plan.masked) {
    int target = OpenInRoot(root, path.c_str(), O_PATH);
    if (target < 0 && (errno == ENOENT || errno == ENOTDIR)) continue;
    struct stat st;
    if (target < 0 || fstat(target, &st) != 0) link.Fail(Stage::kMask, errno, path.c_str());
    int result =
        S_ISDIR(st.st_mode)
            ? mount("tmpfs", FdPath(target).text, "tmpfs", MS_RDONLY, "nr_blocks=1,nr_inodes=1")
            : mount(FdPath(null).text, FdPath(target).text, nullptr, MS_BIND, nullptr);
    if (result != 0) link.Fail(Stage::kMask, errno, path.c_str());
    close(target);
  }
  close(null);
}

void ReadonlyPaths(const ChildLink& link, const RootfsPlan& plan, int root) {
  for (const std::string& path : plan.readonly_paths) {
    int target = OpenInRoot(root, path.c_str(), O_PATH);
    if (target < 0 && (errno == ENOENT || errno == ENOTDIR)) continue;
    if (target < 0) link.Fail(Stage::kReadonly, errno, path.c_str());
    int tree =
        open_tree(target, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
    if (tree < 0) link.Fail(Stage::kReadonly, errno, path.c_str());
    MakeReadonly(link, tree, path.c_str());
    if (move_mount(tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0) {
      link.Fail(Stage::kReadonly, errno, path.c_str());
    }
    close(tree);
    close(target);
  }
}

void IsolateHostMounts(const ChildLink& link, const RootfsPlan& plan) {
  // With shared propagation only "/" is cut off, so that nothing of the set-up reaches the host,
  // while bound volumes stay in their peer groups.
  unsigned long flags = plan.shared_root ? MS_PRIVATE : MS_SLAVE | MS_REC;
  if (mount(nullptr, "/", nullptr, flags, nullptr) != 0) link.Fail(Stage::kPropagation, errno, "/");
}

}  // namespace

void SetupRootfs(const ChildLink& link, const RootfsPlan& plan) {
  IsolateHostMounts(link, plan);
  int root = plan.tree.get();
  // On top of our own "/": needs no directory that a mapped root might not reach, and paths read
  // back from descriptors are those of the container. "/" itself still leads to the host.
  if (move_mount(root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) != 0) {
    link.Fail(Stage::kRootfs, errno, plan.path.c_str());
  }
  for (const MountStep& step : plan.mounts) RunStep(link, step, root);
  if (plan.setup_dev) SetupDevices(link, plan, root);
  // A failure shows when it is entered.
  int cwd = OpenOrMake(root, plan.cwd.c_str(), true);
  if (cwd >= 0) close(cwd);
}

void ShowRootfs(const ChildLink& link, const RootfsPlan& plan) {
  // A mapped root need not reach the bundle; its hooks then do without.
  if (move_mount(plan.tree.get(), "", AT_FDCWD, plan.path.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0 &&
      errno != EACCES) {
    link.Fail(Stage::kRootfs, errno, plan.path.c_str());
  }
}

void FinishRootfs(const ChildLink& link, const RootfsPlan& plan) {
  int root = plan.tree.get();
  FinishAttributes(link, plan, root);
  ReadonlyPaths(link, plan, root);
  MaskPaths(link, plan, root);
  if (plan.readonly) MakeReadonly(link, root, "/");
}

void EnterRootfs(const ChildLink& link, const RootfsPlan& plan) {
  if (fchdir(plan.tree.get()) != 0) link.Fail(Stage::kPivot, errno, plan.path.c_str());
  if (plan.no_pivot) {
    // Best effort, as what stays reachable only to CAP_SYS_CHROOT must not show the host's kernel.
    umount2("/proc", MNT_DETACH);
    umount2("/sys", MNT_DETACH);
    if (chroot(".") != 0) link.Fail(Stage::kPivot, errno, plan.path.c_str());
  } else {
    if (syscall(SYS_pivot_root, ".", ".") != 0) link.Fail(Stage::kPivot, errno, plan.path.c_str());
    // The old root now lies on the new one; unmounting it must not travel to the host.
    if (mount(nullptr, ".", nullptr, MS_SLAVE | MS_REC, nullptr) != 0 ||
        umount2(".", MNT_DETACH) != 0) {
      link.Fail(Stage::kPivot, errno, "the old root");
    }
  }
  if (chdir("/") != 0) link.Fail(Stage::kPivot, errno, "/");
  if (plan.final_propagation != 0 &&
      mount(nullptr, "/", nullptr, plan.final_propagation, nullptr) != 0) {
    link.Fail(Stage::kPropagation, errno, "/");
  }
}

}  // namespace gantry::oci
