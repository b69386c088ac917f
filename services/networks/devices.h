#ifndef GANTRY_SERVICES_NETWORKS_DEVICES_H_
#define GANTRY_SERVICES_NETWORKS_DEVICES_H_

// Network devices, addresses and routes, one kernel call each.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/networks/ip_address.h"
#include "services/networks/netlink.h"

namespace gantry::services {

struct Device {
  int index = 0;
  std::string name;
  std::string kind;  // "bridge", "veth", …; empty for hardware
  uint32_t group = 0;
  int master = 0;
  bool up = false;
};

struct BridgeSettings {
  std::string name;
  std::string mac;
  uint32_t group = 0;
  uint32_t mtu = 0;  // 0: the kernel's
};

struct VethSettings {
  std::string host_name;
  int bridge = 0;  // index
  uint32_t group = 0;
  std::string name;  // of the end in `netns`
  std::string mac;   // of that end
  int netns = -1;    // descriptor of a network namespace
  uint32_t mtu = 0;
};

// Of the namespace in which the socket was opened. One thread at a time.
class Devices {
 public:
  static absl::StatusOr<Devices> Open();

  absl::StatusOr<std::vector<Device>> List();
  absl::StatusOr<Device> Find(const std::string& name);  // NotFound
  // Subnets that have routes, but for default routes and those that go through devices of `group`.
  absl::StatusOr<std::vector<Cidr>> Routes(uint32_t group);

  // Made down. AlreadyExists when there is a device of that name.
  absl::Status AddBridge(const BridgeSettings& settings);
  // Both ends down, the host's in the bridge.
  absl::Status AddVeth(const VethSettings& settings);
  // A macvlan ("bridge", "private", "vepa", "passthru") or ipvlan ("l2", "l3", "l3s") device on
  // `parent`, made in `netns` at once.
  absl::Status AddVlan(const std::string& kind, const std::string& mode, int parent,
                       const std::string& name, const std::string& mac, int netns);
  // A tagged sub-interface "eth0.10".
  absl::Status AddTagged(const std::string& name, int parent, uint16_t tag, uint32_t group);
  absl::Status AddDummy(const std::string& name, uint32_t group);
  // Waits for the kernel's readers, 20-30 ms: never where somebody waits for a container.
  absl::Status Delete(int index);
  absl::Status SetUp(int index);
  absl::Status Rename(int index, const std::string& name);
  // A port of a bridge: isolated ones exchange nothing with each other; a hairpin sends back to
  // where a frame came from.
  absl::Status SetPort(int index, bool isolated, bool hairpin);
  // The bridge sends frames for `mac` to this port from now on.
  absl::Status LearnMac(int index, const std::string& mac);

  // OK when it is there already. Without duplicate address detection.
  absl::Status AddAddress(int index, const Cidr& address);
  absl::Status DeleteAddress(int index, const Cidr& address);         // OK when there is none
  absl::Status AddDefaultRoute(int index, const IpAddress& gateway);  // replaces one
  // Through the device itself, where there is no gateway.
  absl::Status AddDeviceRoute(int index, int family);
  absl::Status DeleteDefaultRoutes(int family);

 private:
  explicit Devices(NetlinkSocket socket) : socket_(std::move(socket)) {}
  absl::Status DefaultRoute(uint16_t type, uint16_t flags, int index, int family,
                            const IpAddress& gateway);
  absl::Status Address(uint16_t type, uint16_t flags, int index, const Cidr& address);
  NetlinkSocket socket_;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_NETWORKS_DEVICES_H_
