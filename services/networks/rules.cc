#include "services/networks/rules.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/substitute.h"

namespace gantry::services {
namespace {

// Why each rule is there is said in comments of nft, which it drops when it reads them.
constexpr char kTable[] = R"(
table inet $table {
  set bridges { type ifname; }
  set internal { type ifname; }
  set same { type ifname . ifname; }
  set own4 { type ifname . ipv4_addr; flags interval; }
  set own6 { type ifname . ipv6_addr; flags interval; }
  set masquerade4 { type ifname . ipv4_addr; flags interval; }
  set masquerade6 { type ifname . ipv6_addr; flags interval; }
  map source4 { type ifname : ipv4_addr; }
  map source6 { type ifname : ipv6_addr; }
  set open4 { type ifname; }
  set open6 { type ifname; }
  set routed4 { type ifname . ipv4_addr . inet_proto . inet_service; }
  set routed6 { type ifname . ipv6_addr . inet_proto . inet_service; }
  map ports4 { type inet_proto . inet_service : ipv4_addr . inet_service; }
  map ports6 { type inet_proto . inet_service : ipv6_addr . inet_service; }
  map ports_of_address4 { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
  map ports_of_address6 { type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; }

  # Bridges let packets of 127.0.0.0/8 pass (route_localnet, so that the host reaches published ports
  # there): containers must not use that (CVE-2020-8558).
  chain guard {
    type filter hook prerouting priority raw; policy accept;
    iifname @bridges ip daddr 127.0.0.0/8 drop
    iifname @bridges ip saddr 127.0.0.0/8 drop
  }

  # Only what is addressed to this host (CVE-2025-67499).
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr 127.0.0.0/8 return
    iifname @internal return
    fib daddr type local jump published
  }
  chain output {
    type nat hook output priority -100; policy accept;
    ip6 daddr ::1 return
    fib daddr type local jump published
  }
  chain published {
    dnat ip to ip daddr . meta l4proto . th dport map @ports_of_address4
    meta nfproto ipv4 dnat ip to meta l4proto . th dport map @ports4
    dnat ip6 to ip6 daddr . meta l4proto . th dport map @ports_of_address6
    meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @ports6
  }

  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    # Back to where it came from, through a published port: answers have to come by here, too.
    # (Not told by iifname: packets that are bridged with br_netfilter have none here.)
    ct status dnat oifname . ip saddr @own4 masquerade
    ct status dnat oifname . ip6 saddr @own6 masquerade
    ct status dnat ip saddr 127.0.0.0/8 oifname @bridges masquerade
    iifname . oifname @same return
    iifname . ip saddr @masquerade4 snat ip to iifname map @source4
    iifname . ip6 saddr @masquerade6 snat ip6 to iifname map @source6
    iifname . ip saddr @masquerade4 masquerade
    iifname . ip6 saddr @masquerade6 masquerade
  }

  chain forward {
    type filter hook forward priority filter; policy accept;
    oifname @bridges jump to_containers
    iifname @bridges jump from_containers
$guard  }
  chain to_containers {
    iifname . oifname @same accept
    iifname @internal drop
    oifname @internal drop
    ct state established,related accept
    ct status dnat accept
    oifname . ip daddr . meta l4proto . th dport @routed4 accept
    oifname . ip6 daddr . meta l4proto . th dport @routed6 accept
    iifname @bridges drop
    meta nfproto ipv4 oifname @open4 accept
    meta nfproto ipv6 oifname @open6 accept
    drop
  }
  chain from_containers {
    iifname @internal drop
    accept
  }
}
)";

constexpr char kGuard[] = "    ct state established,related accept\n    drop\n";

void Element(const std::string& table, RuleVerb verb, absl::string_view set,
             absl::string_view element, std::string* text) {
  absl::StrAppend(text, verb, " element inet ", table, " ", set, " { ", element, " }\n");
}

std::string Quoted(const std::string& name) { return absl::StrCat("\"", name, "\""); }

}  // namespace

std::string TableText(const std::string& table, bool guard_forwarding) {
  return absl::StrCat(
      "add table inet ", table, "\ndelete table inet ", table, "\n",
      absl::StrReplaceAll(kTable, {{"$table", table}, {"$guard", guard_forwarding ? kGuard : ""}}));
}

std::string NetworkText(const std::string& table, RuleVerb verb, const NetworkRules& network) {
  std::string text;
  std::string bridge = Quoted(network.bridge);
  Element(table, verb, "bridges", bridge, &text);
  Element(table, verb, "same", absl::StrCat(bridge, " . ", bridge), &text);
  for (const Cidr& subnet : network.subnets) {
    Element(table, verb, subnet.address.is_v6() ? "own6" : "own4",
            absl::StrCat(bridge, " . ", subnet.Network().ToString()), &text);
  }
  if (network.internal) {
    Element(table, verb, "internal", bridge, &text);
    return text;
  }
  for (bool v6 : {false, true}) {
    const char* family = v6 ? "6" : "4";
    GatewayMode mode = network.mode(v6);
    if (mode == GatewayMode::kNatUnprotected)
      Element(table, verb, absl::StrCat("open", family), bridge, &text);
    if (mode == GatewayMode::kRouted || mode == GatewayMode::kIsolated || !network.masquerade)
      continue;
    bool any = false;
    for (const Cidr& subnet : network.subnets) {
      if (subnet.address.is_v6() != v6) continue;
      any = true;
      Element(table, verb, absl::StrCat("masquerade", family),
              absl::StrCat(bridge, " . ", subnet.Network().ToString()), &text);
    }
    const IpAddress& source = v6 ? network.source6 : network.source4;
    if (any && source.valid()) {
      Element(table, verb, absl::StrCat("source", family),
              absl::StrCat(bridge, " : ", source.ToString()), &text);
    }
  }
  return text;
}

std::string PortText(const std::string& table, RuleVerb verb, const PortRule& port) {
  std::string text;
  const char* family = port.container.is_v6() ? "6" : "4";
  std::string target = absl::StrCat(port.container.ToString(), " . ", port.container_port);
  if (port.routed) {
    Element(table, verb, absl::StrCat("routed", family),
            absl::StrCat(Quoted(port.bridge), " . ", port.container.ToString(), " . ",
                         port.protocol, " . ", port.container_port),
            &text);
    return text;
  }
  std::string key = absl::StrCat(port.protocol, " . ", port.host_port);
  bool any = port.host.IsUnspecified();
  if (!any) key = absl::StrCat(port.host.ToString(), " . ", key);
  Element(table, verb, absl::StrCat(any ? "ports" : "ports_of_address", family),
          absl::StrCat(key, " : ", target), &text);
  return text;
}

}  // namespace gantry::services
