// Devices of networks: bridges with their addresses, parents of macvlan and ipvlan devices.

#include <cerrno>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "services/networks/manager_impl.h"
#include "services/networks/network_settings.h"

namespace gantry::services {
namespace {

// While it exists we have made the host forward packets, and guard what it did not forward before.
constexpr char kForwardingMark[] = "/forwarding";

// A host that forwards would forget the routes that routers announced to it; 2 keeps them.
absl::Status KeepRouterAdvertisements() {
  GANTRY_ASSIGN_OR_RETURN(Devices devices, Devices::Open());
  GANTRY_ASSIGN_OR_RETURN(std::vector<Device> all, devices.List());
  for (const Device& device : all) {
    std::string key = absl::StrCat("net/ipv6/conf/", device.name, "/accept_ra");
    auto value = base::ReadFile(absl::StrCat("/proc/sys/", key), 16);
    if (value.ok() && !value->empty() && (*value)[0] == '1')
      GANTRY_RETURN_IF_ERROR(base::WriteFile(absl::StrCat("/proc/sys/", key), "2"));
  }
  return absl::OkStatus();
}

std::string BridgeKey(absl::string_view family, const std::string& device,
                      absl::string_view parameter) {
  return absl::StrCat("net/", family, "/conf/", device, "/", parameter);
}

absl::Status SetBridgeParameters(const std::string& bridge, bool ipv6) {
  auto set = [](const std::string& key, absl::string_view value) {
    return base::WriteFile(absl::StrCat("/proc/sys/", key), value);
  };
  // So that the host reaches published ports at 127.0.0.1; the rules keep others from it.
  GANTRY_RETURN_IF_ERROR(set(BridgeKey("ipv4", bridge, "route_localnet"), "1"));
  if (!base::Exists("/proc/sys/net/ipv6")) return absl::OkStatus();
  // Containers are no routers of the host (CVE-2020-13401).
  GANTRY_RETURN_IF_ERROR(set(BridgeKey("ipv6", bridge, "accept_ra"), "0"));
  // Nobody else can have its addresses, and it forwards nothing before it may use them.
  GANTRY_RETURN_IF_ERROR(set(BridgeKey("ipv6", bridge, "accept_dad"), "0"));
  return set(BridgeKey("ipv6", bridge, "disable_ipv6"), ipv6 ? "0" : "1");
}

}  // namespace

NetworkRules NetworkManagerImpl::RulesOf(const NetworkState& network) const {
  NetworkRules rules;
  rules.bridge = network.network.device();
  for (const networks::IpamConfig& config : network.network.ipam())
    rules.subnets.push_back(*Cidr::Parse(config.subnet()));
  rules.internal = network.network.internal();
  rules.masquerade = network.options.masquerade;
  rules.mode4 = network.options.mode4;
  rules.mode6 = network.options.mode6;
  rules.source4 = network.options.source4;
  rules.source6 = network.options.source6;
  return rules;
}

absl::Status NetworkManagerImpl::EnsureForwarding(bool v6) {
  std::lock_guard lock(forwarding_mutex_);
  std::string path =
      absl::StrCat("/proc/sys/", v6 ? "net/ipv6/conf/all/forwarding" : "net/ipv4/ip_forward");
  GANTRY_ASSIGN_OR_RETURN(std::string now, base::ReadFile(path, 16));
  if (now.empty() || now[0] != '0') return absl::OkStatus();
  // Guarded first, as all that was not forwarded until now.
  GANTRY_RETURN_IF_ERROR(base::WriteFile(absl::StrCat(options_.state, kForwardingMark), "1"));
  firewall_.GuardForwarding(true);
  GANTRY_RETURN_IF_ERROR(firewall_.Rebuild());
  if (v6) GANTRY_RETURN_IF_ERROR(KeepRouterAdvertisements());
  base::LogInfo("the host forwards packets now", {{"family", v6 ? "IPv6" : "IPv4"}});
  return base::WriteFile(path, "1");
}

absl::Status NetworkManagerImpl::MakeBridge(NetworkState& network, Devices& devices) {
  const std::string& name = network.network.device();
  absl::StatusOr<Device> device = devices.Find(name);
  if (absl::IsNotFound(device.status())) {
    BridgeSettings settings{.name = name,
                            .mac = BridgeMac(network.network.id()),
                            .group = group_,
                            .mtu = network.options.mtu};
    GANTRY_RETURN_IF_ERROR(devices.AddBridge(settings));
    device = devices.Find(name);
  }
  GANTRY_RETURN_IF_ERROR(device.status());
  if (device->kind != "bridge") {
    return absl::FailedPreconditionError(
        absl::StrCat("the device ", name, " exists and is no bridge"));
  }
  network.device_index = device->index;
  GANTRY_RETURN_IF_ERROR(SetBridgeParameters(name, network.network.enable_ipv6()));
  for (const networks::IpamConfig& config : network.network.ipam()) {
    GANTRY_ASSIGN_OR_RETURN(Cidr subnet, Cidr::Parse(config.subnet()));
    GatewayMode mode = subnet.address.is_v6() ? network.options.mode6 : network.options.mode4;
    if (config.gateway().empty() || mode == GatewayMode::kIsolated) continue;
    GANTRY_ASSIGN_OR_RETURN(IpAddress gateway, IpAddress::Parse(config.gateway()));
    GANTRY_RETURN_IF_ERROR(devices.AddAddress(device->index, {gateway, subnet.prefix}));
  }
  return devices.SetUp(device->index);
}

// Names a device, or "eth0.10" for a tagged one that is made; without a name the network has
// nothing but itself.
absl::Status NetworkManagerImpl::EnsureParent(NetworkState& network, Devices& devices) {
  std::string parent = network.options.parent;
  bool invented = parent.empty();
  if (invented) parent = absl::StrCat("dm-", network.network.id().substr(0, 12));
  absl::StatusOr<Device> device = devices.Find(parent);
  if (absl::IsNotFound(device.status())) {
    size_t dot = parent.rfind('.');
    uint32_t tag = 0;
    if (invented) {
      GANTRY_RETURN_IF_ERROR(devices.AddDummy(parent, group_));
    } else if (dot != std::string::npos && absl::SimpleAtoi(parent.substr(dot + 1), &tag) &&
               tag > 0 && tag < 4095) {
      GANTRY_ASSIGN_OR_RETURN(Device trunk, devices.Find(parent.substr(0, dot)));
      GANTRY_RETURN_IF_ERROR(
          devices.AddTagged(parent, trunk.index, static_cast<uint16_t>(tag), group_));
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat("the parent interface was not found on the host: ", parent));
    }
    device = devices.Find(parent);
    GANTRY_RETURN_IF_ERROR(device.status());
    GANTRY_RETURN_IF_ERROR(devices.SetUp(device->index));
  }
  GANTRY_RETURN_IF_ERROR(device.status());
  network.device_index = device->index;
  return absl::OkStatus();
}

