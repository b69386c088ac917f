#ifndef GANTRY_DOCKER_ROUTES_H_
#define GANTRY_DOCKER_ROUTES_H_

#include "docker/engine/context.h"
#include "docker/http/router.h"

namespace gantry::docker {

// Every endpoint there is. `context` must outlive the router.
void AddAllRoutes(http::Router& router, const Context& context);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_ROUTES_H_
