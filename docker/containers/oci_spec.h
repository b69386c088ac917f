#ifndef GANTRY_DOCKER_CONTAINERS_OCI_SPEC_H_
#define GANTRY_DOCKER_CONTAINERS_OCI_SPEC_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/json.h"
#include "client/spec/spec.h"
#include "client/spec/user.h"
#include "docker/types/container_config.h"
#include "docker/types/host_config.h"

namespace gantry::docker {

// What the specification of a container is made from.
struct SpecInput {
  std::string id;
  const ContainerConfig* config;  // merged with the image's
  const HostConfig* host;
  client::ResolvedUser user;
  std::vector<client::SpecMount> mounts;
  std::string init_path;      // of the host, for --init
  std::string cgroup_parent;  // unless the container names one
};

// The OCI runtime specification, with gantryd's places ({dir}, {netns}) in it. InvalidArgument for
// options that contradict themselves or the machine; the errors of stat(2) for devices.
absl::StatusOr<base::Json> BuildContainerSpec(const SpecInput& input);

// The program and its arguments: entrypoint, then command. InvalidArgument "no command specified".
absl::StatusOr<StringList> CommandLine(const ContainerConfig& config);

// The linux.resources object of the specification (without devices).
absl::StatusOr<base::Json> ResourcesJson(const ResourceSettings& settings);

// Docker's seccomp profile format (or OCI's) as linux.seccomp, for a process with these
// capabilities. InvalidArgument for what is none.
absl::StatusOr<base::Json> ConvertSeccomp(const std::string& profile,
                                          const std::vector<std::string>& capabilities);

// The paths that are hidden or read-only unless the container says otherwise.
std::vector<std::string> DefaultMaskedPaths();
std::vector<std::string> DefaultReadonlyPaths();

// Whether the host has control groups of version 2 only.
bool IsCgroupV2();

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_CONTAINERS_OCI_SPEC_H_
