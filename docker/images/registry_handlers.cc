// POST /auth, GET /images/search, GET /distribution/{name}/json.

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "docker/images/image_api.h"
#include "docker/images/registry_errors.h"
#include "docker/system/filters.h"
#include "gantry/services/registry/v1/registry.methods.h"

namespace gantry::docker {
namespace {

using base::Json;
using base::OrderedJson;
using http::Exchange;
namespace registry = gantry::services::registry::v1;

constexpr int kDefaultResults = 25;
constexpr int kMaxResults = 100;

absl::StatusOr<registry::Access> AccessFor(const ImageApiPtr& api, const RegistryAuth& auth,
                                           absl::string_view host) {
  registry::Access access;
  access.set_username(auth.username);
  access.set_password(auth.password);
  access.set_identity_token(auth.identity_token);
  access.set_registry_token(auth.registry_token);
  GANTRY_ASSIGN_OR_RETURN(std::string dir, api->hosts.DirFor(host));
  access.set_hosts_dir(dir);
  return access;
}

// "https://index.docker.io/v1/" is docker.io, "https://r:5000/" r:5000.
std::string HostOfServer(absl::string_view server) {
  absl::ConsumePrefix(&server, "https://");
  absl::ConsumePrefix(&server, "http://");
  server = server.substr(0, server.find('/'));
  if (server.empty() || server == "index.docker.io" || server == "registry-1.docker.io") {
    return "docker.io";
  }
  return std::string(server);
}

absl::Status Auth(const ImageApiPtr& api, const std::shared_ptr<Exchange>& exchange) {
  GANTRY_ASSIGN_OR_RETURN(Json body, exchange->ReadJson(64u << 10));
  GANTRY_ASSIGN_OR_RETURN(RegistryAuth auth, RegistryAuthFromJson(body));
  const std::string host = HostOfServer(auth.server_address);
  registry::LoginRequest request;
  request.set_host(host);
  GANTRY_ASSIGN_OR_RETURN(*request.mutable_access(), AccessFor(api, auth, host));
  registry::LoginResponse response;
  absl::Status status =
      api->context.gantryd.Call(registry::RegistriesMethods::kLogin, request, &response);
  if (absl::IsUnauthenticated(status) || absl::IsPermissionDenied(status)) {
    // Docker's clients look for the word "unauthorized".
    return absl::UnauthenticatedError(
        absl::StrCat("login attempt to https://", host,
                     "/v2/ failed with status: 401 Unauthorized: unauthorized: incorrect username "
                     "or password"));
  }
  GANTRY_RETURN_IF_ERROR(status);
  exchange->ReplyJson(200, OrderedJson{{"IdentityToken", ""}, {"Status", "Login Succeeded"}});
  return absl::OkStatus();
}

// "r:5000/term" searches at r:5000.
std::pair<std::string, std::string> SplitTerm(const std::string& term) {
  const size_t slash = term.find('/');
  if (slash == std::string::npos) return {"docker.io", term};
  const std::string host = term.substr(0, slash);
  if (!absl::StrContains(host, '.') && !absl::StrContains(host, ':') && host != "localhost") {
    return {"docker.io", term};
  }
  return {HostOfServer(host), term.substr(slash + 1)};
}

absl::Status Search(const ImageApiPtr& api, const std::shared_ptr<Exchange>& exchange) {
  const http::Query& query = exchange->query();
  GANTRY_ASSIGN_OR_RETURN(
      Filters filters,
      Filters::Parse(query.Get("filters"), {"is-automated", "is-official", "stars"}));
  int limit = kDefaultResults;
  if (query.Has("limit") && !absl::SimpleAtoi(query.Get("limit"), &limit)) {
    return absl::InvalidArgumentError(
        absl::StrCat("invalid limit specified: strconv.Atoi: parsing "
                     "\"",
                     query.Get("limit"), "\": invalid syntax"));
  }
  if (limit < 0 || limit > kMaxResults) {
    return absl::InvalidArgumentError(
        absl::StrCat("limit ", limit, " is outside the range of [1, ", kMaxResults, "]"));
  }
  GANTRY_ASSIGN_OR_RETURN(const bool official, filters.Bool("is-official", false));
  GANTRY_ASSIGN_OR_RETURN(const bool automated, filters.Bool("is-automated", false));
  int64_t stars = 0;
  for (const std::string& value : filters.Get("stars")) {
    int64_t least = 0;
    if (!absl::SimpleAtoi(value, &least)) {
      return absl::InvalidArgumentError(absl::StrCat("invalid filter 'stars=[", value, "]'"));
    }
    stars = std::max(stars, least);
  }
  GANTRY_ASSIGN_OR_RETURN(RegistryAuth auth,
                          ParseRegistryAuth(exchange->request().Header("x-registry-auth")));
  const auto [host, term] = SplitTerm(query.Get("term"));
  registry::SearchRequest request;
  request.set_host(host);
  request.set_term(term);
  request.set_limit(static_cast<uint32_t>(limit == 0 ? kDefaultResults : limit));
  GANTRY_ASSIGN_OR_RETURN(*request.mutable_access(), AccessFor(api, auth, host));
  registry::SearchResponse response;
  GANTRY_RETURN_IF_ERROR(
      api->context.gantryd.Call(registry::RegistriesMethods::kSearch, request, &response));
  GANTRY_ASSIGN_OR_RETURN(Json answer, base::ParseJson(response.json()));
  OrderedJson out = OrderedJson::array();
  for (const Json& item : base::JsonAt(answer, "results")) {
    if (filters.Has("is-official") && base::JsonBool(item, "is_official") != official) continue;
    if (filters.Has("is-automated") && automated) continue;  // no image is, any more
    if (base::JsonInt(item, "star_count") < stars) continue;
    out.push_back({{"star_count", base::JsonInt(item, "star_count")},
                   {"is_official", base::JsonBool(item, "is_official")},
                   {"name", base::JsonString(item, "name")},
                   {"is_automated", false},
                   {"description", base::JsonString(item, "description")}});
  }
  exchange->ReplyJson(200, out);
  return absl::OkStatus();
}

OrderedJson Platforms(const registry::ResolveResponse& found) {
  OrderedJson out = OrderedJson::array();
  auto add = [&out](const Json& platform) {
    OrderedJson one = {{"architecture", base::JsonString(platform, "architecture")},
                       {"os", base::JsonString(platform, "os")}};
    for (const char* key : {"os.version", "variant"}) {
      if (!base::JsonString(platform, key).empty()) one[key] = base::JsonString(platform, key);
    }
    out.push_back(std::move(one));
  };
  if (client::IsIndexType(found.media_type())) {
    auto index = base::ParseJson(found.manifest());
    if (!index.ok()) return out;
    for (const Json& item : base::JsonAt(*index, "manifests")) add(base::JsonAt(item, "platform"));
  } else if (auto config = base::ParseJson(found.config()); config.ok()) {
    add(*config);
  }
  return out;
}

absl::Status Distribution(const ImageApiPtr& api, const std::shared_ptr<Exchange>& exchange) {
  GANTRY_ASSIGN_OR_RETURN(ImageReference reference, ParseImageReference(exchange->Var("name")));
  reference = reference.WithoutTagIfDigested().WithDefaultTag();
  GANTRY_ASSIGN_OR_RETURN(RegistryAuth auth,
                          ParseRegistryAuth(exchange->request().Header("x-registry-auth")));
  registry::ResolveRequest request;
  request.set_reference(reference.str());
  GANTRY_ASSIGN_OR_RETURN(*request.mutable_access(), AccessFor(api, auth, reference.domain));
  registry::ResolveResponse found;
  absl::Status status =
      api->context.gantryd.Call(registry::RegistriesMethods::kResolve, request, &found);
  if (absl::IsUnauthenticated(status) || absl::IsPermissionDenied(status)) {
    return absl::UnauthenticatedError(
        "errors:\ndenied: requested access to the resource is denied\nunauthorized: "
        "authentication required\n");
  }
  if (!status.ok()) {
    return PullError(status, reference, Platform::OfThisMachine(), !auth.empty());
  }
  exchange->ReplyJson(
      200,
      OrderedJson{
          {"Descriptor",
           {{"mediaType", found.media_type()}, {"digest", found.digest()}, {"size", found.size()}}},
          {"Platforms", Platforms(found)}});
  return absl::OkStatus();
}

}  // namespace

void AddRegistryRoutes(http::Router& router, const ImageApiPtr& api) {
  router.Add("POST", "/auth", [api](const auto& exchange) { return Auth(api, exchange); });
  router.Add("GET", "/images/search",
             [api](const auto& exchange) { return Search(api, exchange); });
  router.Add("GET", "/distribution/{name:.*}/json",
             [api](const auto& exchange) { return Distribution(api, exchange); });
}

}  // namespace gantry::docker
