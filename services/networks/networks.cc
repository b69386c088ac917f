// Networks as records: creating, finding, deleting.

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/crash_point.h"
#include "base/ids.h"
#include "base/status.h"
#include "services/metadata/intents.h"
#include "services/metadata/namespace_store.h"
#include "services/networks/manager_impl.h"
#include "services/networks/network_events.h"
#include "services/networks/network_settings.h"
#include "services/networks/records.h"

namespace gantry::services {
namespace {

using networks::Network;

NetworkIntent IntentOf(const std::string& ns, const std::string& id) {
  NetworkIntent intent;
  intent.set_namespace_(ns);
  intent.set_id(id);
  return intent;
}

absl::Status NotFound(const std::string& name) {
  return absl::NotFoundError(absl::StrCat("network ", name, " not found"));
}

}  // namespace

NetworkManagerImpl::NetworkManagerImpl(Db* db, Options options)
    : db_(db),
      options_(std::move(options)),
      group_(DeviceGroup(options_.root)),
      pool_(4),
      firewall_(options_.table.empty() ? "gantry" : options_.table) {
  for (const Options::Pool& pool : options_.pools) {
    if (auto base = Cidr::Parse(pool.base); base.ok()) pools_.push_back({*base, pool.size});
  }
  if (pools_.empty()) pools_ = DefaultPools();
  bool any_v6 = std::any_of(pools_.begin(), pools_.end(),
                            [](const AddressPool& pool) { return pool.base.address.is_v6(); });
  if (!any_v6) pools_.push_back(UniqueLocalPool(MachineSeed(options_.root)));
}

std::vector<Cidr> NetworkManagerImpl::UsedSubnetsLocked() const {
  std::vector<Cidr> used;
  for (const auto& [key, network] : networks_) {
    for (const Subnet& subnet : network->subnets) used.push_back(subnet.subnet());
  }
  return used;
}

absl::Status NetworkManagerImpl::CheckNameLocked(const std::string& ns,
                                                 const std::string& name) const {
  for (const auto& [key, other] : networks_) {
    if (key.first == ns && other->network.name() == name)
      return absl::AlreadyExistsError(absl::StrCat("network with name ", name, " already exists"));
  }
  return absl::OkStatus();
}

absl::Status NetworkManagerImpl::ChooseSubnetsLocked(const std::vector<Cidr>& routes,
                                                     NetworkState* state) {
  Network& network = state->network;
  std::vector<Cidr> used = UsedSubnetsLocked();
  for (const networks::IpamConfig& config : network.ipam()) {
    Cidr subnet = *Cidr::Parse(config.subnet());  // checked before
    for (const Cidr& other : used) {
      if (subnet.Overlaps(other)) {
        return absl::FailedPreconditionError("Pool overlaps with other one on this address space");
      }
    }
    used.push_back(subnet);
  }
  std::vector<Cidr> avoided = used;
  avoided.insert(avoided.end(), routes.begin(), routes.end());
  for (bool v6 : {false, true}) {
    if (!(v6 ? network.enable_ipv6() : network.enable_ipv4()) || HasSubnet(network, v6)) continue;
    GANTRY_ASSIGN_OR_RETURN(Cidr subnet, ChooseSubnet(pools_, v6, avoided));
    network.add_ipam()->set_subnet(subnet.ToString());
  }
  GANTRY_ASSIGN_OR_RETURN(state->subnets, TakeGateways(&network, state->options));
  return absl::OkStatus();
}

absl::StatusOr<NetworkPtr> NetworkManagerImpl::Reserve(const std::string& ns, Network network) {
  auto state = std::make_shared<NetworkState>();
  state->ns = ns;
  GANTRY_ASSIGN_OR_RETURN(state->options, DriverOptions::Parse(network));
  network.set_id(base::RandomHex(32));
  if (network.driver() == "bridge") {
    if (state->options.bridge.empty()) state->options.bridge = "br-" + network.id().substr(0, 12);
    network.set_device(state->options.bridge);
  }
  base::SetTimestamp(network.mutable_created_at(), absl::Now());
  state->network = std::move(network);
  std::vector<Cidr> routes;
  if (state->is_bridge() || state->is_vlan()) {
    GANTRY_ASSIGN_OR_RETURN(Devices devices, Devices::Open());
    GANTRY_ASSIGN_OR_RETURN(routes, devices.Routes(group_));
  }
  std::lock_guard lock(mutex_);
  GANTRY_RETURN_IF_ERROR(CheckNameLocked(ns, state->network.name()));
  for (const auto& [key, other] : networks_) {
    if (state->is_bridge() && other->network.device() == state->network.device()) {
      return absl::AlreadyExistsError(absl::StrCat("bridge name ", state->network.device(),
                                                   " is used by network ", other->network.name()));
    }
  }
  if (state->is_bridge() || state->is_vlan())
    GANTRY_RETURN_IF_ERROR(ChooseSubnetsLocked(routes, state.get()));
  networks_[{ns, state->network.id()}] = state;
  return state;
}

absl::StatusOr<networks::CreateNetworkResponse> NetworkManagerImpl::Create(
    const std::string& ns, const networks::CreateNetworkRequest& request) {
  Network wanted = request.network();
  if (wanted.predefined()) {
    GANTRY_RETURN_IF_ERROR(ConfigurePredefined(ns, wanted));
    GANTRY_ASSIGN_OR_RETURN(NetworkPtr network, FindNetwork(ns, wanted.name()));
    networks::CreateNetworkResponse response;
    *response.mutable_network() = network->network;
    return response;
  }
  GANTRY_RETURN_IF_ERROR(CheckSettings(&wanted));
  GANTRY_RETURN_IF_ERROR(EnsurePredefined(ns));
  GANTRY_ASSIGN_OR_RETURN(NetworkPtr state, Reserve(ns, std::move(wanted)));
  UndoList undo;
  undo.Add([this, &ns, &state] {
    std::lock_guard lock(mutex_);
    networks_.erase({ns, state->network.id()});
  });
  GANTRY_ASSIGN_OR_RETURN(
      IntentScope intent,
      IntentScope::Begin(db_, kCreateIntent, IntentOf(ns, state->network.id())));
  base::CrashPoint("network.create.intent-written");
  undo.Add([this, &state] { RemoveDevice(*state).IgnoreError(); });
  GANTRY_RETURN_IF_ERROR(EnsureDevice(*state));
  base::CrashPoint("network.create.device-made");
  GANTRY_RETURN_IF_ERROR(db_->Update(Durability::kSync, [&](Tx& tx) -> absl::Status {
    GANTRY_RETURN_IF_ERROR(EnsureNamespace(tx, ns));
    PutNetwork(tx, ns, state->network);
    AddNetworkEvent(tx, ns, "create", state->network, "");
    return intent.EndIn(tx);
  }));
  intent.Leave();
  undo.Forget();
  std::lock_guard lock(mutex_);
  state->ready = true;
  networks::CreateNetworkResponse response;
  *response.mutable_network() = state->network;
  return response;
}

absl::StatusOr<NetworkPtr> NetworkManagerImpl::FindNetworkLocked(const std::string& ns,
                                                                 const std::string& name) const {
  if (name.empty()) return absl::InvalidArgumentError("no network is named");
  NetworkPtr by_name, by_prefix;
  int prefixes = 0;
  for (auto it = networks_.lower_bound({ns, ""}); it != networks_.end() && it->first.first == ns;
       ++it) {
    const NetworkPtr& network = it->second;
    if (!network->ready || network->going) continue;
    if (it->first.second == name) return network;
    if (network->network.name() == name) by_name = network;
    if (absl::StartsWith(it->first.second, name)) {
      by_prefix = network;
      ++prefixes;
    }
  }
  if (by_name != nullptr) return by_name;
  if (prefixes == 1) return by_prefix;
  if (prefixes > 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("network ", name, " is ambiguous (", prefixes, " matches found on name)"));
  }
  return NotFound(name);
}

