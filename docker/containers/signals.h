#ifndef GANTRY_DOCKER_CONTAINERS_SIGNALS_H_
#define GANTRY_DOCKER_CONTAINERS_SIGNALS_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "docker/http/request.h"

namespace gantry::docker {

// "SIGTERM", "term", "15", "SIGRTMIN+3". InvalidArgument "invalid signal: x".
absl::StatusOr<uint32_t> ParseSignal(absl::string_view text);

// The query keys h and w.
struct TerminalSize {
  uint32_t height = 0;
  uint32_t width = 0;
};
absl::StatusOr<TerminalSize> ReadTerminalSize(const http::Query& query);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_CONTAINERS_SIGNALS_H_
