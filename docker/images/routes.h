#ifndef GANTRY_DOCKER_IMAGES_ROUTES_H_
#define GANTRY_DOCKER_IMAGES_ROUTES_H_

#include "docker/engine/context.h"
#include "docker/http/router.h"

namespace gantry::docker {

// Everything below /images, and /auth, /commit and /distribution. `context` must outlive the
// router.
void AddImageRoutes(http::Router& router, const Context& context);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_IMAGES_ROUTES_H_
