#ifndef GANTRY_DOCKER_VOLUMES_ROUTES_H_
#define GANTRY_DOCKER_VOLUMES_ROUTES_H_

#include "docker/engine/context.h"
#include "docker/http/router.h"

namespace gantry::docker {

// Everything below /volumes. `context` must outlive the router.
void AddVolumeRoutes(http::Router& router, const Context& context);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_VOLUMES_ROUTES_H_
