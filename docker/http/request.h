#ifndef GANTRY_DOCKER_HTTP_REQUEST_H_
#define GANTRY_DOCKER_HTTP_REQUEST_H_

// What a client asked for: the head of an HTTP request, taken apart.

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry::docker::http {

// Of the Engine API.
struct ApiVersion {
  int major = 0;
  int minor = 0;

  // "1.24". InvalidArgument for anything else.
  static absl::StatusOr<ApiVersion> Parse(absl::string_view text);
  std::string str() const;
  friend auto operator<=>(const ApiVersion&, const ApiVersion&) = default;
};

// The oldest and the newest that this engine speaks.
inline constexpr ApiVersion kMinApiVersion{1, 24};
inline constexpr ApiVersion kApiVersion{1, 51};

// The part of a URL after '?', decoded. Later values of a key follow earlier ones.
class Query {
 public:
  // Never fails: a bad percent sequence stays as it is.
  static Query Parse(absl::string_view text);

  bool Has(absl::string_view key) const;
  // The first value; empty when the key is absent.
  const std::string& Get(absl::string_view key) const;
  std::vector<std::string> All(absl::string_view key) const;
  // As Docker reads booleans: "", "0", "no", "false" and "none" (any case) are false, the rest
  // true.
  bool Bool(absl::string_view key, bool otherwise = false) const;

 private:
  std::vector<std::pair<std::string, std::string>> pairs_;
};

struct Request {
  std::string method;  // "GET"
  // Decoded, with '/' before it, without "/v1.43".
  std::string path;
  Query query;
  // The one in the path, or kApiVersion.
  ApiVersion version = kApiVersion;
  // What the placeholders of the route matched: {"name", "web"}.
  std::map<std::string, std::string> vars;
  // Names in lower case.
  std::map<std::string, std::string> headers;
  bool http_1_0 = false;

  // Empty when absent. `name` in lower case.
  const std::string& Header(absl::string_view name) const;
  // Empty when the route has no such placeholder.
  const std::string& Var(absl::string_view name) const;
};

// %41 is A; with `plus`, + is a blank. A bad sequence stays as it is.
std::string UrlDecode(absl::string_view text, bool plus);

}  // namespace gantry::docker::http

#endif  // GANTRY_DOCKER_HTTP_REQUEST_H_
