#ifndef GANTRY_DOCKER_NETWORKS_NETWORK_JSON_H_
#define GANTRY_DOCKER_NETWORKS_NETWORK_JSON_H_

#include <vector>

#include "absl/status/statusor.h"
#include "base/json.h"
#include "docker/system/filters.h"
#include "gantry/services/networks/v1/networks.pb.h"

namespace gantry::docker {

// A network as the API shows it. Containers come from `endpoints` (of those that run).
base::OrderedJson NetworkJson(
    const gantry::services::networks::v1::Network& network,
    const std::vector<gantry::services::networks::v1::Endpoint>& endpoints, int minor_version);

// Whether GET /networks lists it: by driver, id (its beginning), name (any part), label, scope,
// type. `in_use`: containers are connected. InvalidArgument for a bad value.
absl::StatusOr<bool> NetworkMatches(const gantry::services::networks::v1::Network& network,
                                    bool in_use, const Filters& filters);

// The body of POST /networks/create. InvalidArgument for what contradicts itself or has a wrong
// type.
absl::StatusOr<gantry::services::networks::v1::Network> NetworkFromJson(const base::Json& body);

// EndpointConfig of POST /networks/{id}/connect and of containers.
absl::StatusOr<gantry::services::networks::v1::EndpointSettings> EndpointFromJson(
    const base::Json& json);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_NETWORKS_NETWORK_JSON_H_
