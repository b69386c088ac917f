#ifndef GANTRY_SERVICES_NETWORKS_DRIVER_OPTIONS_H_
#define GANTRY_SERVICES_NETWORKS_DRIVER_OPTIONS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gantry/services/networks/v1/networks.pb.h"
#include "services/networks/rules.h"

namespace gantry::services {

// What the options of a network say, under the names that Docker gave them. Pure.
struct DriverOptions {
  std::string bridge;  // "com.docker.network.bridge.name"
  bool masquerade = true;
  bool icc = true;         // containers of the network reach each other
  IpAddress host_binding;  // where ports without an address of their own are published
  uint32_t mtu = 0;
  GatewayMode mode4 = GatewayMode::kNat;
  GatewayMode mode6 = GatewayMode::kNat;
  IpAddress source4;
  IpAddress source6;
  std::string interface_prefix = "eth";
  // macvlan, ipvlan
  std::string parent;
  std::string mode;

  // InvalidArgument for values that are none; options that are unknown are ignored, as Docker does.
  static absl::StatusOr<DriverOptions> Parse(
      const gantry::services::networks::v1::Network& network);
};

// A name that a network device may have.
absl::Status ValidateDeviceName(const std::string& name);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_NETWORKS_DRIVER_OPTIONS_H_
