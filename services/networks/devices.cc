#include "services/networks/devices.h"

#include <linux/if_addr.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>

#include <cerrno>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace gantry::services {
namespace {

constexpr uint16_t kCreate = NLM_F_CREATE | NLM_F_EXCL;

absl::string_view Bytes(const ifinfomsg& header) {
  return {reinterpret_cast<const char*>(&header), sizeof header};
}

void AddMac(NetlinkMessage& message, const std::string& text) {
  if (auto mac = ParseMac(text); mac.ok()) message.Add(IFLA_ADDRESS, mac->data(), mac->size());
}

Device ToDevice(const nlmsghdr& message) {
  Device device;
  const auto* info = static_cast<const ifinfomsg*>(NLMSG_DATA(&message));
  device.index = info->ifi_index;
  device.up = (info->ifi_flags & IFF_UP) != 0;
  ForEachAttribute(message, sizeof *info, [&device](int type, const char* data, size_t size) {
    auto text = [](const char* bytes, size_t length) {
      return std::string(bytes, strnlen(bytes, length));
    };
    uint32_t number = 0;
    if (size >= sizeof number) memcpy(&number, data, sizeof number);
    if (type == IFLA_IFNAME) device.name = text(data, size);
    if (type == IFLA_GROUP) device.group = number;
    if (type == IFLA_MASTER) device.master = static_cast<int>(number);
    if (type == IFLA_LINKINFO) {
      ForEachNested(data, size, [&](int nested, const char* bytes, size_t length) {
        if (nested == IFLA_INFO_KIND) device.kind = text(bytes, length);
      });
    }
  });
  return device;
}

}  // namespace

absl::StatusOr<Devices> Devices::Open() {
  GANTRY_ASSIGN_OR_RETURN(NetlinkSocket socket, NetlinkSocket::Open());
  return Devices(std::move(socket));
}

absl::StatusOr<std::vector<Device>> Devices::List() {
  NetlinkMessage message(RTM_GETLINK, NLM_F_DUMP, ifinfomsg{});
  std::vector<Device> devices;
  GANTRY_RETURN_IF_ERROR(socket_.Dump(message, "list network devices", [&](const nlmsghdr& answer) {
    if (answer.nlmsg_type == RTM_NEWLINK) devices.push_back(ToDevice(answer));
  }));
  return devices;
}

absl::StatusOr<Device> Devices::Find(const std::string& name) {
  NetlinkMessage message(RTM_GETLINK, 0, ifinfomsg{});
  message.Add(IFLA_IFNAME, name);
  Device device;
  absl::Status status = socket_.Dump(message, absl::StrCat("find the network device ", name),
                                     [&](const nlmsghdr& answer) {
                                       if (answer.nlmsg_type == RTM_NEWLINK)
                                         device = ToDevice(answer);
                                     });
  if (base::ErrnoOf(status) == ENODEV) {
    return absl::NotFoundError(absl::StrCat("there is no network device ", name));
  }
  GANTRY_RETURN_IF_ERROR(status);
  return device;
}

absl::StatusOr<std::vector<Cidr>> Devices::Routes(uint32_t group) {
  std::set<int> ours;
  GANTRY_ASSIGN_OR_RETURN(std::vector<Device> devices, List());
  for (const Device& device : devices) {
    if (device.group == group) ours.insert(device.index);
  }
  NetlinkMessage message(RTM_GETROUTE, NLM_F_DUMP, rtmsg{});
  std::vector<Cidr> routes;
  GANTRY_RETURN_IF_ERROR(socket_.Dump(message, "list routes", [&](const nlmsghdr& answer) {
    const auto* route = static_cast<const rtmsg*>(NLMSG_DATA(&answer));
    if (answer.nlmsg_type != RTM_NEWROUTE || route->rtm_type != RTN_UNICAST ||
        route->rtm_dst_len == 0) {
      return;
    }
    Cidr destination;
    int out = 0;
    ForEachAttribute(answer, sizeof *route, [&](int type, const char* data, size_t size) {
      if (type == RTA_DST && size >= (route->rtm_family == AF_INET ? 4u : 16u))
        destination = {IpAddress::FromBytes(route->rtm_family, data), route->rtm_dst_len};
      if (type == RTA_OIF && size >= sizeof out) memcpy(&out, data, sizeof out);
    });
    if (destination.address.valid() && !ours.contains(out)) routes.push_back(destination);
  }));
  return routes;
}

absl::Status Devices::AddBridge(const BridgeSettings& settings) {
  NetlinkMessage message(RTM_NEWLINK, kCreate, ifinfomsg{});
  message.Add(IFLA_IFNAME, settings.name);
  AddMac(message, settings.mac);
  message.AddValue(IFLA_GROUP, settings.group);
  if (settings.mtu != 0) message.AddValue(IFLA_MTU, settings.mtu);
  message.Nest(IFLA_LINKINFO, [&] { message.Add(IFLA_INFO_KIND, "bridge"); });
  return socket_.Call(message, absl::StrCat("make the bridge ", settings.name));
}

