#ifndef GANTRY_DOCKER_CONTAINERS_LOGS_H_
#define GANTRY_DOCKER_CONTAINERS_LOGS_H_

#include "docker/engine/context.h"
#include "docker/http/router.h"

namespace gantry::docker {

// GET /containers/{name}/logs. With "follow" it lasts until the container has ended, and holds no
// thread while nothing is written or the client does not read.
absl::Status ContainerLogs(const Context& context, const std::shared_ptr<http::Exchange>& exchange);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_CONTAINERS_LOGS_H_
