#ifndef GANTRY_SERVICES_REGISTRY_AUTH_H_
#define GANTRY_SERVICES_REGISTRY_AUTH_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/registry/http.h"

namespace gantry::services {

// What a registry wants to see, from WWW-Authenticate.
struct AuthChallenge {
  std::string scheme;  // lower case: "bearer", "basic"
  std::map<std::string, std::string> parameters;
};
// Understands several challenges in one header and several headers; what cannot be read is left
// out.
std::vector<AuthChallenge> ParseChallenges(const std::vector<std::string>& headers);

struct Credentials {
  std::string username;
  std::string secret;  // a password, or an identity (refresh) token when `username` is empty
  std::string header;  // if set: the whole Authorization header for the registry itself
};
// Asked at most once for each host and client. `challenges` are the raw header values. May block.
using CredentialProvider = std::function<absl::StatusOr<Credentials>(
    const std::string& host, const std::vector<std::string>& challenges)>;

// Makes Authorization headers for one registry host: none, basic, or bearer tokens of the token
// server that the host names (anonymous, with user and password, or by identity token), cached for
// each set of scopes until they expire. Thread-safe; network calls hold no lock.
//
// Credentials go to the host itself and to its token server, and to a token server only by https
// unless the registry itself is plain http.
class Authorizer {
 public:
  Authorizer(std::string host, std::string origin, HttpClient* http, CredentialProvider provider);

  // The header for a request that needs `scopes` ("repository:NAME:pull"); empty if the host has
  // not asked for any so far. Fetches a token when needed.
  absl::StatusOr<std::string> Authorization(const std::vector<std::string>& scopes);

  // To be called for a 401: learns what is wanted; afterwards Authorization() may be tried once
  // more. Unauthenticated / PermissionDenied when nothing more can be done: `used` was already the
  // answer to this challenge.
  absl::Status OnUnauthorized(const std::vector<std::string>& headers, const std::string& used,
                              const std::vector<std::string>& scopes);

 private:
  struct Token {
    std::string value;
    absl::Time expires;
  };
  absl::StatusOr<Credentials> GetCredentials(const std::vector<std::string>& challenges);
  absl::StatusOr<Token> FetchToken(const AuthChallenge& challenge, const Credentials& credentials,
                                   const std::vector<std::string>& scopes);
  absl::StatusOr<Token> ParseToken(const HttpResponse& response);

  const std::string host_;
  const std::string origin_;
  HttpClient* const http_;
  const CredentialProvider provider_;
  absl::Mutex mu_;
  AuthChallenge challenge_ ABSL_GUARDED_BY(mu_);  // scheme empty: nothing asked for yet
  std::vector<std::string> raw_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<Credentials> credentials_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, Token> tokens_ ABSL_GUARDED_BY(mu_);
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_REGISTRY_AUTH_H_
