#ifndef GANTRY_SERVICES_NETWORKS_IPAM_H_
#define GANTRY_SERVICES_NETWORKS_IPAM_H_

// Which subnets networks get, and which addresses containers get in them. Pure: knows what it was
// told, asks no kernel.

#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/networks/ip_address.h"

namespace gantry::services {

// A range out of which subnets of `size` bits of prefix are cut.
struct AddressPool {
  Cidr base;
  int size = 0;
};

// Docker's: 172.17.0.0/16 to 172.31.0.0/16 whole, then 192.168.0.0/16 in /20s.
std::vector<AddressPool> DefaultPools();
// A unique local /48 of this machine (RFC 4193) in /64s; `seed` decides which.
AddressPool UniqueLocalPool(const std::string& seed);

// The first subnet of that family in the pools that overlaps none of `used`. FailedPrecondition
// with Docker's text when there is none.
absl::StatusOr<Cidr> ChooseSubnet(const std::vector<AddressPool>& pools, bool v6,
                                  const std::vector<Cidr>& used);

// The addresses of one subnet. One thread at a time.
class Subnet {
 public:
  // `range`: within `subnet`, where addresses are taken from when nobody asks for a certain one.
  Subnet(Cidr subnet, Cidr range) : subnet_(subnet), range_(range) {}

  // The lowest free address of the range. FailedPrecondition "no available IPv4 addresses on this
  // network's address pools …" when there is none.
  absl::StatusOr<IpAddress> TakeAny();
  // InvalidArgument when it is not a host's address of the subnet; FailedPrecondition "Address
  // already in use".
  absl::Status Take(const IpAddress& address);
  void Release(const IpAddress& address) { taken_.erase(address); }
  bool IsTaken(const IpAddress& address) const { return taken_.contains(address); }

  const Cidr& subnet() const { return subnet_; }
  size_t taken() const { return taken_.size(); }

 private:
  // Neither the subnet's own address nor its broadcast address. Subnets of one or two addresses
  // have neither.
  bool IsHost(const IpAddress& address) const;

  Cidr subnet_;
  Cidr range_;
  std::set<IpAddress> taken_;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_NETWORKS_IPAM_H_
