#ifndef GANTRY_DOCKER_CONTAINERS_INSPECT_H_
#define GANTRY_DOCKER_CONTAINERS_INSPECT_H_

#include "docker/containers/exec_records.h"
#include "docker/engine/context.h"
#include "docker/http/router.h"

namespace gantry::docker {

// GET /containers/{name}/json
absl::Status InspectContainer(const Context& context, ExecRecords& execs,
                              const std::shared_ptr<http::Exchange>& exchange);
// GET /containers/json
absl::Status ListContainers(const Context& context,
                            const std::shared_ptr<http::Exchange>& exchange);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_CONTAINERS_INSPECT_H_
