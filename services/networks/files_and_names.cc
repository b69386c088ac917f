// /etc/hosts and /etc/resolv.conf of containers, and what the embedded DNS server knows.

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "services/networks/manager_impl.h"

namespace gantry::services {
namespace {

using networks::Endpoint;

std::string AddressOf(const std::string& cidr) { return cidr.substr(0, cidr.find('/')); }

std::string HostNames(const networks::SetUpRequest& request) {
  if (request.domainname().empty()) return request.hostname();
  return absl::StrCat(request.hostname(), ".", request.domainname(), " ", request.hostname());
}

}  // namespace

// The host as the container reaches it: where its default route leads, or the network's own
// address.
std::vector<std::string> NetworkManagerImpl::HostGateways(const std::string& ns,
                                                          const SandboxRecord& record) const {
  std::vector<std::string> gateways;
  for (bool v6 : {false, true}) {
    const EndpointRecord* way = GatewayEndpoint(ns, record, v6);
    if (way == nullptr && record.endpoints_size() > 0) way = &record.endpoints(0);
    if (way == nullptr) continue;
    NetworkPtr network = NetworkOf(ns, way->endpoint().network_id());
    if (network == nullptr) continue;
    for (const networks::IpamConfig& config : network->network.ipam()) {
      if ((config.subnet().find(':') != std::string::npos) != v6 || config.gateway().empty())
        continue;
      gateways.push_back(config.gateway());
      break;
    }
  }
  return gateways;
}

HostLines NetworkManagerImpl::ExtraHosts(const std::string& ns, const SandboxRecord& record) const {
  HostLines lines;
  for (const std::string& host : record.request().extra_hosts()) {
    size_t colon = host.find(':');
    std::string name = host.substr(0, colon);
    std::string address = host.substr(colon + 1);
    if (address != "host-gateway") {
      lines.emplace_back(address, name);
      continue;
    }
    for (const std::string& gateway : HostGateways(ns, record)) lines.emplace_back(gateway, name);
  }
  return lines;
}

absl::Status NetworkManagerImpl::WriteFiles(const std::string& ns, const SandboxRecord& record) {
  const networks::SetUpRequest& request = record.request();
  if (!request.hosts_path().empty()) {
    HostLines own;
    bool ipv6 = false;
    for (const EndpointRecord& endpoint : record.endpoints()) {
      for (const std::string* address :
           {&endpoint.endpoint().ipv4_address(), &endpoint.endpoint().ipv6_address()}) {
        if (address->empty() || request.hostname().empty()) continue;
        ipv6 = ipv6 || address == &endpoint.endpoint().ipv6_address();
        own.emplace_back(AddressOf(*address), HostNames(request));
      }
    }
    GANTRY_RETURN_IF_ERROR(
        WriteInPlace(request.hosts_path(), HostsText(ipv6, ExtraHosts(ns, record), own)));
  }
  if (request.resolv_conf_path().empty()) return absl::OkStatus();
  ResolvConf host = HostResolvConf();
  ResolvConf conf;
  conf.servers = {request.dns().servers().begin(), request.dns().servers().end()};
  conf.search = {request.dns().search().begin(), request.dns().search().end()};
  conf.options = {request.dns().options().begin(), request.dns().options().end()};
  if (conf.servers.empty()) conf.servers = ReachableServers(host.servers);
  if (conf.search.empty()) conf.search = host.search;
  if (conf.options.empty()) conf.options = host.options;
  if (conf.search == std::vector<std::string>{"."}) conf.search.clear();
  return WriteInPlace(request.resolv_conf_path(), conf.ToString());
}

}  // namespace gantry::services
