#include "services/registry/endpoint.h"

#include <algorithm>

#include "absl/random/random.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/json.h"
#include "base/status.h"

namespace gantry::services {
namespace {

constexpr int kMaxRedirects = 10;
constexpr int kMaxAuthRounds = 3;

bool IsRedirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

}  // namespace

bool IsTransient(int status) {
  return status == 408 || status == 429 || (status >= 500 && status != 501 && status != 505);
}

absl::Status StatusOfResponse(const std::string& what, const HttpResponse& response) {
  std::string message = absl::StrCat(what, ": the registry answered ", response.status);
  if (auto json = base::ParseJson(response.body, {64u << 10, 16}); json.ok()) {
    const base::Json& errors = base::JsonAt(*json, "errors");
    std::vector<std::string> texts;
    for (size_t i = 0; errors.is_array() && i < std::min<size_t>(errors.size(), 4); ++i) {
      texts.push_back(absl::StrCat(base::JsonString(errors[i], "code"), ": ",
                                   base::JsonString(errors[i], "message").substr(0, 200)));
    }
    if (!texts.empty()) absl::StrAppend(&message, " (", absl::StrJoin(texts, "; "), ")");
  }
  switch (response.status) {
    case 401:
      return absl::UnauthenticatedError(message);
    case 403:
      return absl::PermissionDeniedError(message);
    case 404:
      return absl::NotFoundError(message + ": not found");
    case 429:
      return absl::ResourceExhaustedError(message);
    default:
      return response.status >= 500 ? absl::UnavailableError(message) : absl::UnknownError(message);
  }
}

Endpoint::Endpoint(RegistryHost host, const EndpointOptions& options)
    : host_(std::move(host)), options_(options) {
  HttpOptions http;
  http.ca_files = host_.ca_files;
  http.client_cert = host_.client_cert;
  http.client_key = host_.client_key;
  http.skip_verify = host_.skip_verify.value_or(false) || host_.scheme_guessed;
  http.connect_timeout = host_.dial_timeout;
  http.stall_timeout = options_.stall_timeout;
  http.cancelled = options_.cancelled;
  http_ = std::make_unique<HttpClient>(std::move(http));
}

HttpClient* Endpoint::http() { return http_.get(); }

// Go's server and nginx answer plain http on a TLS port with 400 and a text that names HTTPS.
void Endpoint::SettleScheme() {
  if (host_.scheme_guessed) {
    HttpResponse response;
    absl::Status status = http_->Do({"GET", host_.base_url() + "/"}, {}, &response);
    if (status.ok() && response.status == 400 && absl::StrContains(response.body, "HTTPS")) {
      host_.scheme = "https";
    }
  }
  authorizer_ = std::make_unique<Authorizer>(host_.host, OriginOf(host_.base_url()), http_.get(),
                                             options_.credentials);
}

std::string Endpoint::BaseUrl() {
  absl::MutexLock lock(&mu_);
  if (!settled_) {
    SettleScheme();
    settled_ = true;
  }
  return host_.base_url();
}

absl::Status Endpoint::Redirected(HttpRequest request, const std::string& authorization,
                                  const HttpCall& call, HttpResponse* response) {
  const std::string origin = OriginOf(host_.base_url());
  const HttpHeaders plain = request.headers;
  for (int hop = 0;; ++hop) {
    request.headers = plain;
    if (OriginOf(request.url) == origin) {
      if (!authorization.empty()) request.headers.emplace_back("Authorization", authorization);
      for (const auto& header : host_.headers) request.headers.push_back(header);
      for (const auto& header : options_.headers) request.headers.push_back(header);
    }
    GANTRY_RETURN_IF_ERROR(http_->Do(request, call, response));
    bool follow =
        IsRedirect(response->status) && (request.method == "GET" || request.method == "HEAD");
    if (!follow) return absl::OkStatus();
    if (hop == kMaxRedirects) {
      return absl::FailedPreconditionError(absl::StrCat(request.url, ": too many redirects"));
    }
    std::string next =
        ResolveUrl(request.url, std::string(FindHeader(response->headers, "location")));
    if (next.empty() ||
        (absl::StartsWith(request.url, "https:") && absl::StartsWith(next, "http:"))) {
      return absl::FailedPreconditionError(absl::StrCat(request.url, ": redirect to \"",
                                                        FindHeader(response->headers, "location"),
                                                        "\" is refused"));
    }
    request.url = next;
  }
}

absl::Status Endpoint::Once(HttpRequest request, const std::vector<std::string>& scopes,
                            const HttpCall& call, HttpResponse* response) {
  std::string base = BaseUrl();
  if (absl::StartsWith(request.url, "/")) request.url = base + request.url;
  // An upload location on another host gets the bytes, but no credentials.
  bool ours = OriginOf(request.url) == OriginOf(base);
  HttpCall guarded = call;
  guarded.accept = [&call](const HttpResponse& r) { return call.accept && call.accept(r); };
  for (int round = 0;; ++round) {
    std::string authorization;
    if (ours) {
      GANTRY_ASSIGN_OR_RETURN(authorization, authorizer_->Authorization(scopes));
    }
    GANTRY_RETURN_IF_ERROR(Redirected(request, authorization, guarded, response));
    if (response->status != 401 || !ours) return absl::OkStatus();
    if (round == kMaxAuthRounds) return StatusOfResponse(request.url, *response);
    GANTRY_RETURN_IF_ERROR(authorizer_->OnUnauthorized(
        FindHeaders(response->headers, "www-authenticate"), authorization, scopes));
  }
}

absl::Status Endpoint::Pause(int n, const HttpResponse& response) const {
  absl::Duration delay = options_.retry.first_delay * (1 << std::min(n - 1, 10));
  int64_t seconds = 0;
  if (absl::SimpleAtoi(FindHeader(response.headers, "retry-after"), &seconds) && seconds >= 0) {
    delay = std::max(delay, absl::Seconds(seconds));
  }
  delay = std::min(delay, options_.retry.max_delay);
  // Many clients that were thrown out together should not come back together.
  absl::BitGen random;
  delay += delay * absl::Uniform(random, 0.0, 0.25);
  absl::Time end = absl::Now() + delay;
  while (absl::Now() < end) {
    if (options_.cancelled && options_.cancelled()) {
      return absl::CancelledError("transfer was cancelled");
    }
    absl::SleepFor(std::min(end - absl::Now(), absl::Milliseconds(200)));
  }
  return absl::OkStatus();
}

absl::Status Endpoint::Do(const HttpRequest& request, const std::vector<std::string>& scopes,
                          const HttpCall& call, HttpResponse* response) {
  for (int attempt = 1;; ++attempt) {
    absl::Status status = Once(request, scopes, call, response);
    bool again = status.ok() ? IsTransient(response->status)
                             : absl::IsUnavailable(status) && !response->callback_failed;
    if (!again || attempt >= options_.retry.attempts) return status;
    GANTRY_RETURN_IF_ERROR(Pause(attempt, *response));
  }
}

}  // namespace gantry::services
