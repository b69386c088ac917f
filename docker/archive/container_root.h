#ifndef GANTRY_DOCKER_ARCHIVE_CONTAINER_ROOT_H_
#define GANTRY_DOCKER_ARCHIVE_CONTAINER_ROOT_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/mount.h"
#include "client/connection.h"
#include "docker/archive/mounted_root.h"
#include "docker/containers/lookup.h"
#include "docker/engine/context.h"

namespace gantry::docker {

struct RootOptions {
  // Volumes and bind mounts, too, of a container that does not run. One that runs has them anyway.
  bool with_volumes = true;
};

// Calls `work` with the container's root directory (O_PATH): that of its first process while it
// runs, else its snapshot, mounted with its volumes for that long in a mount namespace of its own:
// nothing of it is left behind, whatever ends us. Blocks; `work` runs on another thread.
absl::Status WithContainerRoot(const Context& context, const FoundContainer& container,
                               const RootOptions& options,
                               const std::function<absl::Status(int root_fd)>& work);

// The mounts that make the container's writable snapshot.
absl::StatusOr<std::vector<base::Mount>> SnapshotMounts(const Context& context,
                                                        const FoundContainer& container);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_ARCHIVE_CONTAINER_ROOT_H_