absl::Status Devices::AddVeth(const VethSettings& settings) {
  NetlinkMessage message(RTM_NEWLINK, kCreate, ifinfomsg{});
  message.Add(IFLA_IFNAME, settings.host_name);
  message.AddValue(IFLA_GROUP, settings.group);
  if (settings.mtu != 0) message.AddValue(IFLA_MTU, settings.mtu);
  message.AddValue(IFLA_MASTER, settings.bridge);
  message.Nest(IFLA_LINKINFO, [&] {
    message.Add(IFLA_INFO_KIND, "veth");
    message.Nest(IFLA_INFO_DATA, [&] {
      auto peer = [&] {
        message.Add(IFLA_IFNAME, settings.name);
        AddMac(message, settings.mac);
        if (settings.mtu != 0) message.AddValue(IFLA_MTU, settings.mtu);
        message.AddValue(IFLA_NET_NS_FD, settings.netns);
      };
      message.Nest(VETH_INFO_PEER, peer, Bytes(ifinfomsg{}));
    });
  });
  return socket_.Call(message, absl::StrCat("make the veth pair ", settings.host_name));
}

absl::Status Devices::AddVlan(const std::string& kind, const std::string& mode, int parent,
                              const std::string& name, const std::string& mac, int netns) {
  static const std::map<std::string, uint32_t> macvlan = {{"private", MACVLAN_MODE_PRIVATE},
                                                          {"vepa", MACVLAN_MODE_VEPA},
                                                          {"bridge", MACVLAN_MODE_BRIDGE},
                                                          {"passthru", MACVLAN_MODE_PASSTHRU}};
  static const std::map<std::string, uint16_t> ipvlan = {
      {"l2", IPVLAN_MODE_L2}, {"l3", IPVLAN_MODE_L3}, {"l3s", IPVLAN_MODE_L3S}};
  NetlinkMessage message(RTM_NEWLINK, kCreate, ifinfomsg{});
  message.Add(IFLA_IFNAME, name);
  message.AddValue(IFLA_LINK, parent);
  message.AddValue(IFLA_NET_NS_FD, netns);
  if (kind == "macvlan") AddMac(message, mac);
  message.Nest(IFLA_LINKINFO, [&] {
    message.Add(IFLA_INFO_KIND, kind);
    message.Nest(IFLA_INFO_DATA, [&] {
      if (kind == "macvlan") message.AddValue(IFLA_MACVLAN_MODE, macvlan.at(mode));
      if (kind == "ipvlan") message.AddValue(IFLA_IPVLAN_MODE, ipvlan.at(mode));
    });
  });
  return socket_.Call(message, absl::StrCat("make a device of kind ", kind));
}

absl::Status Devices::AddTagged(const std::string& name, int parent, uint16_t tag, uint32_t group) {
  NetlinkMessage message(RTM_NEWLINK, kCreate, ifinfomsg{});
  message.Add(IFLA_IFNAME, name);
  message.AddValue(IFLA_LINK, parent);
  message.AddValue(IFLA_GROUP, group);
  message.Nest(IFLA_LINKINFO, [&] {
    message.Add(IFLA_INFO_KIND, "vlan");
    message.Nest(IFLA_INFO_DATA, [&] { message.AddValue(IFLA_VLAN_ID, tag); });
  });
  return socket_.Call(message, absl::StrCat("make the tagged device ", name));
}

absl::Status Devices::AddDummy(const std::string& name, uint32_t group) {
  NetlinkMessage message(RTM_NEWLINK, kCreate, ifinfomsg{});
  message.Add(IFLA_IFNAME, name);
  message.AddValue(IFLA_GROUP, group);
  message.Nest(IFLA_LINKINFO, [&] { message.Add(IFLA_INFO_KIND, "dummy"); });
  return socket_.Call(message, absl::StrCat("make the device ", name));
}

absl::Status Devices::Delete(int index) {
  NetlinkMessage message(RTM_DELLINK, 0, ifinfomsg{.ifi_index = index});
  absl::Status status = socket_.Call(message, "delete a network device");
  return base::ErrnoOf(status) == ENODEV ? absl::OkStatus() : status;
}

absl::Status Devices::SetUp(int index) {
  NetlinkMessage message(RTM_NEWLINK, 0,
                         ifinfomsg{.ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP});
  return socket_.Call(message, "bring a network device up");
}

absl::Status Devices::Rename(int index, const std::string& name) {
  NetlinkMessage message(RTM_NEWLINK, 0, ifinfomsg{.ifi_index = index});
  message.Add(IFLA_IFNAME, name);
  return socket_.Call(message, absl::StrCat("rename a network device to ", name));
}

