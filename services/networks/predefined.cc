// The three networks that every namespace has: bridge, host and none.

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "services/metadata/namespace_store.h"
#include "services/networks/manager_impl.h"
#include "services/networks/network_settings.h"
#include "services/networks/records.h"

namespace gantry::services {
namespace {

using networks::Network;

Network Predefined(const std::string& name, const std::string& driver) {
  Network network;
  network.set_name(name);
  network.set_driver(driver);
  network.set_predefined(true);
  network.set_enable_ipv4(true);
  network.set_ipam_driver("default");
  return network;
}

// What one says and the other does not is no difference.
bool IsLike(const Network& wanted, const Network& is) {
  for (const auto& [key, value] : wanted.options()) {
    auto it = is.options().find(key);
    if (it == is.options().end() || it->second != value) return false;
  }
  for (const networks::IpamConfig& config : wanted.ipam()) {
    bool found = false;
    for (const networks::IpamConfig& other : is.ipam()) {
      found = found || (other.subnet() == config.subnet() &&
                        (config.gateway().empty() || config.gateway() == other.gateway()) &&
                        config.ip_range() == other.ip_range());
    }
    if (!found) return false;
  }
  return wanted.enable_ipv6() == is.enable_ipv6();
}

}  // namespace

absl::Status NetworkManagerImpl::EnsurePredefined(const std::string& ns) {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(Context{.ns = ns}));
  std::lock_guard one_at_a_time(predefined_mutex_);
  bool have[3] = {};
  static constexpr std::pair<const char*, const char*> kNames[3] = {
      {"bridge", "bridge"}, {"host", "host"}, {"none", "null"}};
  {
    std::lock_guard lock(mutex_);
    for (int i = 0; i < 3; ++i) have[i] = FindNetworkLocked(ns, kNames[i].first).ok();
  }
  for (int i = 0; i < 3; ++i) {
    if (have[i]) continue;
    Network network = Predefined(kNames[i].first, kNames[i].second);
    if (i == 0) GANTRY_RETURN_IF_ERROR(SetDefaultBridge(options_, &network));
    GANTRY_RETURN_IF_ERROR(AddPredefined(ns, std::move(network)));
  }
  return absl::OkStatus();
}

absl::Status NetworkManagerImpl::AddPredefined(const std::string& ns, Network network) {
  bool is_bridge = network.driver() == "bridge";
  if (is_bridge) {
    // The device of the configured name is for the first namespace that needs one.
    std::lock_guard lock(mutex_);
    bool taken = false;
    for (const auto& [key, other] : networks_)
      taken = taken || other->network.device() == options_.default_bridge;
    const std::string name_option = "com.docker.network.bridge.name";
    if (!taken && !network.options().contains(name_option))
      (*network.mutable_options())[name_option] = options_.default_bridge;
  }
  GANTRY_ASSIGN_OR_RETURN(NetworkPtr state, Reserve(ns, std::move(network)));
  absl::Status written = db_->Update(Durability::kNone, [&](Tx& tx) -> absl::Status {
    GANTRY_RETURN_IF_ERROR(EnsureNamespace(tx, ns));
    PutNetwork(tx, ns, state->network);
    return absl::OkStatus();
  });
  std::lock_guard lock(mutex_);
  if (!written.ok()) networks_.erase({ns, state->network.id()});
  state->ready = written.ok();
  return written;
}

absl::Status NetworkManagerImpl::ConfigurePredefined(const std::string& ns, Network wanted) {
  if (wanted.name() != "bridge") {
    return absl::InvalidArgumentError("only the predefined network \"bridge\" can be set up");
  }
  wanted.set_driver("bridge");
  GANTRY_RETURN_IF_ERROR(CheckSettings(&wanted));
  GANTRY_RETURN_IF_ERROR(EnsurePredefined(ns));
  std::lock_guard one_at_a_time(predefined_mutex_);
  NetworkPtr old;
  {
    std::lock_guard lock(mutex_);
    GANTRY_ASSIGN_OR_RETURN(old, FindNetworkLocked(ns, "bridge"));
    if (IsLike(wanted, old->network)) return absl::OkStatus();
    if (old->endpoints > 0) {
      return absl::FailedPreconditionError(
          absl::StrCat("network bridge id ", old->network.id(), " has active endpoints"));
    }
    old->going = true;
  }
  auto put_back = [this, &old, &ns] {
    std::lock_guard lock(mutex_);
    old->going = false;
    networks_[{ns, old->network.id()}] = old;
  };
  absl::Status removed = RemoveDevice(*old);
  if (!removed.ok()) {
    put_back();
    return removed;
  }
  {
    std::lock_guard lock(mutex_);
    networks_.erase({ns, old->network.id()});
  }
  absl::Status added = AddPredefined(ns, std::move(wanted));
  if (!added.ok()) {
    put_back();
    return added;
  }
  return db_->Update(Durability::kNone, [&](Tx& tx) {
    DeleteNetwork(tx, ns, old->network.id());
    return absl::OkStatus();
  });
}

}  // namespace gantry::services
