#ifndef GANTRY_SERVICES_NETWORKS_PORTS_H_
#define GANTRY_SERVICES_NETWORKS_PORTS_H_

#include <map>
#include <mutex>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "gantry/services/networks/v1/networks.pb.h"
#include "services/networks/ip_address.h"

namespace gantry::services {

// A port of the host that belongs to a container.
struct HostPort {
  std::string protocol;
  IpAddress address;  // unspecified: all of the host's of that family
  uint16_t port = 0;
  friend auto operator<=>(const HostPort&, const HostPort&) = default;
};

// Gives out ports of the host. Each one given out is held by a bound socket, so that no other
// program gets it, and one that another program has is not given out. Any thread.
class PortAllocator {
 public:
  // One port number that is free on each of `addresses` (not empty): `first`, or any of
  // first..last, or with 0 any of the kernel's range for such things. All or none.
  // FailedPrecondition: "Bind for 0.0.0.0:80 failed: port is already allocated" when a container
  // has it, "failed to bind host port …: address already in use" when another program has;
  // InvalidArgument for an address that is none of this host's.
  absl::StatusOr<uint16_t> Take(const std::string& protocol,
                                const std::vector<IpAddress>& addresses, uint16_t first,
                                uint16_t last);
  void Release(const HostPort& port);
  size_t taken() const;

 private:
  bool ConflictsLocked(const HostPort& port) const;
  absl::Status TakeLocked(const std::string& protocol, const std::vector<IpAddress>& addresses,
                          uint16_t port);

  mutable std::mutex mutex_;
  std::map<HostPort, base::UniqueFd> held_;
  uint16_t next_ = 0;  // where the search for any port goes on
};

// InvalidArgument when it makes no sense.
absl::Status ValidatePort(const gantry::services::networks::v1::PortBinding& port);

// Whether the host speaks IPv6 at all.
bool HostHasIpv6();

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_NETWORKS_PORTS_H_
