#ifndef GANTRY_DOCKER_ARCHIVE_ROUTES_H_
#define GANTRY_DOCKER_ARCHIVE_ROUTES_H_

#include "docker/engine/context.h"
#include "docker/http/router.h"

namespace gantry::docker {

// HEAD, GET and PUT /containers/{name}/archive, GET /containers/{name}/export and
// /containers/{name}/changes. `context` must outlive the router.
void AddArchiveRoutes(http::Router& router, const Context& context);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_ARCHIVE_ROUTES_H_
