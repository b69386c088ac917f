#include "services/registry/auth.h"

#include <algorithm>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/status.h"

namespace gantry::services {
namespace {

constexpr size_t kMaxToken = 256u << 10;

bool IsTokenChar(char c) {
  return absl::ascii_isalnum(c) || absl::StrContains("!#$%&'*+-.^_`|~", absl::string_view(&c, 1));
}

// A cursor over the grammar of RFC 9110, 11.6.1.
class Scanner {
 public:
  explicit Scanner(absl::string_view text) : rest_(text) {}
  bool done() const { return rest_.empty(); }
  void SkipSeparators() {
    while (!rest_.empty() && (absl::ascii_isspace(rest_[0]) || rest_[0] == ','))
      rest_.remove_prefix(1);
  }
  std::string Token() {
    size_t n = 0;
    while (n < rest_.size() && IsTokenChar(rest_[n])) ++n;
    std::string out(rest_.substr(0, n));
    rest_.remove_prefix(n);
    return out;
  }
  bool Eat(char c) {
    absl::string_view trimmed = absl::StripLeadingAsciiWhitespace(rest_);
    if (trimmed.empty() || trimmed[0] != c) return false;
    rest_ = trimmed.substr(1);
    return true;
  }
  std::string Value() {
    if (rest_.empty() || rest_[0] != '"') return Token();
    std::string out;
    size_t i = 1;
    for (; i < rest_.size() && rest_[i] != '"'; ++i) {
      if (rest_[i] == '\\' && i + 1 < rest_.size()) ++i;
      out.push_back(rest_[i]);
    }
    rest_.remove_prefix(std::min(rest_.size(), i + 1));
    return out;
  }
  void Drop() { rest_ = {}; }

 private:
  absl::string_view rest_;
};

std::string ScopeKey(const std::vector<std::string>& scopes) {
  std::set<std::string> sorted(scopes.begin(), scopes.end());
  return absl::StrJoin(sorted, " ");
}

}  // namespace

std::vector<AuthChallenge> ParseChallenges(const std::vector<std::string>& headers) {
  std::vector<AuthChallenge> out;
  for (const std::string& header : headers) {
    Scanner scan(header);
    for (scan.SkipSeparators(); !scan.done(); scan.SkipSeparators()) {
      std::string word = absl::AsciiStrToLower(scan.Token());
      if (word.empty()) {
        scan.Drop();
      } else if (scan.Eat('=')) {
        std::string value = scan.Value();
        if (!out.empty()) out.back().parameters.emplace(std::move(word), std::move(value));
      } else {
        out.push_back({std::move(word), {}});
      }
    }
  }
  return out;
}

Authorizer::Authorizer(std::string host, std::string origin, HttpClient* http,
                       CredentialProvider provider)
    : host_(std::move(host)),
      origin_(std::move(origin)),
      http_(http),
      provider_(std::move(provider)) {}

absl::StatusOr<Credentials> Authorizer::GetCredentials(const std::vector<std::string>& challenges) {
  {
    absl::MutexLock lock(&mu_);
    if (credentials_ != nullptr) return *credentials_;
  }
  Credentials got;
  if (provider_) {
    GANTRY_ASSIGN_OR_RETURN(got, provider_(host_, challenges));
  }
  absl::MutexLock lock(&mu_);
  if (credentials_ == nullptr) credentials_ = std::make_unique<Credentials>(std::move(got));
  return *credentials_;
}

absl::StatusOr<std::string> Authorizer::Authorization(const std::vector<std::string>& scopes) {
  AuthChallenge challenge;
  std::vector<std::string> raw;
  std::string key = ScopeKey(scopes);
  {
    absl::MutexLock lock(&mu_);
    if (challenge_.scheme.empty()) return std::string();
    challenge = challenge_;
    raw = raw_;
    if (auto it = tokens_.find(key); it != tokens_.end() && it->second.expires > absl::Now()) {
      return "Bearer " + it->second.value;
    }
  }
  GANTRY_ASSIGN_OR_RETURN(Credentials credentials, GetCredentials(raw));
  if (!credentials.header.empty()) return credentials.header;
  if (challenge.scheme == "basic") {
    if (credentials.username.empty() || credentials.secret.empty()) {
      return absl::UnauthenticatedError(
          absl::StrCat("registry ", host_, " asks for a user name and password; log in first"));
    }
    return "Basic " +
           absl::Base64Escape(absl::StrCat(credentials.username, ":", credentials.secret));
  }
  GANTRY_ASSIGN_OR_RETURN(Token token, FetchToken(challenge, credentials, scopes));
  absl::MutexLock lock(&mu_);
  tokens_[key] = token;
  return "Bearer " + token.value;
}

absl::Status Authorizer::OnUnauthorized(const std::vector<std::string>& headers,
                                        const std::string& used,
                                        const std::vector<std::string>& scopes) {
  std::vector<AuthChallenge> challenges = ParseChallenges(headers);
  const AuthChallenge* best = nullptr;
  for (const AuthChallenge& c : challenges) {
    bool usable = c.scheme == "basic" || (c.scheme == "bearer" && c.parameters.count("realm") > 0);
    if (usable && (best == nullptr || c.scheme == "bearer")) best = &c;
  }
  if (best == nullptr) {
    return absl::UnauthenticatedError(
        absl::StrCat("registry ", host_, " refuses and names no way to authenticate"));
  }
  absl::MutexLock lock(&mu_);
  auto error = best->parameters.find("error");
  bool stale = error != best->parameters.end() && error->second == "invalid_token";
  bool other_way = best->scheme != challenge_.scheme;
  challenge_ = *best;
  raw_ = headers;
  if (used.empty() || other_way) return absl::OkStatus();
  if (tokens_.erase(ScopeKey(scopes)) > 0 && stale) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat(
      "registry ", host_, " does not accept the credentials for ", absl::StrJoin(scopes, ", "),
      error != best->parameters.end() ? ": " + error->second : ""));
}

