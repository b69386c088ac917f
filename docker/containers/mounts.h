#ifndef GANTRY_DOCKER_CONTAINERS_MOUNTS_H_
#define GANTRY_DOCKER_CONTAINERS_MOUNTS_H_

// Everything that puts files of elsewhere into a container: -v, --mount, --tmpfs, --volumes-from
// and the volumes of its image.

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/spec/spec.h"
#include "docker/containers/document.h"
#include "docker/types/container_config.h"
#include "docker/types/host_config.h"

namespace gantry::docker {

// One mount before its volume exists.
struct PlannedMount {
  MountPoint point;
  bool copy = true;            // fill an empty volume from the image
  bool create_source = false;  // make a missing directory of the host (-v does)
  bool recursive = true;
  StringMap labels, driver_options;  // of a volume that must be made
  std::vector<std::string> tmpfs_options;
};

// "/src:/dst:ro". InvalidArgument in Docker's words.
absl::StatusOr<PlannedMount> ParseBind(absl::string_view text, const std::string& volume_driver);
// One of --mount.
absl::StatusOr<PlannedMount> PlanMount(const MountRequest& request);

// The mounts of another container, for --volumes-from.
using MountsOf =
    std::function<absl::StatusOr<std::vector<MountPoint>>(const std::string& container)>;

// All of them, one for each destination, parents before what lies in them. InvalidArgument
// "Duplicate mount point: /x".
absl::StatusOr<std::vector<PlannedMount>> PlanMounts(const ContainerConfig& config,
                                                     const HostConfig& host,
                                                     const MountsOf& mounts_of);

// Checks or makes the sources of the host's directories. InvalidArgument `invalid mount config for
// type "bind": bind source path does not exist: /x`.
absl::Status PrepareSources(const std::vector<PlannedMount>& mounts);

// The entries of the OCI specification. The sources of volumes are filled in by now.
std::vector<client::SpecMount> SpecMounts(const std::vector<PlannedMount>& mounts);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_CONTAINERS_MOUNTS_H_
