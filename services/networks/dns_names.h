#ifndef GANTRY_SERVICES_NETWORKS_DNS_NAMES_H_
#define GANTRY_SERVICES_NETWORKS_DNS_NAMES_H_

#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "gantry/services/networks/v1/networks.pb.h"
#include "services/networks/dns_message.h"
#include "services/networks/ip_address.h"

namespace gantry::services {

// What one container sees.
struct DnsScope {
  std::vector<std::string> networks;  // ids of those that have names, the first one counts most
  std::vector<Cidr> subnets;          // of these networks: their addresses are asked of nobody else
  // Names that only this container knows (links): alias → name of a container.
  std::map<std::string, std::string> links;
  std::vector<std::string> servers;  // to ask about everything else; empty: the host's
  // Whether anything is asked of servers: not for a container without a way out (CVE-2024-29018).
  bool forwards = true;
};

// Names and addresses of the containers of all networks. Any thread.
class DnsNames {
 public:
  void Put(const gantry::services::networks::v1::Endpoint& endpoint);
  void Remove(const std::string& endpoint_id);

  struct Result {
    bool found = false;  // the name is one of ours, even when it has no record of that type
    std::vector<DnsAnswer> answers;
    DnsError error = DnsError::kNone;
  };
  // Several addresses come in another order each time. Not found: somebody else is to be asked.
  Result Look(const DnsScope& scope, const DnsQuery& query);

 private:
  struct Known {
    std::string network;
    std::string full_name;  // of the address: NAME.NETWORK
    std::vector<std::string> names;
    std::vector<IpAddress> addresses;
  };
  using Name = std::pair<std::string, std::string>;  // network, lower case name
  std::vector<IpAddress> AddressesLocked(const DnsScope& scope, const std::string& name) const;
  Result LookReverseLocked(const DnsScope& scope, const IpAddress& address) const;

  std::mutex mutex_;
  std::map<std::string, Known> endpoints_;
  std::map<Name, std::set<std::string>> by_name_;
  std::map<std::pair<std::string, IpAddress>, std::string> by_address_;
  size_t turn_ = 0;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_NETWORKS_DNS_NAMES_H_
