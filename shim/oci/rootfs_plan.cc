#include "shim/oci/rootfs_plan.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

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
      GANTRY_ASSIGN_OR_RETURN(step.tree, CloneTree(device.path, false));
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
  plan.no_pivot = options.no_pivot_root;
  GANTRY_RETURN_IF_ERROR(PlanMounts(spec, options.bundle, cgroup, plan.shared_root, &plan.mounts));
  plan.setup_dev = OwnsDev(spec);
  if (plan.setup_dev) GANTRY_RETURN_IF_ERROR(PlanDevices(spec, &plan));
  plan.masked = spec.linux_.masked_paths;
  plan.readonly_paths = spec.linux_.readonly_paths;
  return plan;
}

}  // namespace gantry::oci
