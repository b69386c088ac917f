// Interfaces of containers: their addresses, the devices, and what is set within the namespace.

#include <sys/socket.h>

#include "absl/strings/str_cat.h"
#include "base/crash_point.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/status.h"
#include "services/networks/manager_impl.h"

namespace gantry::services {
namespace {

using networks::Endpoint;
using networks::EndpointSettings;

// The lowest number that no interface of the container has.
std::string FreeInterface(const SandboxRecord& record, const std::string& prefix) {
  for (int i = 0;; ++i) {
    std::string name = absl::StrCat(prefix, i);
    bool taken = false;
    for (const EndpointRecord& other : record.endpoints())
      taken = taken || other.endpoint().interface() == name;
    if (!taken) return name;
  }
}

void AddName(const std::string& name, Endpoint* endpoint) {
  if (name.empty()) return;
  for (const std::string& other : endpoint->dns_names()) {
    if (other == name) return;
  }
  endpoint->add_dns_names(name);
}

absl::Status SetInside(absl::string_view family, const std::string& device,
                       absl::string_view parameter, absl::string_view value) {
  std::string path = absl::StrCat("/proc/sys/net/", family, "/conf/", device, "/", parameter);
  return base::WriteFile(path, value);
}

// One address of the subnets of that family; the one that is asked for, or any.
absl::StatusOr<Cidr> TakeAddress(std::vector<Subnet>& subnets, bool v6, const std::string& wanted) {
  absl::Status status = absl::FailedPreconditionError(
      absl::StrCat("the network has no IPv", v6 ? "6" : "4", " subnet"));
  IpAddress address;
  if (!wanted.empty()) {
    GANTRY_ASSIGN_OR_RETURN(address, IpAddress::Parse(wanted));
    status = absl::InvalidArgumentError(
        absl::StrCat("invalid config for network: invalid endpoint settings:\nno configured subnet "
                     "or ip-range contain the IP address ",
                     wanted, " (invalid address ", wanted,
                     ": It does not belong to any of this network's subnets)"));
  }
  for (Subnet& subnet : subnets) {
    if (subnet.subnet().address.is_v6() != v6) continue;
    if (address.valid()) {
      if (!subnet.subnet().Contains(address)) continue;
      GANTRY_RETURN_IF_ERROR(subnet.Take(address));
      return Cidr{address, subnet.subnet().prefix};
    }
    absl::StatusOr<IpAddress> any = subnet.TakeAny();
    if (any.ok()) return Cidr{*any, subnet.subnet().prefix};
    status = any.status();
  }
  return status;
}

void ReleaseAddress(std::vector<Subnet>& subnets, const std::string& text) {
  absl::StatusOr<Cidr> cidr = Cidr::Parse(text);
  if (!cidr.ok()) return;
  for (Subnet& subnet : subnets) {
    if (subnet.subnet().Contains(cidr->address)) subnet.Release(cidr->address);
  }
}

// Where packets to elsewhere go; internal networks lead nowhere.
std::string GatewayFor(const NetworkState& network, const Cidr& address) {
  if (network.network.internal()) return "";
  for (const networks::IpamConfig& config : network.network.ipam()) {
    absl::StatusOr<Cidr> subnet = Cidr::Parse(config.subnet());
    if (subnet.ok() && subnet->Contains(address.address)) return config.gateway();
  }
  return "";
}

}  // namespace

absl::StatusOr<EndpointRecord> NetworkManagerImpl::TakeEndpoint(
    const std::string& ns, const networks::SetUpRequest& request, const EndpointSettings& settings,
    const SandboxRecord& record, NetworkPtr* network) {
  std::lock_guard lock(mutex_);
  GANTRY_ASSIGN_OR_RETURN(NetworkPtr found, FindNetworkLocked(ns, settings.network()));
  const networks::Network& description = found->network;
  for (const EndpointRecord& other : record.endpoints()) {
    if (other.endpoint().network_id() != description.id()) continue;
    return absl::AlreadyExistsError(absl::StrCat("endpoint with name ", request.container_name(),
                                                 " already exists in network ",
                                                 description.name()));
  }
  EndpointRecord taken;
  Endpoint* endpoint = taken.mutable_endpoint();
  endpoint->set_id(base::RandomHex(32));
  endpoint->set_network_id(description.id());
  endpoint->set_network_name(description.name());
  endpoint->set_container_id(request.container_id());
  endpoint->set_container_name(request.container_name());
  *endpoint->mutable_settings() = settings;
  *network = found;
  ++found->endpoints;
  if (!found->is_bridge() && !found->is_vlan()) return taken;
  endpoint->set_interface(FreeInterface(record, found->options.interface_prefix));
  if (found->is_bridge()) taken.set_host_device("gv" + endpoint->id().substr(0, 12));
  for (bool v6 : {false, true}) {
    const std::string& wanted = v6 ? settings.ipv6_address() : settings.ipv4_address();
    bool enabled = v6 ? description.enable_ipv6() : description.enable_ipv4();
    if (!enabled && wanted.empty()) continue;
    absl::StatusOr<Cidr> address = TakeAddress(found->subnets, v6, wanted);
    if (!address.ok()) {
      ReleaseAddress(found->subnets, endpoint->ipv4_address());
      --found->endpoints;
      return address.status();
    }
    std::string gateway = GatewayFor(*found, *address);
    if (v6) {
      endpoint->set_ipv6_address(address->ToString());
      endpoint->set_ipv6_gateway(gateway);
    } else {
      endpoint->set_ipv4_address(address->ToString());
      endpoint->set_ipv4_gateway(gateway);
    }
  }
  std::string mac = settings.mac_address();
  if (mac.empty()) {
    auto v4 = Cidr::Parse(endpoint->ipv4_address());
    mac = v4.ok() ? MacFor(v4->address) : RandomMac();
  }
  endpoint->set_mac_address(mac);
  if (found->has_names()) {
    AddName(request.container_name(), endpoint);
    for (const std::string& alias : settings.aliases()) AddName(alias, endpoint);
    AddName(request.container_id().substr(0, 12), endpoint);
    AddName(request.hostname(), endpoint);
  }
  return taken;
}

void NetworkManagerImpl::GiveEndpointBack(const std::string& ns, const EndpointRecord& endpoint) {
  std::lock_guard lock(mutex_);
  NetworkPtr network = NetworkOfLocked(ns, endpoint.endpoint().network_id());
  if (network == nullptr) return;
  ReleaseAddress(network->subnets, endpoint.endpoint().ipv4_address());
  ReleaseAddress(network->subnets, endpoint.endpoint().ipv6_address());
  --network->endpoints;
}

// The interface in the namespace, without an address and down; the host's end is ready.
absl::Status NetworkManagerImpl::Plug(NetworkState& network, const EndpointRecord& record,
                                      bool publishes, int netns) {
  const Endpoint& endpoint = record.endpoint();
  GANTRY_ASSIGN_OR_RETURN(Devices devices, Devices::Open());
  if (network.is_vlan()) {
    return devices.AddVlan(network.network.driver(), network.options.mode, network.device_index,
                           endpoint.interface(), endpoint.mac_address(), netns);
  }
  VethSettings settings{.host_name = record.host_device(),
                        .bridge = network.device_index,
                        .group = group_,
                        .name = endpoint.interface(),
                        .mac = endpoint.mac_address(),
                        .netns = netns,
                        .mtu = network.options.mtu};
  GANTRY_RETURN_IF_ERROR(devices.AddVeth(settings));
  base::CrashPoint("network.setup.veth-made");
  GANTRY_ASSIGN_OR_RETURN(Device host_end, devices.Find(record.host_device()));
  // The port of a bridge has no business with IPv6 itself (CVE-2020-13401).
  if (base::Exists("/proc/sys/net/ipv6"))
    GANTRY_RETURN_IF_ERROR(SetInside("ipv6", record.host_device(), "disable_ipv6", "1"));
  bool isolated = !network.options.icc;
  // A container that asks for its own published port.
  if (isolated || publishes) {
    GANTRY_RETURN_IF_ERROR(devices.SetPort(host_end.index, isolated, publishes));
  }
  return devices.SetUp(host_end.index);
}

// Once the interface is up. Asking for a device makes the kernel look at its state now: the bridge
// forwards to it from here on, not some milliseconds later.
absl::Status NetworkManagerImpl::FinishPlug(const NetworkState& network,
                                            const EndpointRecord& record) {
  if (record.host_device().empty()) return absl::OkStatus();
  GANTRY_ASSIGN_OR_RETURN(Devices devices, Devices::Open());
  GANTRY_ASSIGN_OR_RETURN(Device host_end, devices.Find(record.host_device()));
  // The bridge itself, which answers for its IPv6 addresses only when it knows that it has a port.
  GANTRY_RETURN_IF_ERROR(devices.Find(network.network.device()).status());
  // Whoever had the address before may still be remembered at another port.
  return devices.LearnMac(host_end.index, record.endpoint().mac_address());
}

// Runs in the namespace.
absl::Status NetworkManagerImpl::ConfigureInside(const NetworkState& network,
                                                 const EndpointRecord& record) {
  const Endpoint& endpoint = record.endpoint();
  const std::string& name = endpoint.interface();
  GANTRY_ASSIGN_OR_RETURN(Devices devices, Devices::Open());
  GANTRY_ASSIGN_OR_RETURN(Device device, devices.Find(name));
  if (base::Exists("/proc/sys/net/ipv6")) {
    bool ipv6 = network.network.enable_ipv6();
    GANTRY_RETURN_IF_ERROR(SetInside("ipv6", name, "disable_ipv6", ipv6 ? "0" : "1"));
    GANTRY_RETURN_IF_ERROR(SetInside("ipv6", name, "accept_ra", "0"));
    GANTRY_RETURN_IF_ERROR(SetInside("ipv6", name, "accept_dad", "0"));
  }
  GANTRY_RETURN_IF_ERROR(SetInside("ipv4", name, "arp_notify", "1"));
  for (const std::string* text : {&endpoint.ipv4_address(), &endpoint.ipv6_address()}) {
    if (text->empty()) continue;
    GANTRY_ASSIGN_OR_RETURN(Cidr address, Cidr::Parse(*text));
    GANTRY_RETURN_IF_ERROR(devices.AddAddress(device.index, address));
  }
  for (const std::string& text : endpoint.settings().link_local_ips()) {
    GANTRY_ASSIGN_OR_RETURN(IpAddress address, IpAddress::Parse(text));
    GANTRY_RETURN_IF_ERROR(devices.AddAddress(device.index, {address, address.is_v4() ? 16 : 64}));
  }
  return devices.SetUp(device.index);
}

const EndpointRecord* NetworkManagerImpl::GatewayEndpoint(const std::string& ns,
                                                          const SandboxRecord& record,
                                                          bool v6) const {
  const EndpointRecord* best = nullptr;
  for (const EndpointRecord& candidate : record.endpoints()) {
    const Endpoint& endpoint = candidate.endpoint();
    NetworkPtr network = NetworkOf(ns, endpoint.network_id());
    if (network == nullptr || network->network.internal()) continue;
    if ((v6 ? endpoint.ipv6_address() : endpoint.ipv4_address()).empty()) continue;
    if ((v6 ? endpoint.ipv6_gateway() : endpoint.ipv4_gateway()).empty() &&
        network->network.driver() != "ipvlan")
      continue;
    if (best == nullptr) {
      best = &candidate;
      continue;
    }
    int mine = endpoint.settings().gateway_priority();
    int other = best->endpoint().settings().gateway_priority();
    if (mine > other ||
        (mine == other && endpoint.network_name() < best->endpoint().network_name()))
      best = &candidate;
  }
  return best;
}

// Runs in the namespace.
absl::Status NetworkManagerImpl::RouteInside(const std::string& ns, const SandboxRecord& record) {
  GANTRY_ASSIGN_OR_RETURN(Devices devices, Devices::Open());
  for (bool v6 : {false, true}) {
    const EndpointRecord* way = GatewayEndpoint(ns, record, v6);
    GANTRY_RETURN_IF_ERROR(devices.DeleteDefaultRoutes(v6 ? AF_INET6 : AF_INET));
    if (way == nullptr) continue;
    GANTRY_ASSIGN_OR_RETURN(Device device, devices.Find(way->endpoint().interface()));
    NetworkPtr network = NetworkOf(ns, way->endpoint().network_id());
    bool layer3 = network != nullptr && network->network.driver() == "ipvlan" &&
                  network->options.mode != "l2";
    if (layer3) {
      GANTRY_RETURN_IF_ERROR(devices.AddDeviceRoute(device.index, v6 ? AF_INET6 : AF_INET));
      continue;
    }
    GANTRY_ASSIGN_OR_RETURN(
        IpAddress gateway,
        IpAddress::Parse(v6 ? way->endpoint().ipv6_gateway() : way->endpoint().ipv4_gateway()));
    GANTRY_RETURN_IF_ERROR(devices.AddDefaultRoute(device.index, gateway));
  }
  return absl::OkStatus();
}

// Runs in the namespace.
absl::Status NetworkManagerImpl::Silence(const SandboxRecord& record) {
  GANTRY_ASSIGN_OR_RETURN(Devices devices, Devices::Open());
  for (const EndpointRecord& endpoint : record.endpoints()) {
    if (endpoint.endpoint().interface().empty()) continue;
    GANTRY_ASSIGN_OR_RETURN(Device device, devices.Find(endpoint.endpoint().interface()));
    for (const std::string* text :
         {&endpoint.endpoint().ipv4_address(), &endpoint.endpoint().ipv6_address()}) {
      if (text->empty()) continue;
      GANTRY_ASSIGN_OR_RETURN(Cidr address, Cidr::Parse(*text));
      GANTRY_RETURN_IF_ERROR(devices.DeleteAddress(device.index, address));
    }
  }
  return absl::OkStatus();
}

// The container goes on without it, so its device has to go now.
void NetworkManagerImpl::Unplug(const EndpointRecord& record, int netns) {
  if (record.endpoint().interface().empty()) return;
  absl::Status status = InNetns(netns, [&]() -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(Devices devices, Devices::Open());
    absl::StatusOr<Device> device = devices.Find(record.endpoint().interface());
    if (absl::IsNotFound(device.status())) return absl::OkStatus();
    GANTRY_RETURN_IF_ERROR(device.status());
    return devices.Delete(device->index);
  });
  if (!status.ok()) base::LogWarn("remove an interface", {{"error", status.message()}});
}

}  // namespace gantry::services
