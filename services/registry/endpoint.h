#ifndef GANTRY_SERVICES_REGISTRY_ENDPOINT_H_
#define GANTRY_SERVICES_REGISTRY_ENDPOINT_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "services/registry/auth.h"
#include "services/registry/hosts.h"
#include "services/registry/http.h"

namespace gantry::services {

struct RetryPolicy {
  int attempts = 5;  // of one request that moves nothing forward
  absl::Duration first_delay = absl::Milliseconds(250);
  absl::Duration max_delay = absl::Seconds(30);  // also the longest Retry-After that is waited for
};

struct EndpointOptions {
  CredentialProvider credentials;
  HttpHeaders headers;  // of the client, sent to registries only
  RetryPolicy retry;
  absl::Duration stall_timeout = absl::Seconds(60);
  std::function<bool()> cancelled;
};

// One registry host: requests with authentication, redirects and retries. Thread-safe.
class Endpoint {
 public:
  Endpoint(RegistryHost host, const EndpointOptions& options);

  const RegistryHost& host() const { return host_; }

  // Sends `request`, whose url is a path below the host's API root ("/NAME/manifests/x") or, as the
  // host gave it in Location, a whole URL. Answers a 401 by authenticating for `scopes`, follows
  // redirects of GET and HEAD (at most ten; never from https to http; Authorization and configured
  // headers stay with the origin that they are meant for: CVE-2020-15157). No retries.
  // OK for every status code that is not 401.
  absl::Status Once(HttpRequest request, const std::vector<std::string>& scopes,
                    const HttpCall& call, HttpResponse* response);

  // Once(), repeated with growing delays after broken connections, 429 (as Retry-After says), 408
  // and 5xx. Only for requests that may be repeated whole.
  absl::Status Do(const HttpRequest& request, const std::vector<std::string>& scopes,
                  const HttpCall& call, HttpResponse* response);

  // Waits before attempt `n` (from 1), longer if `response` says so. Cancelled when cancelled.
  absl::Status Pause(int n, const HttpResponse& response) const;
  const RetryPolicy& retry() const { return options_.retry; }

 private:
  HttpClient* http();
  std::string BaseUrl();
  void SettleScheme() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Redirected(HttpRequest request, const std::string& authorization,
                          const HttpCall& call, HttpResponse* response);

  RegistryHost host_;
  const EndpointOptions options_;
  absl::Mutex mu_;
  bool settled_ ABSL_GUARDED_BY(mu_) = false;
  std::unique_ptr<HttpClient> http_;
  std::unique_ptr<Authorizer> authorizer_;
};

// Whether a response with this code may come out better next time.
bool IsTransient(int http_status);
// The status for an answer that is not what was hoped for: 404 NotFound, 401 Unauthenticated, 403
// PermissionDenied, 429 ResourceExhausted, 5xx Unavailable, others Unknown; with the registry's own
// error codes and messages in the text.
absl::Status StatusOfResponse(const std::string& what, const HttpResponse& response);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_REGISTRY_ENDPOINT_H_
