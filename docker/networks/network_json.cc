#include "docker/networks/network_json.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status.h"

namespace gantry::docker {
namespace {

namespace api = gantry::services::networks::v1;
using base::Json;
using base::OrderedJson;

std::string DockerDriver(const std::string& driver) { return driver == "none" ? "null" : driver; }

OrderedJson MapJson(const google::protobuf::Map<std::string, std::string>& map) {
  OrderedJson out = OrderedJson::object();
  for (const auto& [key, value] : ToMap(map)) out[key] = value;
  return out;
}

OrderedJson IpamJson(const api::Network& network) {
  OrderedJson configs = OrderedJson::array();
  for (const api::IpamConfig& config : network.ipam()) {
    OrderedJson one = {{"Subnet", config.subnet()}};
    if (!config.ip_range().empty()) one["IPRange"] = config.ip_range();
    if (!config.gateway().empty()) one["Gateway"] = config.gateway();
    if (!config.auxiliary_addresses().empty()) {
      one["AuxiliaryAddresses"] = MapJson(config.auxiliary_addresses());
    }
    configs.push_back(std::move(one));
  }
  OrderedJson out;
  out["Driver"] = network.ipam_driver().empty() ? "default" : network.ipam_driver();
  const bool plain = network.ipam_options().empty();
  out["Options"] = plain && network.predefined() ? OrderedJson() : MapJson(network.ipam_options());
  out["Config"] = network.ipam().empty() && network.predefined() ? OrderedJson() : configs;
  return out;
}

OrderedJson ContainersJson(const std::vector<api::Endpoint>& endpoints) {
  OrderedJson out = OrderedJson::object();
  for (const api::Endpoint& endpoint : endpoints) {
    out[endpoint.container_id()] = {{"Name", endpoint.container_name()},
                                    {"EndpointID", endpoint.id()},
                                    {"MacAddress", endpoint.mac_address()},
                                    {"IPv4Address", endpoint.ipv4_address()},
                                    {"IPv6Address", endpoint.ipv6_address()}};
  }
  return out;
}

absl::Status Wrong(absl::string_view key, absl::string_view wanted) {
  return absl::InvalidArgumentError(absl::StrCat("invalid JSON: ", key, " must be ", wanted));
}

absl::Status ReadString(const Json& body, const char* key, std::string* to) {
  const Json& value = base::JsonAt(body, key);
  if (value.is_null()) return absl::OkStatus();
  if (!value.is_string()) return Wrong(key, "a string");
  *to = value.get<std::string>();
  return absl::OkStatus();
}

absl::StatusOr<bool> ReadBool(const Json& body, const char* key, bool otherwise) {
  const Json& value = base::JsonAt(body, key);
  if (value.is_null()) return otherwise;
  if (!value.is_boolean()) return Wrong(key, "true or false");
  return value.get<bool>();
}

absl::Status ReadMap(const Json& body, const char* key,
                     google::protobuf::Map<std::string, std::string>* to) {
  const Json& map = base::JsonAt(body, key);
  if (map.is_null()) return absl::OkStatus();
  if (!map.is_object()) return Wrong(key, "an object");
  for (const auto& [name, value] : map.items()) {
    if (!value.is_string()) return Wrong(absl::StrCat(key, ".", name), "a string");
    (*to)[name] = value.get<std::string>();
  }
  return absl::OkStatus();
}

absl::Status ReadList(const Json& body, const char* key,
                      google::protobuf::RepeatedPtrField<std::string>* to) {
  const Json& list = base::JsonAt(body, key);
  if (list.is_null()) return absl::OkStatus();
  if (!list.is_array()) return Wrong(key, "a list of strings");
  for (const Json& value : list) {
    if (!value.is_string()) return Wrong(key, "a list of strings");
    to->Add(value.get<std::string>());
  }
  return absl::OkStatus();
}

absl::Status ReadIpam(const Json& ipam, api::Network* network) {
  if (ipam.is_null()) return absl::OkStatus();
  if (!ipam.is_object()) return Wrong("IPAM", "an object");
  GANTRY_RETURN_IF_ERROR(ReadString(ipam, "Driver", network->mutable_ipam_driver()));
  GANTRY_RETURN_IF_ERROR(ReadMap(ipam, "Options", network->mutable_ipam_options()));
  const Json& configs = base::JsonAt(ipam, "Config");
  if (configs.is_null()) return absl::OkStatus();
  if (!configs.is_array()) return Wrong("IPAM.Config", "a list");
  for (const Json& config : configs) {
    if (!config.is_object()) return Wrong("IPAM.Config", "a list of objects");
    api::IpamConfig* to = network->add_ipam();
    GANTRY_RETURN_IF_ERROR(ReadString(config, "Subnet", to->mutable_subnet()));
    GANTRY_RETURN_IF_ERROR(ReadString(config, "IPRange", to->mutable_ip_range()));
    GANTRY_RETURN_IF_ERROR(ReadString(config, "Gateway", to->mutable_gateway()));
    for (const char* key : {"AuxiliaryAddresses", "AuxAddress"}) {
      GANTRY_RETURN_IF_ERROR(ReadMap(config, key, to->mutable_auxiliary_addresses()));
    }
  }
  return absl::OkStatus();
}

}  // namespace

OrderedJson NetworkJson(const api::Network& network, const std::vector<api::Endpoint>& endpoints,
                        int minor_version) {
  OrderedJson out;
  out["Name"] = network.name();
  out["Id"] = network.id();
  out["Created"] = base::FormatRfc3339(base::GetTimestamp(network.created_at()));
  out["Scope"] = "local";
  out["Driver"] = DockerDriver(network.driver());
  if (minor_version >= 47) out["EnableIPv4"] = network.enable_ipv4();
  out["EnableIPv6"] = network.enable_ipv6();
  out["IPAM"] = IpamJson(network);
  out["Internal"] = network.internal();
  out["Attachable"] = network.attachable();
  out["Ingress"] = false;
  out["ConfigFrom"] = {{"Network", ""}};
  out["ConfigOnly"] = false;
  out["Containers"] = ContainersJson(endpoints);
  out["Options"] = MapJson(network.options());
  out["Labels"] = MapJson(network.labels());
  return out;
}

absl::StatusOr<bool> NetworkMatches(const api::Network& network, bool in_use,
                                    const Filters& filters) {
  GANTRY_ASSIGN_OR_RETURN(const bool dangling, filters.Bool("dangling", false));
  if (filters.Has("dangling") && (dangling != !in_use || network.predefined())) return false;
  auto any = [&](const char* key, auto matches) {
    const std::set<std::string>& values = filters.Get(key);
    return values.empty() || std::any_of(values.begin(), values.end(), matches);
  };
  for (const std::string& type : filters.Get("type")) {
    if (type != "custom" && type != "builtin") {
      return absl::InvalidArgumentError(absl::StrCat("invalid filter: 'type'='", type, "'"));
    }
  }
  return any("id", [&](const auto& id) { return absl::StartsWith(network.id(), id); }) &&
         any("name", [&](const auto& name) { return absl::StrContains(network.name(), name); }) &&
         filters.Matches("driver", DockerDriver(network.driver())) &&
         filters.Matches("scope", "local") &&
         filters.Matches("type", network.predefined() ? "builtin" : "custom") &&
         filters.MatchLabels(ToMap(network.labels()));
}

absl::StatusOr<api::Network> NetworkFromJson(const Json& body) {
  if (!body.is_object()) return absl::InvalidArgumentError("invalid JSON: an object is expected");
  api::Network network;
  GANTRY_RETURN_IF_ERROR(ReadString(body, "Name", network.mutable_name()));
  GANTRY_RETURN_IF_ERROR(ReadString(body, "Driver", network.mutable_driver()));
  if (network.driver().empty()) network.set_driver("bridge");
  if (network.driver() == "null") network.set_driver("none");
  if (network.driver() == "host" || network.driver() == "none") {
    return absl::PermissionDeniedError(absl::StrCat(
        "only one instance of \"", DockerDriver(network.driver()), "\" network is allowed"));
  }
  std::string scope;
  GANTRY_RETURN_IF_ERROR(ReadString(body, "Scope", &scope));
  GANTRY_ASSIGN_OR_RETURN(const bool ingress, ReadBool(body, "Ingress", false));
  if (scope == "swarm" || ingress || network.driver() == "overlay") {
    return absl::UnavailableError(
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to "
        "connect this node to swarm and try again.");
  }
  GANTRY_ASSIGN_OR_RETURN(const bool config_only, ReadBool(body, "ConfigOnly", false));
  if (config_only || !base::JsonString(base::JsonAt(body, "ConfigFrom"), "Network").empty()) {
    return absl::UnimplementedError(
        "networks that are configurations of others are for swarms and not supported");
  }
  GANTRY_ASSIGN_OR_RETURN(const bool ipv4, ReadBool(body, "EnableIPv4", true));
  GANTRY_ASSIGN_OR_RETURN(const bool ipv6, ReadBool(body, "EnableIPv6", false));
  GANTRY_ASSIGN_OR_RETURN(const bool internal, ReadBool(body, "Internal", false));
  GANTRY_ASSIGN_OR_RETURN(const bool attachable, ReadBool(body, "Attachable", false));
  network.set_enable_ipv4(ipv4);
  network.set_enable_ipv6(ipv6);
  network.set_internal(internal);
  network.set_attachable(attachable);
  GANTRY_RETURN_IF_ERROR(ReadIpam(base::JsonAt(body, "IPAM"), &network));
  GANTRY_RETURN_IF_ERROR(ReadMap(body, "Options", network.mutable_options()));
  GANTRY_RETURN_IF_ERROR(ReadMap(body, "Labels", network.mutable_labels()));
  return network;
}

absl::StatusOr<api::EndpointSettings> EndpointFromJson(const Json& json) {
  api::EndpointSettings out;
  if (json.is_null()) return out;
  if (!json.is_object()) return Wrong("EndpointConfig", "an object");
  GANTRY_RETURN_IF_ERROR(ReadList(json, "Aliases", out.mutable_aliases()));
  GANTRY_RETURN_IF_ERROR(ReadList(json, "Links", out.mutable_links()));
  GANTRY_RETURN_IF_ERROR(ReadString(json, "MacAddress", out.mutable_mac_address()));
  GANTRY_RETURN_IF_ERROR(ReadMap(json, "DriverOpts", out.mutable_driver_options()));
  const Json& ipam = base::JsonAt(json, "IPAMConfig");
  if (!ipam.is_null()) {
    if (!ipam.is_object()) return Wrong("IPAMConfig", "an object");
    GANTRY_RETURN_IF_ERROR(ReadString(ipam, "IPv4Address", out.mutable_ipv4_address()));
    GANTRY_RETURN_IF_ERROR(ReadString(ipam, "IPv6Address", out.mutable_ipv6_address()));
    GANTRY_RETURN_IF_ERROR(ReadList(ipam, "LinkLocalIPs", out.mutable_link_local_ips()));
  }
  const Json& priority = base::JsonAt(json, "GwPriority");
  if (!priority.is_null()) {
    if (!priority.is_number_integer()) return Wrong("GwPriority", "a whole number");
    out.set_gateway_priority(
        static_cast<int32_t>(std::clamp<int64_t>(priority.get<int64_t>(), INT32_MIN, INT32_MAX)));
  }
  return out;
}

}  // namespace gantry::docker
