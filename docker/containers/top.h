#ifndef GANTRY_DOCKER_CONTAINERS_TOP_H_
#define GANTRY_DOCKER_CONTAINERS_TOP_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "docker/engine/context.h"
#include "docker/http/router.h"

namespace gantry::docker {

// GET /containers/{name}/top
absl::Status ContainerTop(const Context& context, const std::shared_ptr<http::Exchange>& exchange);

// The columns that arguments of ps(1) ask for: "-ef" (also none), "aux", "-o pid,comm" and the
// like. InvalidArgument for what is not understood.
absl::StatusOr<std::vector<std::string>> PsColumns(const std::string& arguments);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_CONTAINERS_TOP_H_
