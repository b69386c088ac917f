#ifndef GANTRY_DOCKER_SYSTEM_DISK_USAGE_H_
#define GANTRY_DOCKER_SYSTEM_DISK_USAGE_H_

#include "docker/engine/context.h"
#include "docker/http/router.h"

namespace gantry::docker {

// GET /system/df. `context` must outlive the router.
void AddDiskUsageRoutes(http::Router& router, const Context& context);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_SYSTEM_DISK_USAGE_H_
