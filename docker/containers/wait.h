#ifndef GANTRY_DOCKER_CONTAINERS_WAIT_H_
#define GANTRY_DOCKER_CONTAINERS_WAIT_H_

#include "docker/engine/context.h"
#include "docker/http/router.h"

namespace gantry::docker {

// POST /containers/{name}/wait: the answer begins at once, and ends with the container. Holds no
// thread; goes on when gantryd is restarted meanwhile.
absl::Status WaitContainer(const Context& context, const std::shared_ptr<http::Exchange>& exchange);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_CONTAINERS_WAIT_H_
