#ifndef GANTRY_DOCKER_CONTAINERS_NETWORK_PLAN_H_
#define GANTRY_DOCKER_CONTAINERS_NETWORK_PLAN_H_

// From Docker's words about networks and ports to gantryd's.

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/json.h"
#include "docker/types/container_config.h"
#include "docker/types/host_config.h"
#include "gantry/services/lifecycle/v1/lifecycle.pb.h"
#include "gantry/services/networks/v1/networks.pb.h"

namespace gantry::docker {

// "80", "80/tcp", "8000-8010/udp" of a container; tcp unless said otherwise. InvalidArgument
// "invalid proto: x", "invalid port …".
struct PortRange {
  uint32_t first = 0;
  uint32_t last = 0;
  std::string protocol;
};
absl::StatusOr<PortRange> ParsePort(absl::string_view text);

// One of EndpointsConfig: {"IPAMConfig": …, "Aliases": …}.
absl::StatusOr<gantry::services::networks::v1::EndpointSettings> ParseEndpoint(
    const std::string& network, const base::Json& json);

// Fills what a policy says of networks. `endpoints` is NetworkingConfig.EndpointsConfig (or null).
// The network mode "container:NAME" must carry an id by now. InvalidArgument for what contradicts
// itself ("conflicting options: …").
absl::Status PlanNetworks(const std::string& id, const ContainerConfig& config,
                          const HostConfig& host, const base::Json& endpoints,
                          gantry::services::lifecycle::v1::Policy* policy);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_CONTAINERS_NETWORK_PLAN_H_
