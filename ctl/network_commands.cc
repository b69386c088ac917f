// Networks, and containers' connections to them.

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/status.h"
#include "ctl/command.h"
#include "ctl/output.h"
#include "gantry/services/networks/v1/networks.methods.h"

namespace gantry::ctl {
namespace {

namespace networks = gantry::services::networks::v1;
using base::OrderedJson;
using google::protobuf::Empty;
using networks::NetworksMethods;

template <typename Map>
OrderedJson MapJson(const Map& map) {
  OrderedJson json = OrderedJson::object();
  for (const auto& [key, value] : map) json[key] = value;
  return json;
}

OrderedJson NetworkJson(const networks::Network& network) {
  OrderedJson ipam = OrderedJson::array();
  for (const auto& config : network.ipam()) {
    ipam.push_back({{"subnet", config.subnet()},
                    {"ipRange", config.ip_range()},
                    {"gateway", config.gateway()},
                    {"auxiliaryAddresses", MapJson(config.auxiliary_addresses())}});
  }
  return {{"id", network.id()},
          {"name", network.name()},
          {"driver", network.driver()},
          {"device", network.device()},
          {"createdAt", base::FormatRfc3339(base::GetTimestamp(network.created_at()))},
          {"ipv4", network.enable_ipv4()},
          {"ipv6", network.enable_ipv6()},
          {"internal", network.internal()},
          {"predefined", network.predefined()},
          {"ipam", std::move(ipam)},
          {"options", MapJson(network.options())},
          {"labels", MapJson(network.labels())}};
}

OrderedJson EndpointJson(const networks::Endpoint& endpoint) {
  OrderedJson names = OrderedJson::array();
  for (const std::string& name : endpoint.dns_names()) names.push_back(name);
  return {{"id", endpoint.id()},
          {"container", endpoint.container_id()},
          {"name", endpoint.container_name()},
          {"interface", endpoint.interface()},
          {"macAddress", endpoint.mac_address()},
          {"ipv4Address", endpoint.ipv4_address()},
          {"ipv6Address", endpoint.ipv6_address()},
          {"dnsNames", std::move(names)}};
}

absl::StatusOr<int> List(const Invocation& call, Format format) {
  networks::ListNetworksResponse response;
  GANTRY_RETURN_IF_ERROR(
      call.connection.Call(NetworksMethods::kList, networks::ListNetworksRequest(), &response));
  Listing listing;
  listing.header = {"ID", "NAME", "DRIVER", "SUBNETS"};
  for (const networks::Network& network : response.networks()) {
    std::vector<std::string> subnets;
    for (const auto& config : network.ipam()) subnets.push_back(config.subnet());
    listing.rows.push_back({ShortId(network.id()), Printable(network.name()),
                            Printable(network.driver()), absl::StrJoin(subnets, " ")});
    listing.ids.push_back(network.id());
    listing.json.push_back(NetworkJson(network));
  }
  PrintListing(listing, format);
  return 0;
}

// "KEY=VALUE"; without "=" the value is empty.
template <typename Map>
void PutPairs(const std::vector<std::string>& texts, Map* map) {
  for (const std::string& text : texts) {
    size_t equal = text.find('=');
    (*map)[text.substr(0, equal)] = equal == std::string::npos ? "" : text.substr(equal + 1);
  }
}

bool SameFamily(const std::string& a, const std::string& b) {
  return absl::StrContains(a, ':') == absl::StrContains(b, ':');
}

// A range or a gateway belongs to the subnet of its family that has none yet.
absl::Status PutInSubnet(const std::string& text, const char* what,
                         std::string* (networks::IpamConfig::*field)(),
                         networks::Network* network) {
  for (networks::IpamConfig& config : *network->mutable_ipam()) {
    std::string* value = (config.*field)();
    if (!SameFamily(text, config.subnet()) || !value->empty()) continue;
    *value = text;
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("the ", what, " ", text, " has no --subnet"));
}

absl::StatusOr<int> Create(const Invocation& call) {
  GANTRY_RETURN_IF_ERROR(CheckCount(call, 2, 2, "create and a name"));
  networks::CreateNetworkRequest request;
  networks::Network* network = request.mutable_network();
  network->set_name(call.args.positional()[1]);
  network->set_driver(call.args.String("driver", "bridge"));
  network->set_internal(call.args.Bool("internal"));
  network->set_enable_ipv4(!call.args.Has("ipv4") || call.args.Bool("ipv4"));
  network->set_enable_ipv6(call.args.Bool("ipv6"));
  PutPairs(call.args.List("opt"), network->mutable_options());
  PutPairs(call.args.List("label"), network->mutable_labels());
  for (const std::string& subnet : call.args.List("subnet"))
    network->add_ipam()->set_subnet(subnet);
  for (const std::string& range : call.args.List("ip-range")) {
    GANTRY_RETURN_IF_ERROR(
        PutInSubnet(range, "range", &networks::IpamConfig::mutable_ip_range, network));
  }
  for (const std::string& gateway : call.args.List("gateway")) {
    GANTRY_RETURN_IF_ERROR(
        PutInSubnet(gateway, "gateway", &networks::IpamConfig::mutable_gateway, network));
  }
  networks::CreateNetworkResponse response;
  GANTRY_RETURN_IF_ERROR(call.connection.Call(NetworksMethods::kCreate, request, &response));
  for (const std::string& warning : response.warnings()) PrintNote(warning + "\n");
  PrintOut(response.network().id() + "\n");
  return 0;
}

absl::StatusOr<int> Inspect(const Invocation& call) {
  GANTRY_RETURN_IF_ERROR(CheckCount(call, 2, SIZE_MAX, "inspect and networks"));
  OrderedJson all = OrderedJson::array();
  for (size_t i = 1; i < call.args.positional().size(); ++i) {
    networks::GetNetworkRequest request;
    request.set_network(call.args.positional()[i]);
    networks::GetNetworkResponse response;
    GANTRY_RETURN_IF_ERROR(call.connection.Call(NetworksMethods::kGet, request, &response));
    OrderedJson json = NetworkJson(response.network());
    json["endpoints"] = OrderedJson::array();
    for (const networks::Endpoint& endpoint : response.endpoints())
      json["endpoints"].push_back(EndpointJson(endpoint));
    all.push_back(std::move(json));
  }
  PrintOut(DumpOrdered(all) + "\n");
  return 0;
}

absl::StatusOr<int> Remove(const Invocation& call) {
  GANTRY_RETURN_IF_ERROR(CheckCount(call, 2, SIZE_MAX, "rm and networks"));
  for (size_t i = 1; i < call.args.positional().size(); ++i) {
    networks::DeleteNetworkRequest request;
    request.set_network(call.args.positional()[i]);
    Empty nothing;
    GANTRY_RETURN_IF_ERROR(call.connection.Call(NetworksMethods::kDelete, request, &nothing));
    PrintOut(call.args.positional()[i] + "\n");
  }
  return 0;
}

absl::StatusOr<int> Connect(const Invocation& call) {
  GANTRY_RETURN_IF_ERROR(CheckCount(call, 3, 3, "connect, a network and a container's id"));
  networks::ConnectRequest request;
  request.set_container_id(call.args.positional()[2]);
  networks::EndpointSettings* endpoint = request.mutable_endpoint();
  endpoint->set_network(call.args.positional()[1]);
  endpoint->set_ipv4_address(call.args.String("ip"));
  endpoint->set_ipv6_address(call.args.String("ip6"));
  for (const std::string& alias : call.args.List("alias")) endpoint->add_aliases(alias);
  if (call.args.Has("gw-priority")) {
    GANTRY_ASSIGN_OR_RETURN(uint64_t priority,
                            base::ParseDecimal(call.args.String("gw-priority"), INT32_MAX));
    endpoint->set_gateway_priority(static_cast<int32_t>(priority));
  }
  networks::ConnectResponse response;
  GANTRY_RETURN_IF_ERROR(call.connection.Call(NetworksMethods::kConnect, request, &response));
  return 0;
}

absl::StatusOr<int> Disconnect(const Invocation& call) {
  GANTRY_RETURN_IF_ERROR(CheckCount(call, 3, 3, "disconnect, a network and a container's id"));
  networks::DisconnectRequest request;
  request.set_network(call.args.positional()[1]);
  request.set_container_id(call.args.positional()[2]);
  Empty nothing;
  GANTRY_RETURN_IF_ERROR(call.connection.Call(NetworksMethods::kDisconnect, request, &nothing));
  return 0;
}

absl::StatusOr<int> Network(const Invocation& call) {
  std::string verb = call.args.positional().empty() ? "ls" : call.args.positional()[0];
  if (verb == "create") return Create(call);
  if (verb == "inspect") return Inspect(call);
  if (verb == "rm") return Remove(call);
  if (verb == "connect") return Connect(call);
  if (verb == "disconnect") return Disconnect(call);
  if (verb != "ls") {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", verb, "\" is none of ls, create, inspect, rm, connect, disconnect"));
  }
  GANTRY_ASSIGN_OR_RETURN(Format format, ListFormat(call.args));
  return List(call, format);
}

}  // namespace

