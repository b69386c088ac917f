#ifndef GANTRY_DOCKER_CONTAINERS_NAMES_H_
#define GANTRY_DOCKER_CONTAINERS_NAMES_H_

#include <string>

#include "absl/status/status.h"

namespace gantry::docker {

// A name for a container whose maker gave none: "brisk_harbor". With `more` a digit is added, for
// when the first attempts were taken.
std::string RandomName(bool more);

// InvalidArgument in Docker's words unless `name` (without '/') is a good one.
absl::Status CheckContainerName(const std::string& name);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_CONTAINERS_NAMES_H_
