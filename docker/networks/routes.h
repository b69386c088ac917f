#ifndef GANTRY_DOCKER_NETWORKS_ROUTES_H_
#define GANTRY_DOCKER_NETWORKS_ROUTES_H_

#include "docker/engine/context.h"
#include "docker/http/router.h"

namespace gantry::docker {

// Everything below /networks. `context` must outlive the router.
void AddNetworkRoutes(http::Router& router, const Context& context);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_NETWORKS_ROUTES_H_
