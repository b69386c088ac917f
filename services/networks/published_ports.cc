// Ports of the host that lead to containers.

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "services/networks/manager_impl.h"

namespace gantry::services {
namespace {

using networks::PortBinding;

absl::Status Explained(const absl::Status& status, const networks::Endpoint& endpoint) {
  return absl::Status(
      status.code(),
      absl::StrCat("driver failed programming external connectivity on endpoint ",
                   endpoint.container_name(), " (", endpoint.id(), "): ", status.message()));
}

HostPort ToHostPort(const PortBinding& port) {
  absl::StatusOr<IpAddress> address = IpAddress::Parse(port.host_ip());
  return {port.protocol(), address.ok() ? *address : IpAddress(),
          static_cast<uint16_t>(port.host_port())};
}

}  // namespace

absl::Status NetworkManagerImpl::TakePorts(const std::string& ns, SandboxRecord* record,
                                           UndoList* undo) {
  const EndpointRecord* ways[2] = {GatewayEndpoint(ns, *record, false),
                                   GatewayEndpoint(ns, *record, true)};
  bool usable[2] = {};
  IpAddress any[2] = {*IpAddress::Parse("0.0.0.0"), *IpAddress::Parse("::")};
  for (int v6 = 0; v6 < 2; ++v6) {
    if (ways[v6] == nullptr) continue;
    NetworkPtr network = NetworkOf(ns, ways[v6]->endpoint().network_id());
    usable[v6] = network != nullptr && network->is_bridge() && (v6 == 0 || HostHasIpv6());
    if (usable[v6] && v6 == 0 && network->options.host_binding.valid())
      any[0] = network->options.host_binding;
  }
  for (const PortBinding& wanted : record->request().ports()) {
    std::vector<IpAddress> addresses;
    if (wanted.host_ip().empty()) {
      for (int v6 = 0; v6 < 2; ++v6) {
        if (usable[v6]) addresses.push_back(any[v6]);
      }
    } else {
      GANTRY_ASSIGN_OR_RETURN(IpAddress address, IpAddress::Parse(wanted.host_ip()));
      if (usable[address.is_v6() ? 1 : 0]) addresses.push_back(address);
    }
    if (addresses.empty()) continue;  // no network that leads out: as with Docker, no ports
    absl::StatusOr<uint16_t> port =
        ports_.Take(wanted.protocol(), addresses, static_cast<uint16_t>(wanted.host_port()),
                    static_cast<uint16_t>(wanted.host_port_end()));
    const EndpointRecord* way = ways[addresses[0].is_v6() ? 1 : 0];
    if (!port.ok()) return Explained(port.status(), way->endpoint());
    for (const IpAddress& address : addresses) {
      PortBinding* given = record->add_ports();
      *given = wanted;
      given->set_host_ip(address.ToString());
      given->set_host_port(*port);
      given->set_host_port_end(0);
      undo->Add([this, held = ToHostPort(*given)] { ports_.Release(held); });
    }
  }
  return absl::OkStatus();
}

absl::Status NetworkManagerImpl::HoldPorts(const SandboxRecord& record) {
  for (const PortBinding& port : record.ports()) {
    HostPort wanted = ToHostPort(port);
    GANTRY_RETURN_IF_ERROR(ports_.Take(wanted.protocol, {wanted.address}, wanted.port, 0).status());
  }
  return absl::OkStatus();
}

void NetworkManagerImpl::ReleasePorts(const SandboxRecord& record) {
  for (const PortBinding& port : record.ports()) ports_.Release(ToHostPort(port));
}

std::vector<PortRule> NetworkManagerImpl::PortRules(const std::string& ns,
                                                    const SandboxRecord& record) const {
  std::vector<PortRule> rules;
  for (const PortBinding& port : record.ports()) {
    HostPort host = ToHostPort(port);
    bool v6 = host.address.is_v6();
    const EndpointRecord* way = GatewayEndpoint(ns, record, v6);
    if (way == nullptr) continue;
    NetworkPtr network = NetworkOf(ns, way->endpoint().network_id());
    if (network == nullptr || !network->is_bridge()) continue;
    absl::StatusOr<Cidr> inside =
        Cidr::Parse(v6 ? way->endpoint().ipv6_address() : way->endpoint().ipv4_address());
    if (!inside.ok()) continue;
    GatewayMode mode = v6 ? network->options.mode6 : network->options.mode4;
    rules.push_back({.bridge = network->network.device(),
                     .protocol = port.protocol(),
                     .host = host.address,
                     .host_port = host.port,
                     .container = inside->address,
                     .container_port = static_cast<uint16_t>(port.container_port()),
                     .routed = mode == GatewayMode::kRouted});
  }
  return rules;
}

}  // namespace gantry::services
