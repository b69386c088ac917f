#ifndef GANTRY_SERVICES_REGISTRY_HTTP_H_
#define GANTRY_SERVICES_REGISTRY_HTTP_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace gantry::services {

// Name and value; names are compared without regard to case.
using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

// The first value of `name`, or "".
absl::string_view FindHeader(const HttpHeaders& headers, absl::string_view name);
std::vector<std::string> FindHeaders(const HttpHeaders& headers, absl::string_view name);

// A body to send: `size` bytes, produced from offset 0 on by `read` (0 bytes = broken source). The
// transport may start again at 0 when it has to repeat a request.
struct HttpBody {
  uint64_t size = 0;
  std::function<absl::Status(uint64_t offset, char* to, size_t want, size_t* got)> read;
};

struct HttpRequest {
  std::string method = "GET";
  std::string url;
  HttpHeaders headers;
  std::string body;                  // small bodies
  const HttpBody* upload = nullptr;  // large ones; wins over `body`
};

struct HttpResponse {
  int status = 0;
  HttpHeaders headers;
  int64_t content_length = -1;  // -1: not told
  // What did not go to the sink, at most HttpCall::body_limit bytes.
  std::string body;
  // The failure that Do() returned came from the caller's sink or upload source, not from the wire.
  bool callback_failed = false;
};

struct HttpCall {
  // Asked once when the headers are complete: true sends the body to `sink`, false (or no function)
  // collects it in HttpResponse::body.
  std::function<bool(const HttpResponse&)> accept;
  std::function<absl::Status(absl::string_view)> sink;
  size_t body_limit = 64u << 10;
  // Beyond the limit: cut silently (error pages) or fail with ResourceExhausted (manifests).
  bool body_must_fit = false;
};

struct HttpOptions {
  std::vector<std::string> ca_files;  // added to the system's certificates
  // Client certificate and key (PEM); an empty key means it is in the same file.
  std::string client_cert;
  std::string client_key;
  bool skip_verify = false;
  absl::Duration connect_timeout = absl::Seconds(30);
  // A connection that moves no byte for so long is given up (Unavailable).
  absl::Duration stall_timeout = absl::Seconds(60);
  std::function<bool()> cancelled;  // polled about once a second; may be null
};

// One HTTP exchange at a time per calling thread, any number of threads; keeps connections alive
// for the next call. Follows no redirect and adds no credentials: that is the caller's decision.
// Speaks only http and https; proxies by the environment (HTTPS_PROXY, NO_PROXY) as curl knows
// them.
class HttpClient {
 public:
  explicit HttpClient(HttpOptions options);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Blocks. OK means that a response came to its end as announced, whatever its status code says.
  // Unavailable: no connection, broken, cut short, or stalled: may be repeated. FailedPrecondition:
  // the TLS peer could not be verified or our certificates cannot be read. Cancelled: `cancelled`
  // said so. InvalidArgument: the URL. Otherwise what sink or upload source returned. `response`
  // holds what was received in every case.
  absl::Status Do(const HttpRequest& request, const HttpCall& call, HttpResponse* response);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// `location` resolved against `base`; empty when it is no http or https URL.
std::string ResolveUrl(const std::string& base, const std::string& location);
// "https://host:port" in lower case with the default port filled in: what makes two URLs the same
// authority, for which credentials may be shared.
std::string OriginOf(const std::string& url);
std::string UrlEscape(absl::string_view text);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_REGISTRY_HTTP_H_