absl::Status NetworkManagerImpl::EnsureDevice(NetworkState& network) {
  if (!network.is_bridge() && !network.is_vlan()) return absl::OkStatus();
  std::lock_guard lock(network.device_mutex);
  if (network.has_device) return absl::OkStatus();
  GANTRY_ASSIGN_OR_RETURN(Devices devices, Devices::Open());
  if (network.is_vlan()) {
    GANTRY_RETURN_IF_ERROR(EnsureParent(network, devices));
  } else {
    // Rules first: no packet passes that they are to stop.
    GANTRY_RETURN_IF_ERROR(firewall_.AddNetwork(RulesOf(network)));
    absl::Status made = MakeBridge(network, devices);
    if (!made.ok()) {
      firewall_.RemoveNetwork(network.network.device()).IgnoreError();
      return made;
    }
    if (!network.network.internal()) {
      if (network.network.enable_ipv4()) GANTRY_RETURN_IF_ERROR(EnsureForwarding(false));
      if (network.network.enable_ipv6()) GANTRY_RETURN_IF_ERROR(EnsureForwarding(true));
    }
  }
  network.has_device = true;
  return absl::OkStatus();
}

absl::Status NetworkManagerImpl::RemoveDevice(NetworkState& network) {
  std::lock_guard lock(network.device_mutex);
  network.has_device = false;
  if (!network.is_bridge() && !network.is_vlan()) return absl::OkStatus();
  GANTRY_ASSIGN_OR_RETURN(Devices devices, Devices::Open());
  std::string name = network.network.device();
  if (network.is_vlan()) {
    name = network.options.parent.empty() ? absl::StrCat("dm-", network.network.id().substr(0, 12))
                                          : network.options.parent;
  }
  absl::StatusOr<Device> device = devices.Find(name);
  if (!device.ok() && !absl::IsNotFound(device.status())) return device.status();
  // A device of somebody else that the network only used stays.
  if (device.ok() && device->group == group_ && !ParentIsShared(network))
    GANTRY_RETURN_IF_ERROR(devices.Delete(device->index));
  return network.is_bridge() ? firewall_.RemoveNetwork(name) : absl::OkStatus();
}

bool NetworkManagerImpl::ParentIsShared(const NetworkState& network) const {
  if (!network.is_vlan() || network.options.parent.empty()) return false;
  std::lock_guard lock(mutex_);
  for (const auto& [key, other] : networks_) {
    if (other.get() != &network && other->is_vlan() &&
        other->options.parent == network.options.parent)
      return true;
  }
  return false;
}

}  // namespace gantry::services
