#include "docker/images/registry_auth.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_split.h"
#include "base/status.h"

namespace gantry::docker {
namespace {

using base::Json;

constexpr size_t kMaxHeader = 64u << 10;

absl::Status Malformed(absl::string_view why) {
  return absl::InvalidArgumentError("invalid X-Registry-Auth header: " + std::string(why));
}

bool DecodeBase64(absl::string_view text, std::string* out) {
  std::string plain(text);
  std::replace(plain.begin(), plain.end(), '-', '+');
  std::replace(plain.begin(), plain.end(), '_', '/');
  while (!plain.empty() && plain.back() == '=') plain.pop_back();
  return absl::Base64Unescape(plain, out);
}

}  // namespace

absl::StatusOr<RegistryAuth> RegistryAuthFromJson(const Json& json) {
  if (json.is_null()) return RegistryAuth();
  if (!json.is_object()) return Malformed("no JSON object");
  RegistryAuth auth;
  const std::pair<const char*, std::string*> fields[] = {{"username", &auth.username},
                                                         {"password", &auth.password},
                                                         {"identitytoken", &auth.identity_token},
                                                         {"registrytoken", &auth.registry_token},
                                                         {"serveraddress", &auth.server_address}};
  for (const auto& [key, to] : fields) {
    const Json& value = base::JsonAt(json, key);
    if (value.is_null()) continue;
    if (!value.is_string()) return Malformed(std::string(key) + " must be a string");
    *to = value.get<std::string>();
  }
  // Old clients put "user:password" in base64 into one field.
  std::string both;
  if (auth.username.empty() && DecodeBase64(base::JsonString(json, "auth"), &both)) {
    std::pair<std::string, std::string> parts = absl::StrSplit(both, absl::MaxSplits(':', 1));
    auth.username = parts.first;
    auth.password = parts.second;
  }
  return auth;
}

absl::StatusOr<RegistryAuth> ParseRegistryAuth(absl::string_view header) {
  if (header.empty()) return RegistryAuth();
  if (header.size() > kMaxHeader) return Malformed("too long");
  std::string text;
  if (!DecodeBase64(header, &text)) return Malformed("must be a valid base64url-encoded string");
  if (text.empty()) return RegistryAuth();
  auto json = base::ParseJson(text);
  if (!json.ok()) return Malformed("must be a JSON object");  // its text would show the secret
  return RegistryAuthFromJson(*json);
}

}  // namespace gantry::docker
