#ifndef GANTRY_SHIM_OCI_ROOTFS_PLAN_H_
#define GANTRY_SHIM_OCI_ROOTFS_PLAN_H_

#include "absl/status/statusor.h"
#include "shim/oci/cgroup.h"
#include "shim/oci/container.h"
#include "shim/oci/plan.h"
#include "shim/oci/spec.h"

namespace gantry::oci {

// The container's file system: root, mounts, devices, masks. Sources on the host are opened here.
absl::StatusOr<RootfsPlan> PlanRootfs(const CreateOptions& options, const Spec& spec,
                                      const Cgroup& cgroup);

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_ROOTFS_PLAN_H_
