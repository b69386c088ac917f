#ifndef GANTRY_SERVICES_NETWORKS_RULES_H_
#define GANTRY_SERVICES_NETWORKS_RULES_H_

// What gantryd wants of the packet filter, in the language of nft(8). Pure. Everything is in one
// table of family inet; its rules never change, networks and ports are elements of its sets and
// maps: one element a published port. docs/networks.md shows a table as it is.

#include <cstdint>
#include <string>
#include <vector>

#include "services/networks/ip_address.h"

namespace gantry::services {

// How a network is reached from outside of the host, each family for itself.
enum class GatewayMode {
  kNat,             // through published ports only
  kNatUnprotected,  // also directly, every port
  kRouted,          // directly, published ports only; addresses are not translated
  kIsolated,        // the host has no address in it
};

struct NetworkRules {
  std::string bridge;
  std::vector<Cidr> subnets;
  bool internal = false;
  bool masquerade = true;
  GatewayMode mode4 = GatewayMode::kNat;
  GatewayMode mode6 = GatewayMode::kNat;
  IpAddress source4;  // what outgoing packets get as source; none: the address of the way out
  IpAddress source6;
  GatewayMode mode(bool v6) const { return v6 ? mode6 : mode4; }
};

struct PortRule {
  std::string bridge;
  std::string protocol;  // "tcp", "udp", "sctp"
  IpAddress host;        // unspecified ("0.0.0.0", "::"): any of the host's
  uint16_t host_port = 0;
  IpAddress container;  // of the same family as host
  uint16_t container_port = 0;
  bool routed = false;  // nothing to translate, only to let through
  friend auto operator<=>(const PortRule&, const PortRule&) = default;
};

// "add" or "delete".
using RuleVerb = const char*;

// Makes the table anew, empty of elements; what was in it is gone in the same transaction.
// `guard_forwarding`: packets between two devices of the host, neither of them ours, are dropped,
// as before we made the host forward anything.
std::string TableText(const std::string& table, bool guard_forwarding);
std::string NetworkText(const std::string& table, RuleVerb verb, const NetworkRules& network);
std::string PortText(const std::string& table, RuleVerb verb, const PortRule& port);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_NETWORKS_RULES_H_
