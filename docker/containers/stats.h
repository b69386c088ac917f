#ifndef GANTRY_DOCKER_CONTAINERS_STATS_H_
#define GANTRY_DOCKER_CONTAINERS_STATS_H_

#include "docker/engine/context.h"
#include "docker/http/router.h"

namespace gantry::docker {

// GET /containers/{name}/stats: one sample a second until the client leaves or the container is
// gone, on no thread of its own.
absl::Status ContainerStats(const Context& context,
                            const std::shared_ptr<http::Exchange>& exchange);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_CONTAINERS_STATS_H_
