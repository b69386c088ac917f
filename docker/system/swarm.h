#ifndef GANTRY_DOCKER_SYSTEM_SWARM_H_
#define GANTRY_DOCKER_SYSTEM_SWARM_H_

#include "docker/http/router.h"

namespace gantry::docker {

// What an engine that is no member of a swarm and has no plugins answers to their endpoints, and
// that building is not there yet.
void AddAbsentRoutes(http::Router& router);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_SYSTEM_SWARM_H_
