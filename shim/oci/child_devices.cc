#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>

#include "shim/oci/child.h"

namespace gantry::oci {
namespace {

mode_t FileType(char type) {
  if (type == 'b') return S_IFBLK;
  return type == 'p' ? S_IFIFO : S_IFCHR;
}

bool IsSameDevice(int dir, const char* name, mode_t type, dev_t number) {
  struct stat st;
  return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && (st.st_mode & S_IFMT) == type &&
         (type == S_IFIFO || st.st_rdev == number);
}

void BindDevice(const ChildLink& link, const DeviceStep& step, int root) {
  const char* path = step.device.path.c_str();
  int target = OpenOrMake(root, path, false);
  if (target < 0 || move_mount(step.tree.get(), "", target, "",
                               MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0) {
    link.Fail(Stage::kDevice, errno, path);
  }
  close(target);
}

void MakeDevice(const ChildLink& link, const DeviceStep& step, int root) {
  const Device& device = step.device;
  if (step.tree.valid()) {
    BindDevice(link, step, root);
    return;
  }
  const char* name = nullptr;
  int dir = OpenParent(root, device.path.c_str(), &name);
  if (dir < 0) link.Fail(Stage::kDevice, errno, device.path.c_str());
  mode_t type = FileType(device.type);
  dev_t number = makedev(static_cast<unsigned>(device.major), static_cast<unsigned>(device.minor));
  if (mknodat(dir, name, type | device.mode, number) != 0) {
    if (errno == EEXIST && IsSameDevice(dir, name, type, number)) {
      close(dir);
      return;
    }
    link.Fail(Stage::kDevice, errno, device.path.c_str());
  }
  if ((device.uid != 0 || device.gid != 0) &&
      fchownat(dir, name, device.uid, device.gid, AT_SYMLINK_NOFOLLOW) != 0) {
    link.Fail(Stage::kDevice, errno, device.path.c_str());
  }
  close(dir);
}

void MakeLinks(const ChildLink& link, int dev) {
  static constexpr const char* kLinks[][2] = {{"/proc/self/fd", "fd"},
                                              {"/proc/self/fd/0", "stdin"},
                                              {"/proc/self/fd/1", "stdout"},
                                              {"/proc/self/fd/2", "stderr"},
                                              {"/proc/kcore", "core"}};
  for (const auto& [target, name] : kLinks) {
    if (strcmp(name, "core") == 0 && access("/proc/kcore", F_OK) != 0) continue;
    if (symlinkat(target, dev, name) != 0 && errno != EEXIST) {
      link.Fail(Stage::kDevice, errno, name);
    }
  }
  if (unlinkat(dev, "ptmx", 0) != 0 && errno != ENOENT) link.Fail(Stage::kDevice, errno, "ptmx");
  if (symlinkat("pts/ptmx", dev, "ptmx") != 0) link.Fail(Stage::kDevice, errno, "/dev/ptmx");
}

int OpenPtyMaster(const ChildLink& link, int root) {
  int master = OpenInRoot(root, "/dev/pts/ptmx", O_RDWR | O_NOCTTY, RESOLVE_NO_SYMLINKS);
  struct stat st;
  struct statfs fs;
  if (master < 0 || fstat(master, &st) != 0 || fstatfs(master, &fs) != 0) {
    link.Fail(Stage::kConsole, errno, "/dev/pts/ptmx");
  }
  if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(5, 2) || fs.f_type != DEVPTS_SUPER_MAGIC) {
    link.Fail(Stage::kConsole, kErrorNotPty, "/dev/pts/ptmx");
  }
  return master;
}

void BindConsole(const ChildLink& link, int root, int slave) {
  int dev = OpenInRoot(root, "/dev", O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
  if (dev < 0) link.Fail(Stage::kConsole, errno, "/dev");
  int made = openat(dev, "console", O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_WRONLY, 0666);
  if (made >= 0) close(made);
  // Beneath our own view of /dev and never through a link (CVE-2025-52565).
  int target = OpenInRoot(dev, "console", O_PATH, RESOLVE_NO_SYMLINKS);
  if (target < 0) link.Fail(Stage::kConsole, errno, "/dev/console");
  int tree = open_tree(slave, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
  if (tree < 0 ||
      move_mount(tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0) {
    link.Fail(Stage::kConsole, errno, "/dev/console");
  }
  close(tree);
  close(target);
  close(dev);
}

}  // namespace

void SetupDevices(const ChildLink& link, const RootfsPlan& plan, int root) {
  // Through a linked /dev the nodes and links would land in a volume (CVE-2026-41579).
  int dev = OpenInRoot(root, "/dev", O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
  if (dev < 0 && errno == ENOENT) {
    dev = OpenOrMake(root, "/dev", true);
    if (dev >= 0) close(dev);
    dev = OpenInRoot(root, "/dev", O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
  }
  if (dev < 0) {
    bool is_link = errno == ELOOP || errno == ENOTDIR;
    link.Fail(Stage::kDevice, is_link ? kErrorSymlink : errno, "/dev");
  }
  for (const DeviceStep& step : plan.devices) MakeDevice(link, step, root);
  MakeLinks(link, dev);
  close(dev);
}

int SetupConsole(const ChildLink& link, const ProcessPlan& process, int root, bool bind_console) {
  int master = OpenPtyMaster(link, root);
  int unlock = 0;
  if (ioctl(master, TIOCSPTLCK, &unlock) != 0) link.Fail(Stage::kConsole, errno, "TIOCSPTLCK");
  int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (slave < 0) link.Fail(Stage::kConsole, errno, "TIOCGPTPEER");
  if (process.rows != 0 || process.columns != 0) {
    winsize size = {};
    size.ws_row = process.rows;
    size.ws_col = process.columns;
    if (ioctl(master, TIOCSWINSZ, &size) != 0) link.Fail(Stage::kConsole, errno, "TIOCSWINSZ");
  }
  if (bind_console) BindConsole(link, root, slave);
  link.Send(ReportKind::kConsole, 0, master);
  close(master);
  return slave;
}

}  // namespace gantry::oci
