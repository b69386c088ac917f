#ifndef GANTRY_SERVICES_REGISTRY_QUERIES_H_
#define GANTRY_SERVICES_REGISTRY_QUERIES_H_

// Questions to registries that are about no single image.

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/registry/client.h"

namespace gantry::services {

// OK when the registry at `host` takes the credentials in `options`, or wants none.
// Unauthenticated or PermissionDenied when it refuses them.
absl::Status CheckLogin(const std::string& host, const RegistryOptions& options);

// The JSON document that `host` (empty: docker.io) answers to Docker's search with. InvalidArgument
// when what it sends is no JSON.
absl::StatusOr<std::string> SearchRegistry(const std::string& host, const std::string& term,
                                           uint32_t limit, const RegistryOptions& options);

// All tags of `repository` ("docker.io/library/busybox"), page after page. ResourceExhausted beyond
// a hundred thousand.
absl::StatusOr<std::vector<std::string>> ListTags(const std::string& repository,
                                                  const RegistryOptions& options);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_REGISTRY_QUERIES_H_
