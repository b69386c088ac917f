#ifndef GANTRY_SERVICES_NETWORKS_NETWORK_SETTINGS_H_
#define GANTRY_SERVICES_NETWORKS_NETWORK_SETTINGS_H_

// What clients may ask of a network. Pure.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gantry/services/networks/v1/networks.pb.h"
#include "services/networks/driver_options.h"
#include "services/networks/ipam.h"
#include "services/networks/network_manager.h"

namespace gantry::services {

// Fills in defaults (driver, address family) and brings subnets to their usual form.
// InvalidArgument for what contradicts itself, with Docker's texts where there are some.
absl::Status CheckSettings(networks::Network* network);

bool HasSubnet(const networks::Network& network, bool v6);

// Subnets with what nobody else may get taken: gateways (the first address where none is set; then
// it is written into `network`) and auxiliary addresses. Networks without an address of the host
// have no gateway.
absl::StatusOr<std::vector<Subnet>> TakeGateways(networks::Network* network,
                                                 const DriverOptions& options);

// Subnet and range of the predefined bridge, from the configuration.
absl::Status SetDefaultBridge(const NetworkManager::Options& options, networks::Network* network);

// What a container may ask for. InvalidArgument otherwise.
absl::Status CheckSetUp(const networks::SetUpRequest& request);
absl::Status CheckEndpoint(const networks::EndpointSettings& settings);

// Told from the root directory, so that two gantryds of a machine differ and one stays the same.
uint32_t DeviceGroup(const std::string& root);
std::string MachineSeed(const std::string& root);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_NETWORKS_NETWORK_SETTINGS_H_
