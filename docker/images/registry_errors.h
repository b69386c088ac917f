#ifndef GANTRY_DOCKER_IMAGES_REGISTRY_ERRORS_H_
#define GANTRY_DOCKER_IMAGES_REGISTRY_ERRORS_H_

#include "absl/status/status.h"
#include "docker/images/image_store.h"
#include "docker/images/reference.h"

namespace gantry::docker {

// What gantryd says of a pull that failed, in the words that Docker's users and tools know.
// `authenticated`: whether credentials were given.
absl::Status PullError(const absl::Status& status, const ImageReference& reference,
                       const Platform& platform, bool authenticated);
absl::Status PushError(const absl::Status& status, bool authenticated);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_IMAGES_REGISTRY_ERRORS_H_
