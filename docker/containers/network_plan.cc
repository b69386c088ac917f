#include "docker/containers/network_plan.h"

#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/ids.h"
#include "base/status.h"

namespace gantry::docker {
namespace {

namespace networks = gantry::services::networks::v1;
using base::Json;
using gantry::services::lifecycle::v1::Policy;

constexpr size_t kShortId = 12;
constexpr uint32_t kMaxPort = 65535;

template <typename... Text>
absl::Status Invalid(Text... text) {
  return absl::InvalidArgumentError(absl::StrCat(text...));
}

absl::StatusOr<uint32_t> PortNumber(absl::string_view text) {
  auto port = base::ParseDecimal(text, kMaxPort);
  if (!port.ok()) return Invalid("invalid port specification: \"", text, "\"");
  return static_cast<uint32_t>(*port);
}

absl::StatusOr<std::pair<uint32_t, uint32_t>> Range(absl::string_view text) {
  std::pair<absl::string_view, absl::string_view> ends =
      absl::StrSplit(text, absl::MaxSplits('-', 1));
  GANTRY_ASSIGN_OR_RETURN(uint32_t first, PortNumber(ends.first));
  if (!absl::StrContains(text, '-')) return std::make_pair(first, first);
  GANTRY_ASSIGN_OR_RETURN(uint32_t last, PortNumber(ends.second));
  if (last < first) return Invalid("invalid range specified for port: ", text);
  return std::make_pair(first, last);
}

absl::Status AddBindings(const PortRange& range, const std::vector<PortMapping>& mappings,
                         Policy* policy) {
  for (uint32_t port = range.first; port <= range.last; ++port) {
    for (const PortMapping& mapping : mappings) {
      networks::PortBinding* binding = policy->add_ports();
      binding->set_container_port(port);
      binding->set_protocol(range.protocol);
      binding->set_host_ip(mapping.host_ip);
      if (mapping.host_port.empty()) continue;
      GANTRY_ASSIGN_OR_RETURN(auto host, Range(mapping.host_port));
      binding->set_host_port(host.first);
      if (host.second != host.first) binding->set_host_port_end(host.second);
    }
  }
  return absl::OkStatus();
}

absl::Status PlanPorts(const ContainerConfig& config, const HostConfig& host, Policy* policy) {
  std::set<std::string> bound;
  for (const auto& [port, mappings] : host.port_bindings) {
    GANTRY_ASSIGN_OR_RETURN(PortRange range, ParsePort(port));
    bound.insert(port);
    // An empty list is a port of the host that does not matter which.
    GANTRY_RETURN_IF_ERROR(
        AddBindings(range, mappings.empty() ? std::vector<PortMapping>(1) : mappings, policy));
  }
  for (const std::string& port : config.exposed_ports) {
    GANTRY_ASSIGN_OR_RETURN(PortRange range, ParsePort(port));
    if (!host.publish_all_ports || bound.contains(port)) continue;
    GANTRY_RETURN_IF_ERROR(AddBindings(range, {PortMapping{}}, policy));
  }
  return absl::OkStatus();
}

absl::Status CheckShared(const ContainerConfig& config, const HostConfig& host,
                         absl::string_view mode) {
  if (mode == "container") {
    if (!config.hostname.empty()) {
      return Invalid("conflicting options: hostname and the network mode");
    }
    if (!host.links.empty()) {
      return Invalid(
          "conflicting options: container type network can't be used with links. This "
          "would result in undefined behavior");
    }
    if (!host.dns.empty()) return Invalid("conflicting options: dns and the network mode");
    if (!host.extra_hosts.empty()) {
      return Invalid("conflicting options: custom host-to-IP mapping and the network mode");
    }
    if (!host.port_bindings.empty() || host.publish_all_ports) {
      return Invalid("conflicting options: port publishing and the container type network mode");
    }
  }
  if (mode == "host" && !host.links.empty()) {
    return Invalid(
        "conflicting options: host type networking can't be used with links. This "
        "would result in undefined behavior");
  }
  return absl::OkStatus();
}

absl::Status PlanEndpoints(const std::string& id, const ContainerConfig& config,
                           const HostConfig& host, const Json& endpoints, Policy* policy) {
  const std::string main =
      host.network_mode.empty() || host.network_mode == "default" ? "bridge" : host.network_mode;
  std::vector<std::string> names = {main};
  for (const auto& item : endpoints.items()) {
    std::string name = item.key() == "default" ? "bridge" : item.key();
    if (name != main) names.push_back(name);
  }
  for (const std::string& name : names) {
    const Json& given = endpoints.is_object() && name == "bridge" && !endpoints.contains("bridge")
                            ? base::JsonAt(endpoints, "default")
                            : base::JsonAt(endpoints, name);
    GANTRY_ASSIGN_OR_RETURN(networks::EndpointSettings endpoint, ParseEndpoint(name, given));
    if (name != "bridge") {
      endpoint.add_aliases(id.substr(0, kShortId));
      if (!config.hostname.empty()) endpoint.add_aliases(config.hostname);
    }
    if (name == main) {
      for (const std::string& link : host.links) endpoint.add_links(link);
      if (endpoint.mac_address().empty()) endpoint.set_mac_address(config.mac_address);
    }
    *policy->add_endpoints() = std::move(endpoint);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PortRange> ParsePort(absl::string_view text) {
  std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(text, absl::MaxSplits('/', 1));
  PortRange range;
  range.protocol = parts.second.empty() ? "tcp" : absl::AsciiStrToLower(parts.second);
  if (range.protocol != "tcp" && range.protocol != "udp" && range.protocol != "sctp") {
    return Invalid("invalid proto: ", parts.second);
  }
  GANTRY_ASSIGN_OR_RETURN(auto ends, Range(parts.first));
  range.first = ends.first;
  range.last = ends.second;
  return range;
}

absl::StatusOr<networks::EndpointSettings> ParseEndpoint(const std::string& network,
                                                         const Json& json) {
  networks::EndpointSettings endpoint;
  endpoint.set_network(network);
  JsonObject o(json, "EndpointSettings");
  StringList aliases, links, local;
  StringMap options;
  int64_t priority = 0;
  o.Get("Aliases", &aliases);
  o.Get("Links", &links);
  o.Get("MacAddress", endpoint.mutable_mac_address());
  o.Get("DriverOpts", &options);
  o.Get("GwPriority", &priority);
  JsonObject ipam(o.At("IPAMConfig"), "EndpointIPAMConfig");
  ipam.Get("IPv4Address", endpoint.mutable_ipv4_address());
  ipam.Get("IPv6Address", endpoint.mutable_ipv6_address());
  ipam.Get("LinkLocalIPs", &local);
  o.Keep(ipam.status());
  GANTRY_RETURN_IF_ERROR(o.status());
  endpoint.mutable_aliases()->Assign(aliases.begin(), aliases.end());
  endpoint.mutable_links()->Assign(links.begin(), links.end());
  endpoint.mutable_link_local_ips()->Assign(local.begin(), local.end());
  endpoint.mutable_driver_options()->insert(options.begin(), options.end());
  endpoint.set_gateway_priority(static_cast<int32_t>(priority));
  return endpoint;
}

absl::Status PlanNetworks(const std::string& id, const ContainerConfig& config,
                          const HostConfig& host, const Json& endpoints, Policy* policy) {
  std::string container = ContainerOfMode(host.network_mode);
  std::string mode = !container.empty() ? "container"
                     : host.network_mode == "host" || host.network_mode == "none"
                         ? host.network_mode
                         : "networks";
  if (config.network_disabled) mode = "none";
  GANTRY_RETURN_IF_ERROR(CheckShared(config, host, mode));
  policy->set_network_mode(mode);
  policy->set_network_container(container);
  if (mode == "networks") {
    GANTRY_RETURN_IF_ERROR(PlanEndpoints(id, config, host, endpoints, policy));
    GANTRY_RETURN_IF_ERROR(PlanPorts(config, host, policy));
  }
  auto* dns = policy->mutable_dns();
  dns->mutable_servers()->Assign(host.dns.begin(), host.dns.end());
  dns->mutable_search()->Assign(host.dns_search.begin(), host.dns_search.end());
  dns->mutable_options()->Assign(host.dns_options.begin(), host.dns_options.end());
  policy->mutable_extra_hosts()->Assign(host.extra_hosts.begin(), host.extra_hosts.end());
  for (const auto& [key, value] : host.sysctls) {
    if (absl::StartsWith(key, "net.") && mode == "networks")
      (*policy->mutable_sysctls())[key] = value;
  }
  return absl::OkStatus();
}

}  // namespace gantry::docker
