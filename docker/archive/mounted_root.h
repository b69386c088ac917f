#ifndef GANTRY_DOCKER_ARCHIVE_MOUNTED_ROOT_H_
#define GANTRY_DOCKER_ARCHIVE_MOUNTED_ROOT_H_

// The root directories of containers, as descriptors.

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mount.h"
#include "base/unique_fd.h"

namespace gantry::docker {

struct ExtraMount {
  std::string source;       // on this machine, the administrator's
  std::string destination;  // in the container
  bool read_only = false;
};
// Mounts `root` and, in it, `extra` in a mount namespace of its own, and calls `work` on another
// thread that is in it. Nothing is left behind, whatever ends us. A source that does not exist is
// left out.
absl::Status WithMounts(const std::vector<base::Mount>& root, const std::vector<ExtraMount>& extra,
                        bool read_only_root, const std::function<absl::Status(int root_fd)>& work);

// The root of process `pid`. `still_it` says, after the process is pinned, whether that is still
// the one that was meant: a number may have been given to another process. Unavailable otherwise.
absl::StatusOr<base::UniqueFd> OpenProcessRoot(pid_t pid, const std::function<bool()>& still_it);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_ARCHIVE_MOUNTED_ROOT_H_
