// /etc/hosts and /etc/resolv.conf of containers, and what the embedded DNS server knows.

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
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

// Legacy links of the predefined bridge, which has no DNS: "container:alias".
HostLines NetworkManagerImpl::LinkedHosts(const std::string& ns,
                                          const SandboxRecord& record) const {
  HostLines lines;
  std::lock_guard lock(mutex_);
  for (const EndpointRecord& own : record.endpoints()) {
    NetworkPtr network = NetworkOfLocked(ns, own.endpoint().network_id());
    if (network == nullptr || network->has_names()) continue;
    for (const std::string& link : own.endpoint().settings().links()) {
      std::string target = link.substr(0, link.find(':'));
      std::string alias = link.substr(link.find(':') + 1);
      for (auto it = sandboxes_.lower_bound({ns, ""});
           it != sandboxes_.end() && it->first.first == ns; ++it) {
        const networks::SetUpRequest& other = it->second.request();
        if (other.container_name() != target && other.container_id() != target) continue;
        for (const EndpointRecord& there : it->second.endpoints()) {
          if (there.endpoint().network_id() != network->network.id()) continue;
          std::string names = alias;
          for (const std::string* name : {&other.hostname(), &other.container_name()}) {
            if (!name->empty() && *name != alias) absl::StrAppend(&names, " ", *name);
          }
          lines.emplace_back(AddressOf(there.endpoint().ipv4_address()), names);
        }
      }
    }
  }
  return lines;
}

bool NetworkManagerImpl::NeedsDns(const std::string& ns, const SandboxRecord& record) const {
  bool connected = false;
  for (const EndpointRecord& endpoint : record.endpoints()) {
    NetworkPtr network = NetworkOf(ns, endpoint.endpoint().network_id());
    if (network == nullptr) continue;
    if (network->has_names()) return true;
    connected = connected || network->is_bridge();
  }
  // Servers that only the host reaches are asked on the container's behalf.
  return connected && record.request().dns().servers().empty() &&
         ReachableServers(HostResolvConf().servers).empty();
}

DnsScope NetworkManagerImpl::ScopeOf(const std::string& ns, const SandboxRecord& record) const {
  DnsScope scope;
  scope.servers = {record.request().dns().servers().begin(),
                   record.request().dns().servers().end()};
  scope.forwards = false;
  for (const EndpointRecord& endpoint : record.endpoints()) {
    NetworkPtr network = NetworkOf(ns, endpoint.endpoint().network_id());
    if (network == nullptr) continue;
    if (!network->network.internal()) scope.forwards = true;
    for (const networks::IpamConfig& config : network->network.ipam()) {
      if (auto subnet = Cidr::Parse(config.subnet()); subnet.ok()) scope.subnets.push_back(*subnet);
    }
    if (!network->has_names()) continue;
    scope.networks.push_back(network->network.id());
    for (const std::string& link : endpoint.endpoint().settings().links()) {
      std::string target = absl::AsciiStrToLower(link.substr(0, link.find(':')));
      if (target.size() == 64) target.resize(12);
      scope.links[absl::AsciiStrToLower(link.substr(link.find(':') + 1))] = target;
    }
  }
  return scope;
}

absl::Status NetworkManagerImpl::SettleDns(const std::string& ns, int netns,
                                           const SandboxRecord* before, const SandboxRecord& record,
                                           UndoList* undo) {
  std::string key = absl::StrCat(ns, "/", record.request().container_id());
  bool needed = before != nullptr && NeedsDns(ns, *before);
  bool needs = NeedsDns(ns, record);
  if (needed && needs) dns_.Update(key, ScopeOf(ns, record));
  if (needed && !needs) dns_.Stop(key);
  if (needed || !needs) return absl::OkStatus();
  GANTRY_RETURN_IF_ERROR(dns_.Serve(key, netns, ScopeOf(ns, record)));
  undo->Add([this, key] { dns_.Stop(key); });
  return absl::OkStatus();
}

ResolvConf NetworkManagerImpl::ResolvConfOf(const std::string& ns,
                                            const SandboxRecord& record) const {
  const networks::DnsSettings& wanted = record.request().dns();
  ResolvConf host = HostResolvConf();
  ResolvConf conf;
  conf.servers = {wanted.servers().begin(), wanted.servers().end()};
  conf.search = {wanted.search().begin(), wanted.search().end()};
  conf.options = {wanted.options().begin(), wanted.options().end()};
  if (conf.servers.empty()) conf.servers = ReachableServers(host.servers);
  if (conf.search.empty()) conf.search = host.search;
  if (conf.options.empty()) conf.options = host.options;
  if (conf.search == std::vector<std::string>{"."}) conf.search.clear();
  if (!NeedsDns(ns, record)) return conf;
  conf.servers = {"127.0.0.11"};
  // Names of containers have no dots: they are looked up as they are, first.
  bool has_ndots = false;
  for (const std::string& option : conf.options)
    has_ndots = has_ndots || absl::StartsWith(option, "ndots:");
  if (!has_ndots) conf.options.push_back("ndots:0");
  return conf;
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
    HostLines extra = ExtraHosts(ns, record);
    for (auto& line : LinkedHosts(ns, record)) extra.push_back(std::move(line));
    GANTRY_RETURN_IF_ERROR(WriteInPlace(request.hosts_path(), HostsText(ipv6, extra, own)));
  }
  if (request.resolv_conf_path().empty()) return absl::OkStatus();
  return WriteInPlace(request.resolv_conf_path(), ResolvConfOf(ns, record).ToString());
}

}  // namespace gantry::services