absl::Status Devices::SetPort(int index, bool isolated, bool hairpin) {
  NetlinkMessage message(RTM_SETLINK, 0, ifinfomsg{.ifi_family = AF_BRIDGE, .ifi_index = index});
  message.Nest(IFLA_PROTINFO | NLA_F_NESTED, [&] {
    if (isolated) message.AddValue(IFLA_BRPORT_ISOLATED, uint8_t{1});
    if (hairpin) message.AddValue(IFLA_BRPORT_MODE, uint8_t{1});
  });
  return socket_.Call(message, "set up a port of a bridge");
}

absl::Status Devices::LearnMac(int index, const std::string& mac) {
  ndmsg header = {};
  header.ndm_family = AF_BRIDGE;
  header.ndm_ifindex = index;
  header.ndm_state = NUD_REACHABLE;
  header.ndm_flags = NTF_MASTER;
  NetlinkMessage message(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, header);
  GANTRY_ASSIGN_OR_RETURN(auto bytes, ParseMac(mac));
  message.Add(NDA_LLADDR, bytes.data(), bytes.size());
  return socket_.Call(message, "teach a bridge an address");
}

absl::Status Devices::Address(uint16_t type, uint16_t flags, int index, const Cidr& address) {
  ifaddrmsg header = {};
  header.ifa_family = static_cast<uint8_t>(address.address.family());
  header.ifa_prefixlen = static_cast<uint8_t>(address.prefix);
  header.ifa_index = static_cast<uint32_t>(index);
  header.ifa_flags = address.address.is_v6() ? IFA_F_NODAD : 0;
  NetlinkMessage message(type, flags, header);
  message.Add(IFA_LOCAL, address.address.data(), address.address.size());
  message.Add(IFA_ADDRESS, address.address.data(), address.address.size());
  if (address.address.is_v4() && type == RTM_NEWADDR && address.prefix < 31) {
    IpAddress broadcast = address.last();
    message.Add(IFA_BROADCAST, broadcast.data(), broadcast.size());
  }
  return socket_.Call(message, absl::StrCat(type == RTM_NEWADDR ? "add" : "remove", " the address ",
                                            address.ToString()));
}

absl::Status Devices::AddAddress(int index, const Cidr& address) {
  absl::Status status = Address(RTM_NEWADDR, kCreate, index, address);
  return base::ErrnoOf(status) == EEXIST ? absl::OkStatus() : status;
}

absl::Status Devices::DeleteAddress(int index, const Cidr& address) {
  absl::Status status = Address(RTM_DELADDR, 0, index, address);
  int error = base::ErrnoOf(status);
  return error == EADDRNOTAVAIL || error == ENODEV ? absl::OkStatus() : status;
}

absl::Status Devices::DefaultRoute(uint16_t type, uint16_t flags, int index, int family,
                                   const IpAddress& gateway) {
  rtmsg header = {};
  header.rtm_family = static_cast<uint8_t>(family);
  header.rtm_table = RT_TABLE_MAIN;
  header.rtm_protocol = type == RTM_NEWROUTE ? RTPROT_BOOT : RTPROT_UNSPEC;
  header.rtm_scope = type == RTM_DELROUTE ? RT_SCOPE_NOWHERE
                     : gateway.valid()    ? RT_SCOPE_UNIVERSE
                                          : RT_SCOPE_LINK;
  header.rtm_type = type == RTM_NEWROUTE ? RTN_UNICAST : RTN_UNSPEC;
  NetlinkMessage message(type, flags, header);
  if (gateway.valid()) message.Add(RTA_GATEWAY, gateway.data(), gateway.size());
  if (index != 0) message.AddValue(RTA_OIF, index);
  return socket_.Call(message, absl::StrCat("set the default route to ", gateway.ToString()));
}

absl::Status Devices::AddDefaultRoute(int index, const IpAddress& gateway) {
  return DefaultRoute(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, index, gateway.family(), gateway);
}

absl::Status Devices::AddDeviceRoute(int index, int family) {
  return DefaultRoute(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, index, family, IpAddress());
}

absl::Status Devices::DeleteDefaultRoutes(int family) {
  // One a call; the bound is for a kernel that says OK without end.
  for (int i = 0; i < 16; ++i) {
    absl::Status status = DefaultRoute(RTM_DELROUTE, 0, 0, family, IpAddress());
    // ENOENT: there is not even a table of routes yet.
    if (base::ErrnoOf(status) == ESRCH || base::ErrnoOf(status) == ENOENT) return absl::OkStatus();
    GANTRY_RETURN_IF_ERROR(status);
  }
  return absl::OkStatus();
}

}  // namespace gantry::services
