#ifndef GANTRY_DOCKER_ARCHIVE_CONTAINER_ROOT_H_
#define GANTRY_DOCKER_ARCHIVE_CONTAINER_ROOT_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/mount.h"
#include "client/connection.h"
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

// The parts that need no daemon.

struct ExtraMount {
  std::string source;       // on this machine, the administrator's
  std::string destination;  // in the container
  bool read_only = false;
};
absl::Status WithMounts(const std::vector<base::Mount>& root, const std::vector<ExtraMount>& extra,
                        bool read_only_root, const std::function<absl::Status(int root_fd)>& work);

// The root of process `pid`. `still_it` says, after the process is pinned, whether that is still
// the one that was meant: a number may have been given to another process. Unavailable otherwise.
absl::StatusOr<base::UniqueFd> OpenProcessRoot(pid_t pid, const std::function<bool()>& still_it);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_ARCHIVE_CONTAINER_ROOT_H_
