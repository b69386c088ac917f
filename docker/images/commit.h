#ifndef GANTRY_DOCKER_IMAGES_COMMIT_H_
#define GANTRY_DOCKER_IMAGES_COMMIT_H_

#include "docker/images/image_api.h"

namespace gantry::docker {

// POST /commit. Apart from the other routes of images, because it needs containers, which need
// images. `context` must outlive the router.
void AddCommitRoutes(http::Router& router, const Context& context);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_IMAGES_COMMIT_H_
