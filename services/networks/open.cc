#include "absl/strings/str_format.h"
#include "services/networks/manager_impl.h"
#include "services/networks/network_settings.h"
#include "services/networks/records.h"

namespace gantry::services {

absl::Status NetworkManagerImpl::Load() {
  GANTRY_ASSIGN_OR_RETURN(std::vector<NetworkRecord> networks, LoadNetworks(*db_));
  GANTRY_ASSIGN_OR_RETURN(std::vector<SandboxRecord> sandboxes, LoadSandboxes(*db_));
  std::lock_guard lock(mutex_);
  for (NetworkRecord& record : networks) {
    auto state = std::make_shared<NetworkState>();
    state->ns = record.namespace_();
    state->network = std::move(*record.mutable_network());
    GANTRY_ASSIGN_OR_RETURN(state->options, DriverOptions::Parse(state->network));
    GANTRY_ASSIGN_OR_RETURN(state->subnets, TakeGateways(&state->network, state->options));
    state->ready = true;
    networks_[{state->ns, state->network.id()}] = std::move(state);
  }
  for (SandboxRecord& record : sandboxes) {
    const std::string ns = record.namespace_();
    for (const EndpointRecord& endpoint : record.endpoints()) {
      NetworkPtr network = NetworkOfLocked(ns, endpoint.endpoint().network_id());
      if (network == nullptr) continue;
      ++network->endpoints;
      for (const std::string* text :
           {&endpoint.endpoint().ipv4_address(), &endpoint.endpoint().ipv6_address()}) {
        absl::StatusOr<Cidr> address = Cidr::Parse(*text);
        if (!address.ok()) continue;
        for (Subnet& subnet : network->subnets) {
          if (subnet.subnet().Contains(address->address))
            GANTRY_RETURN_IF_ERROR(subnet.Take(address->address));
        }
      }
    }
    ObjectKey key{ns, record.request().container_id()};
    sandboxes_[key] = std::move(record);
  }
  return absl::OkStatus();
}

std::string NetworkTableName(const std::string& root) {
  return absl::StrFormat("gantry-%06x", DeviceGroup(root) & 0xffffff);
}

absl::StatusOr<std::unique_ptr<NetworkManager>> OpenNetworkManager(
    Db* db, NetworkManager::Options options) {
  auto manager = std::make_unique<NetworkManagerImpl>(db, std::move(options));
  GANTRY_RETURN_IF_ERROR(manager->Load());
  return manager;
}

}  // namespace gantry::services