absl::StatusOr<NetworkPtr> NetworkManagerImpl::FindNetwork(const std::string& ns,
                                                           const std::string& name) {
  GANTRY_RETURN_IF_ERROR(EnsurePredefined(ns));
  std::lock_guard lock(mutex_);
  return FindNetworkLocked(ns, name);
}

NetworkPtr NetworkManagerImpl::NetworkOfLocked(const std::string& ns, const std::string& id) const {
  auto it = networks_.find({ns, id});
  return it == networks_.end() ? nullptr : it->second;
}

NetworkPtr NetworkManagerImpl::NetworkOf(const std::string& ns, const std::string& id) const {
  std::lock_guard lock(mutex_);
  return NetworkOfLocked(ns, id);
}

absl::StatusOr<networks::GetNetworkResponse> NetworkManagerImpl::Get(const std::string& ns,
                                                                     const std::string& name) {
  GANTRY_RETURN_IF_ERROR(EnsurePredefined(ns));
  std::lock_guard lock(mutex_);
  GANTRY_ASSIGN_OR_RETURN(NetworkPtr network, FindNetworkLocked(ns, name));
  networks::GetNetworkResponse response;
  *response.mutable_network() = network->network;
  for (const auto& [key, sandbox] : sandboxes_) {
    if (key.first != ns) continue;
    for (const EndpointRecord& endpoint : sandbox.endpoints()) {
      if (endpoint.endpoint().network_id() == network->network.id())
        *response.add_endpoints() = endpoint.endpoint();
    }
  }
  return response;
}

