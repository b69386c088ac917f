#ifndef GANTRY_SERVICES_VOLUMES_VOLUME_MOUNT_H_
#define GANTRY_SERVICES_VOLUMES_VOLUME_MOUNT_H_

// The kernel's side of volumes with options. Everything goes by descriptors; a mount that is not
// attached in the end is gone with its descriptor.

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "services/volumes/volume_options.h"

namespace gantry::services {

// A file system or a clone of a directory, attached nowhere yet. Blocks as the file system does
// (nfs: minutes). Errors carry what the kernel says of the options; their text begins with "failed
// to mount local volume: ". A host name in addr= of an nfs is looked up.
absl::StatusOr<base::UniqueFd> MakeVolumeMount(const VolumeMount& mount);

// Attaches it to the directory `directory` (an open one that nothing is mounted on).
absl::Status AttachVolumeMount(const base::UniqueFd& mount, const VolumeMount& options,
                               int directory);

// Whether something is mounted on the entry `name` of `parent`.
absl::StatusOr<bool> IsMounted(int parent, const char* name);

// Detaches whatever is mounted there.
absl::Status UnmountEntry(int parent, const char* name);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_VOLUMES_VOLUME_MOUNT_H_
