#include "docker/networks/routes.h"

#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "docker/networks/network_json.h"
#include "docker/system/filters.h"
#include "docker/system/publish.h"
#include "gantry/services/lifecycle/v1/lifecycle.methods.h"
#include "gantry/services/networks/v1/networks.methods.h"

namespace gantry::docker {
namespace {

namespace api = gantry::services::networks::v1;
namespace lifecycle = gantry::services::lifecycle::v1;
using api::NetworksMethods;
using base::Json;
using base::OrderedJson;
using lifecycle::LifecycleMethods;
using ExchangePtr = std::shared_ptr<http::Exchange>;

absl::StatusOr<std::vector<api::Network>> AllNetworks(const Context& context) {
  api::ListNetworksResponse response;
  GANTRY_RETURN_IF_ERROR(
      context.gantryd.Call(NetworksMethods::kList, api::ListNetworksRequest(), &response));
  return std::vector<api::Network>(response.networks().begin(), response.networks().end());
}

absl::StatusOr<api::GetNetworkResponse> FindNetwork(const Context& context,
                                                    const std::string& name) {
  api::GetNetworkRequest request;
  request.set_network(name);
  api::GetNetworkResponse response;
  absl::Status status = context.gantryd.Call(NetworksMethods::kGet, request, &response);
  if (absl::IsNotFound(status)) {
    return absl::NotFoundError(absl::StrCat("network ", name, " not found"));
  }
  GANTRY_RETURN_IF_ERROR(status);
  return response;
}

// Networks that some container wants to be on, running or not, by what its policy says.
absl::StatusOr<std::set<std::string>> UsedNetworks(const Context& context) {
  lifecycle::ListRequest request;
  request.set_all(true);
  lifecycle::ListResponse response;
  GANTRY_RETURN_IF_ERROR(context.gantryd.Call(LifecycleMethods::kList, request, &response));
  std::set<std::string> used;
  for (const auto& item : response.containers()) {
    for (const auto& endpoint : item.container().policy().endpoints()) {
      used.insert(endpoint.network());
    }
  }
  return used;
}

bool IsUsed(const std::set<std::string>& used, const api::Network& network) {
  return used.contains(network.name()) || used.contains(network.id());
}

absl::Status List(const Context& context, const ExchangePtr& exchange) {
  GANTRY_ASSIGN_OR_RETURN(Filters filters, Filters::Parse(exchange->query().Get("filters"),
                                                          {"dangling", "driver", "id", "label",
                                                           "label!", "name", "scope", "type"}));
  GANTRY_ASSIGN_OR_RETURN(std::vector<api::Network> networks, AllNetworks(context));
  std::set<std::string> used;
  if (filters.Has("dangling")) {
    GANTRY_ASSIGN_OR_RETURN(used, UsedNetworks(context));
  }
  OrderedJson out = OrderedJson::array();
  for (const api::Network& network : networks) {
    GANTRY_ASSIGN_OR_RETURN(const bool matches,
                            NetworkMatches(network, IsUsed(used, network), filters));
    // Who is connected is only told by inspect.
    if (matches) out.push_back(NetworkJson(network, {}, exchange->request().version.minor));
  }
  exchange->ReplyJson(200, out);
  return absl::OkStatus();
}

absl::Status Inspect(const Context& context, const ExchangePtr& exchange) {
  const std::string& scope = exchange->query().Get("scope");
  const std::string& name = exchange->Var("name");
  if (!scope.empty() && scope != "local") {
    return absl::NotFoundError(absl::StrCat("network ", name, " not found"));
  }
  GANTRY_ASSIGN_OR_RETURN(api::GetNetworkResponse found, FindNetwork(context, name));
  exchange->ReplyJson(
      200, NetworkJson(found.network(), {found.endpoints().begin(), found.endpoints().end()},
                       exchange->request().version.minor));
  return absl::OkStatus();
}

absl::Status Create(const Context& context, const ExchangePtr& exchange) {
  GANTRY_ASSIGN_OR_RETURN(Json body, exchange->ReadJson());
  api::CreateNetworkRequest request;
  GANTRY_ASSIGN_OR_RETURN(*request.mutable_network(), NetworkFromJson(body));
  const std::string& name = request.network().name();
  if (name == "default") {
    return absl::PermissionDeniedError("operation is not permitted on predefined default network ");
  }
  api::CreateNetworkResponse response;
  absl::Status status = context.gantryd.Call(NetworksMethods::kCreate, request, &response);
  if (absl::IsAlreadyExists(status)) {
    return absl::AlreadyExistsError(absl::StrCat("network with name ", name, " already exists"));
  }
  GANTRY_RETURN_IF_ERROR(status);
  std::string warning;
  for (const std::string& text : response.warnings()) {
    absl::StrAppend(&warning, warning.empty() ? "" : "; ", text);
  }
  exchange->ReplyJson(201, OrderedJson{{"Id", response.network().id()}, {"Warning", warning}});
  return absl::OkStatus();
}

absl::Status Remove(const Context& context, const ExchangePtr& exchange) {
  GANTRY_ASSIGN_OR_RETURN(api::GetNetworkResponse found,
                          FindNetwork(context, exchange->Var("name")));
  if (found.network().predefined()) {
    return absl::PermissionDeniedError(
        absl::StrCat(found.network().name(), " is a pre-defined network and cannot be removed"));
  }
  api::DeleteNetworkRequest request;
  request.set_network(found.network().id());
  google::protobuf::Empty nothing;
  absl::Status status = context.gantryd.Call(NetworksMethods::kDelete, request, &nothing);
  if (absl::IsFailedPrecondition(status)) {
    return absl::PermissionDeniedError(absl::StrCat(
        "error while removing network: network ", found.network().name(), " has active endpoints"));
  }
  GANTRY_RETURN_IF_ERROR(status);
  exchange->ReplyEmpty(204);
  return absl::OkStatus();
}

absl::StatusOr<lifecycle::Container> ContainerOf(const Context& context, const Json& body) {
  const std::string name = base::JsonString(body, "Container");
  if (name.empty())
    return absl::InvalidArgumentError("invalid container name or ID: value is empty");
  lifecycle::FindRequest request;
  request.set_name(name);
  lifecycle::GetResponse response;
  GANTRY_RETURN_IF_ERROR(context.gantryd.Call(LifecycleMethods::kFind, request, &response));
  return response.container();
}

absl::Status Connect(const Context& context, const ExchangePtr& exchange) {
  GANTRY_ASSIGN_OR_RETURN(Json body, exchange->ReadJson());
  GANTRY_ASSIGN_OR_RETURN(api::GetNetworkResponse found,
                          FindNetwork(context, exchange->Var("name")));
  GANTRY_ASSIGN_OR_RETURN(lifecycle::Container container, ContainerOf(context, body));
  lifecycle::ConnectNetworkRequest request;
  request.set_id(container.id());
  GANTRY_ASSIGN_OR_RETURN(*request.mutable_endpoint(),
                          EndpointFromJson(base::JsonAt(body, "EndpointConfig")));
  request.mutable_endpoint()->set_network(found.network().name());
  google::protobuf::Empty nothing;
  absl::Status status = context.gantryd.Call(LifecycleMethods::kConnectNetwork, request, &nothing);
  if (absl::IsAlreadyExists(status)) {
    return absl::PermissionDeniedError(
        absl::StrCat("endpoint with name ", container.policy().name(),
                     " already exists in network ", found.network().name()));
  }
  GANTRY_RETURN_IF_ERROR(status);
  exchange->ReplyEmpty(200);
  return absl::OkStatus();
}

absl::Status Disconnect(const Context& context, const ExchangePtr& exchange) {
  GANTRY_ASSIGN_OR_RETURN(Json body, exchange->ReadJson());
  GANTRY_ASSIGN_OR_RETURN(api::GetNetworkResponse found,
                          FindNetwork(context, exchange->Var("name")));
  GANTRY_ASSIGN_OR_RETURN(lifecycle::Container container, ContainerOf(context, body));
  lifecycle::DisconnectNetworkRequest request;
  request.set_id(container.id());
  request.set_network(found.network().name());
  request.set_force(base::JsonBool(body, "Force"));
  google::protobuf::Empty nothing;
  absl::Status status =
      context.gantryd.Call(LifecycleMethods::kDisconnectNetwork, request, &nothing);
  if (absl::IsNotFound(status)) {
    return absl::PermissionDeniedError(absl::StrCat(
        "container ", container.id(), " is not connected to network ", found.network().name()));
  }
  GANTRY_RETURN_IF_ERROR(status);
  exchange->ReplyEmpty(200);
  return absl::OkStatus();
}

absl::Status Prune(const Context& context, const ExchangePtr& exchange) {
  GANTRY_ASSIGN_OR_RETURN(Filters filters, Filters::Parse(exchange->query().Get("filters"),
                                                          {"label", "label!", "until"}));
  absl::Time until = absl::InfiniteFuture();
  for (const std::string& moment : filters.Get("until")) {
    GANTRY_ASSIGN_OR_RETURN(until, ParseMoment(moment, absl::Now()));
  }
  GANTRY_ASSIGN_OR_RETURN(std::vector<api::Network> networks, AllNetworks(context));
  GANTRY_ASSIGN_OR_RETURN(std::set<std::string> used, UsedNetworks(context));
  OrderedJson deleted = OrderedJson::array();
  for (const api::Network& network : networks) {
    const absl::Time created = absl::FromUnixSeconds(network.created_at().seconds());
    if (network.predefined() || IsUsed(used, network) || created >= until) continue;
    if (!filters.MatchLabels(ToMap(network.labels()))) continue;
    api::DeleteNetworkRequest request;
    request.set_network(network.id());
    google::protobuf::Empty nothing;
    // One that was taken meanwhile stays.
    if (!context.gantryd.Call(NetworksMethods::kDelete, request, &nothing).ok()) continue;
    deleted.push_back(network.name());
  }
  PublishEvent(context.gantryd, "network", "prune", "", {{"reclaimed", "0"}});
  exchange->ReplyJson(200,
                      OrderedJson{{"NetworksDeleted", deleted.empty() ? OrderedJson() : deleted}});
  return absl::OkStatus();
}

}  // namespace

void AddNetworkRoutes(http::Router& router, const Context& context) {
  using Function = absl::Status (*)(const Context&, const ExchangePtr&);
  auto add = [&](const char* method, const char* pattern, Function function) {
    router.Add(method, pattern, [&context, function](const ExchangePtr& exchange) {
      return function(context, exchange);
    });
  };
  add("GET", "/networks", List);
  add("GET", "/networks/", List);
  add("POST", "/networks/create", Create);
  add("POST", "/networks/prune", Prune);
  add("GET", "/networks/{name:.*}", Inspect);
  add("POST", "/networks/{name:.*}/connect", Connect);
  add("POST", "/networks/{name:.*}/disconnect", Disconnect);
  add("DELETE", "/networks/{name:.*}", Remove);
}

}  // namespace gantry::docker