absl::StatusOr<networks::ListNetworksResponse> NetworkManagerImpl::List(const std::string& ns) {
  GANTRY_RETURN_IF_ERROR(EnsurePredefined(ns));
  networks::ListNetworksResponse response;
  std::lock_guard lock(mutex_);
  for (auto it = networks_.lower_bound({ns, ""}); it != networks_.end() && it->first.first == ns;
       ++it) {
    if (it->second->ready && !it->second->going) *response.add_networks() = it->second->network;
  }
  return response;
}

std::string NetworkManagerImpl::FirstEndpointLocked(const NetworkState& network) const {
  for (const auto& [key, sandbox] : sandboxes_) {
    for (const EndpointRecord& record : sandbox.endpoints()) {
      const networks::Endpoint& endpoint = record.endpoint();
      if (key.first == network.ns && endpoint.network_id() == network.network.id()) {
        return absl::StrCat(" (name:\"", endpoint.container_name(), "\" id:\"",
                            endpoint.id().substr(0, 12), "\")");
      }
    }
  }
  return "";
}

absl::Status NetworkManagerImpl::Delete(const std::string& ns, const std::string& name) {
  GANTRY_RETURN_IF_ERROR(EnsurePredefined(ns));
  NetworkPtr network;
  {
    std::lock_guard lock(mutex_);
    GANTRY_ASSIGN_OR_RETURN(network, FindNetworkLocked(ns, name));
    if (network->network.predefined()) {
      return absl::PermissionDeniedError(
          absl::StrCat(network->network.name(), " is a pre-defined network and cannot be removed"));
    }
    if (network->endpoints > 0) {
      return absl::FailedPreconditionError(absl::StrCat(
          "error while removing network: network ", network->network.name(), " id ",
          network->network.id(), " has active endpoints", FirstEndpointLocked(*network)));
    }
    network->going = true;
  }
  UndoList undo;
  undo.Add([this, &network] {
    std::lock_guard lock(mutex_);
    network->going = false;
  });
  GANTRY_ASSIGN_OR_RETURN(
      IntentScope intent,
      IntentScope::Begin(db_, kDeleteIntent, IntentOf(ns, network->network.id())));
  base::CrashPoint("network.delete.intent-written");
  GANTRY_RETURN_IF_ERROR(RemoveDevice(*network));
  base::CrashPoint("network.delete.device-removed");
  GANTRY_RETURN_IF_ERROR(db_->Update(Durability::kSync, [&](Tx& tx) {
    DeleteNetwork(tx, ns, network->network.id());
    AddNetworkEvent(tx, ns, "destroy", network->network, "");
    return intent.EndIn(tx);
  }));
  intent.Leave();
  undo.Forget();
  std::lock_guard lock(mutex_);
  networks_.erase({ns, network->network.id()});
  return absl::OkStatus();
}

}  // namespace gantry::services
