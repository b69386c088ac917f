#include "shim/oci/rootfs_plan.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "shim/oci/mounts.h"

namespace gantry::oci {
namespace {

std::string RootPath(const CreateOptions& options, const Spec& spec) {
  if (!options.rootfs.empty()) return options.rootfs;
  if (absl::StartsWith(spec.root_path, "/")) return spec.root_path;
  return absl::StrCat(options.bundle, "/", spec.root_path);
}

absl::StatusOr<base::UniqueFd> OpenRoot(const std::string& path, bool keep_shared) {
  auto tree = CloneTree(path, true);
  if (!tree.ok()) {
    return base::ErrnoStatus(base::ErrnoOf(tree.status()), absl::StrCat("rootfs ", path));
  }
  struct stat st;
  if (fstat(tree->get(), &st) != 0 || !S_ISDIR(st.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat("rootfs ", path, ": not a directory"));
  }
  mount_attr attr = {};
  attr.propagation = MS_SLAVE;
  if (!keep_shared &&
      mount_setattr(tree->get(), "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof attr) != 0) {
    return base::ErrnoStatus(errno, absl::StrCat("isolate mounts below ", path));
  }
  return tree;
}

// /dev is left as it is when the client binds a directory there.
bool OwnsDev(const Spec& spec) {
  return std::none_of(spec.mounts.begin(), spec.mounts.end(), [](const MountSpec& mount) {
    if (mount.destination != "/dev" && mount.destination != "/dev/") return false;
    return mount.type == "bind" || (ParseMountFlags(mount.options).set & MS_BIND) != 0;
  });
}

// What an id of the container is on the host; ids without a mapping stay as they are.
uint32_t HostId(uint32_t id, const std::vector<IdMapping>& mappings) {
  for (const IdMapping& m : mappings) {
    if (id >= m.container_id && id - m.container_id < m.size)
      return m.host_id + id - m.container_id;
  }
  return id;
}

// A node that the host does not have, in a tmpfs of its own that nobody else sees.
absl::StatusOr<base::UniqueFd> NewDeviceTree(const Device& device, const LinuxSpec& linux_spec) {
  std::string what = absl::StrCat("make device ", device.path, " for a user namespace");
  base::UniqueFd fs(fsopen("tmpfs", FSOPEN_CLOEXEC));
  if (!fs.valid() || fsconfig(fs.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    return base::ErrnoStatus(errno, what);
  }
  base::UniqueFd dir(fsmount(fs.get(), FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC));
  if (!dir.valid()) return base::ErrnoStatus(errno, what);
  mode_t type = device.type == 'b' ? S_IFBLK : S_IFCHR;
  dev_t number = makedev(static_cast<unsigned>(device.major), static_cast<unsigned>(device.minor));
  if (mknodat(dir.get(), "node", type | device.mode, number) != 0 ||
      fchmodat(dir.get(), "node", device.mode, 0) != 0 ||
      fchownat(dir.get(), "node", HostId(device.uid, linux_spec.uid_mappings),
               HostId(device.gid, linux_spec.gid_mappings), AT_SYMLINK_NOFOLLOW) != 0) {
    return base::ErrnoStatus(errno, what);
  }
  base::UniqueFd tree(open_tree(dir.get(), "node", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (tree.valid()) return tree;
  // Kernels before 6.15 clone no detached mount.
  return absl::FailedPreconditionError(absl::StrCat(what, ": the host has no ", device.path,
                                                    " and this kernel cannot make one aside"));
}

absl::StatusOr<base::UniqueFd> DeviceTree(const Device& device, const LinuxSpec& linux_spec) {
  auto tree = CloneTree(device.path, false);
  if (absl::IsNotFound(tree.status())) return NewDeviceTree(device, linux_spec);
  GANTRY_RETURN_IF_ERROR(tree.status());
  MountFlags flags;
  flags.set = MS_NOSUID | MS_NOEXEC;
  GANTRY_RETURN_IF_ERROR(SetTreeFlags(tree->get(), flags, device.path));
  return tree;
}

absl::Status PlanDevices(const Spec& spec, RootfsPlan* plan) {
  std::vector<Device> devices = DefaultDevices();
  for (const Device& device : spec.linux_.devices) {
    // The pty belongs to the container's own devpts, whatever the client lists.
    if (device.path == "/dev/ptmx") continue;
    auto same = std::find_if(devices.begin(), devices.end(),
                             [&](const Device& other) { return other.path == device.path; });
    if (same != devices.end()) {
      *same = device;
    } else {
      devices.push_back(device);
    }
  }
  // Nobody but the initial user namespace may make nodes: there the host's are bound.
  bool bind = spec.FindNamespace(CLONE_NEWUSER) != nullptr;
  for (Device& device : devices) {
    DeviceStep step;
    if (bind && device.type != 'p') {
      GANTRY_ASSIGN_OR_RETURN(step.tree, DeviceTree(device, spec.linux_));
    }
    step.device = std::move(device);
    plan->devices.push_back(std::move(step));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<RootfsPlan> PlanRootfs(const CreateOptions& options, const Spec& spec,
                                      const Cgroup& cgroup) {
  RootfsPlan plan;
  plan.enabled = true;
  plan.path = RootPath(options, spec);
  GANTRY_ASSIGN_OR_RETURN(plan.final_propagation, ParsePropagation(spec.linux_.rootfs_propagation));
  plan.shared_root = (plan.final_propagation & MS_SHARED) != 0;
  GANTRY_ASSIGN_OR_RETURN(plan.tree, OpenRoot(plan.path, plan.shared_root));
  plan.readonly = spec.root_readonly;
  plan.cwd = spec.process->cwd;
  plan.no_pivot = options.no_pivot_root;
  GANTRY_RETURN_IF_ERROR(PlanMounts(spec, options.bundle, cgroup, plan.shared_root, &plan.mounts));
  plan.setup_dev = OwnsDev(spec);
  if (plan.setup_dev) GANTRY_RETURN_IF_ERROR(PlanDevices(spec, &plan));
  plan.masked = spec.linux_.masked_paths;
  plan.readonly_paths = spec.linux_.readonly_paths;
  return plan;
}

}  // namespace gantry::oci
