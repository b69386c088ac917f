#ifndef GANTRY_DOCKER_SYSTEM_VERSION_H_
#define GANTRY_DOCKER_SYSTEM_VERSION_H_

#include "docker/engine/context.h"
#include "docker/http/router.h"

namespace gantry::docker {

// /_ping and /version. `context` must outlive the router.
void AddVersionRoutes(http::Router& router, const Context& context);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_SYSTEM_VERSION_H_