std::vector<Command> NetworkCommands() {
  return {
      {"network", "Objects",
       "[ls] | create NAME | inspect NAME... | rm NAME... | connect NAME CONTAINER | disconnect "
       "NAME CONTAINER",
       "Networks of containers",
       "gantryctl network create --subnet 10.7.0.0/16 mine\n"
       "gantryctl network connect --alias db mine 3f2a…\ngantryctl network inspect mine",
       ListFlags({{"driver", 'd', FlagKind::kString, "NAME", "bridge, macvlan or ipvlan"},
                  {"subnet", '\0', FlagKind::kList, "CIDR", "else one is chosen"},
                  {"ip-range", '\0', FlagKind::kList, "CIDR", "for containers"},
                  {"gateway", '\0', FlagKind::kList, "IP", "else the first address"},
                  {"ipv4", '\0', FlagKind::kBool, "", "default true"},
                  {"ipv6", '\0', FlagKind::kBool, "", "IPv6 addresses, too"},
                  {"internal", '\0', FlagKind::kBool, "", "without a way out"},
                  {"opt", 'o', FlagKind::kList, "KEY=VALUE", "of the driver"},
                  {"label", '\0', FlagKind::kList, "KEY=VALUE", ""},
                  {"ip", '\0', FlagKind::kString, "IP", "connect: with this address"},
                  {"ip6", '\0', FlagKind::kString, "IP", "connect: with this IPv6 address"},
                  {"alias", '\0', FlagKind::kList, "NAME", "connect: a further name"},
                  {"gw-priority", '\0', FlagKind::kString, "N",
                   "connect: the greatest has the default route"}}),
       Network}};
}

}  // namespace gantry::ctl
