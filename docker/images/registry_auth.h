#ifndef GANTRY_DOCKER_IMAGES_REGISTRY_AUTH_H_
#define GANTRY_DOCKER_IMAGES_REGISTRY_AUTH_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/json.h"

namespace gantry::docker {

// What X-Registry-Auth carries. Never logged.
struct RegistryAuth {
  std::string username;
  std::string password;
  std::string identity_token;  // an OAuth2 refresh token
  std::string registry_token;  // a bearer token for the registry itself
  std::string server_address;

  bool empty() const {
    return username.empty() && password.empty() && identity_token.empty() && registry_token.empty();
  }
};

// The header: base64 (URL-safe or not, padded or not) of JSON. An empty header, and "{}", are no
// credentials. InvalidArgument for what cannot be read.
absl::StatusOr<RegistryAuth> ParseRegistryAuth(absl::string_view header);
// The JSON itself, as POST /auth has it.
absl::StatusOr<RegistryAuth> RegistryAuthFromJson(const base::Json& json);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_IMAGES_REGISTRY_AUTH_H_
