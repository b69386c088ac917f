#ifndef GANTRY_DOCKER_IMAGES_CHANGES_H_
#define GANTRY_DOCKER_IMAGES_CHANGES_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/json.h"

namespace gantry::docker {

// Applies instructions of a Dockerfile ("ENV A=b", "CMD [\"sh\"]") to an image's configuration
// (Docker's Config), as `docker commit --change` and `docker import --change` allow them: CMD
// ENTRYPOINT ENV EXPOSE HEALTHCHECK LABEL ONBUILD SHELL STOPSIGNAL USER VOLUME WORKDIR. Each change
// may hold several lines. InvalidArgument "RUN is not a valid change command", and for arguments
// that the instruction does not take.
absl::Status ApplyChanges(const std::vector<std::string>& changes, base::Json* config);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_IMAGES_CHANGES_H_
