#ifndef GANTRY_DOCKER_CONTAINERS_CREATE_H_
#define GANTRY_DOCKER_CONTAINERS_CREATE_H_

#include "docker/engine/context.h"
#include "docker/http/router.h"

namespace gantry::docker {

// POST /containers/create
absl::Status CreateContainer(const Context& context,
                             const std::shared_ptr<http::Exchange>& exchange);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_CONTAINERS_CREATE_H_