absl::StatusOr<Authorizer::Token> Authorizer::ParseToken(const HttpResponse& response) {
  auto json = base::ParseJson(response.body, {kMaxToken, 16});
  if (!json.ok()) return base::Annotate(json.status(), "token server's answer");
  Token token;
  token.value = base::JsonString(*json, "token");
  if (token.value.empty()) token.value = base::JsonString(*json, "access_token");
  if (token.value.empty() || token.value.find_first_of("\r\n") != std::string::npos) {
    return absl::UnauthenticatedError("token server gave no token");
  }
  // The specification's default and minimum is a minute; a little is kept back for the way.
  int64_t seconds = std::max<int64_t>(60, base::JsonInt(*json, "expires_in", 60));
  token.expires = absl::Now() + absl::Seconds(seconds) - absl::Seconds(10);
  return token;
}

absl::StatusOr<Authorizer::Token> Authorizer::FetchToken(const AuthChallenge& challenge,
                                                         const Credentials& credentials,
                                                         const std::vector<std::string>& scopes) {
  std::string realm = challenge.parameters.at("realm");
  if (ResolveUrl(realm, realm).empty()) {
    return absl::UnauthenticatedError(absl::StrCat("token server \"", realm, "\" is no URL"));
  }
  bool secret = !credentials.secret.empty();
  if (secret && absl::StartsWith(realm, "http://") && absl::StartsWith(origin_, "https://")) {
    return absl::UnauthenticatedError(
        absl::StrCat("credentials are not sent to token server ", realm, " without TLS"));
  }
  std::set<std::string> wanted(scopes.begin(), scopes.end());
  if (auto it = challenge.parameters.find("scope"); it != challenge.parameters.end()) {
    for (absl::string_view s : absl::StrSplit(it->second, ' ', absl::SkipEmpty())) {
      wanted.emplace(s);
    }
  }
  auto service = challenge.parameters.find("service");
  std::string service_name = service == challenge.parameters.end() ? "" : service->second;
  HttpCall call;
  call.body_limit = kMaxToken;
  HttpResponse response;
  if (secret) {
    std::string form =
        credentials.username.empty()
            ? absl::StrCat("grant_type=refresh_token&refresh_token=", UrlEscape(credentials.secret))
            : absl::StrCat("grant_type=password&username=", UrlEscape(credentials.username),
                           "&password=", UrlEscape(credentials.secret));
    absl::StrAppend(&form, "&service=", UrlEscape(service_name),
                    "&client_id=gantry&scope=", UrlEscape(absl::StrJoin(wanted, " ")));
    HttpRequest post{"POST", realm, {{"Content-Type", "application/x-www-form-urlencoded"}}, form};
    GANTRY_RETURN_IF_ERROR(http_->Do(post, call, &response));
    if (response.status == 200) return ParseToken(response);
    // Older token servers know only GET with basic authentication.
    if (credentials.username.empty()) {
      return absl::UnauthenticatedError(
          absl::StrCat("token server ", realm, " answered ", response.status));
    }
  }
  std::string url = absl::StrCat(realm, absl::StrContains(realm, "?") ? "&" : "?");
  if (!service_name.empty()) absl::StrAppend(&url, "service=", UrlEscape(service_name), "&");
  for (const std::string& scope : wanted) absl::StrAppend(&url, "scope=", UrlEscape(scope), "&");
  url.pop_back();
  HttpRequest get{"GET", url};
  if (secret) {
    get.headers.emplace_back(
        "Authorization",
        "Basic " + absl::Base64Escape(absl::StrCat(credentials.username, ":", credentials.secret)));
  }
  GANTRY_RETURN_IF_ERROR(http_->Do(get, call, &response));
  if (response.status == 200) return ParseToken(response);
  std::string message = absl::StrCat("token server ", realm, " answered ", response.status);
  if (response.status == 429 || response.status >= 500) return absl::UnavailableError(message);
  return absl::UnauthenticatedError(message);
}

}  // namespace gantry::services
