#ifndef GANTRY_DOCKER_SYSTEM_INFO_H_
#define GANTRY_DOCKER_SYSTEM_INFO_H_

#include <string>

#include "absl/strings/string_view.h"
#include "docker/engine/context.h"
#include "docker/http/router.h"

namespace gantry::docker {

// The value of `key` in a file like /etc/os-release, without quotes; empty when it is not there.
std::string OsReleaseValue(absl::string_view text, absl::string_view key);

// A UUID that stays the same for this machine and namespace: the engine's "ID".
std::string EngineId(absl::string_view machine_id, absl::string_view ns);

// GET /info. `context` must outlive the router.
void AddInfoRoutes(http::Router& router, const Context& context);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_SYSTEM_INFO_H_
