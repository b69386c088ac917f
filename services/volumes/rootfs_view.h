#ifndef GANTRY_SERVICES_VOLUMES_ROOTFS_VIEW_H_
#define GANTRY_SERVICES_VOLUMES_ROOTFS_VIEW_H_

#include <vector>

#include "base/mount.h"

namespace gantry::services {

// The mounts of an active snapshot such that nothing can be written, and so that they can be made
// while the snapshot is mounted elsewhere: an overlay's upper directory becomes its topmost lower
// one (the kernel allows each upper directory in one mount only).
std::vector<base::Mount> ReadOnlyMounts(std::vector<base::Mount> mounts);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_VOLUMES_ROOTFS_VIEW_H_
