// After a crash or a reboot; and the same for fsck, while everything goes on.

#include <algorithm>
#include <chrono>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "services/networks/manager_impl.h"
#include "services/networks/network_events.h"
#include "services/networks/records.h"

namespace gantry::services {
namespace {

constexpr char kForwardingMark[] = "/forwarding";

absl::StatusOr<std::vector<std::string>> ListIfThere(const std::string& path) {
  auto names = base::ListDir(path);
  if (absl::IsNotFound(names.status())) return std::vector<std::string>();
  return names;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> NetworkManagerImpl::PinnedFiles() const {
  std::string root = absl::StrCat(options_.state, "/netns");
  std::vector<std::string> files;
  GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> namespaces, ListIfThere(root));
  for (const std::string& ns : namespaces) {
    GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> ids, ListIfThere(absl::StrCat(root, "/", ns)));
    for (const std::string& id : ids) files.push_back(absl::StrCat(root, "/", ns, "/", id));
  }
  return files;
}

absl::StatusOr<std::vector<Device>> NetworkManagerImpl::OwnDevices() const {
  GANTRY_ASSIGN_OR_RETURN(Devices devices, Devices::Open());
  GANTRY_ASSIGN_OR_RETURN(std::vector<Device> all, devices.List());
  std::erase_if(all, [this](const Device& device) { return device.group != group_; });
  return all;
}

std::set<std::string> NetworkManagerImpl::WantedDevicesLocked() const {
  std::set<std::string> wanted;
  for (const auto& [key, network] : networks_) {
    if (network->is_bridge()) wanted.insert(network->network.device());
    if (network->is_vlan()) {
      wanted.insert(network->options.parent.empty()
                        ? absl::StrCat("dm-", network->network.id().substr(0, 12))
                        : network->options.parent);
    }
  }
  for (const auto& [key, sandbox] : sandboxes_) {
    for (const EndpointRecord& endpoint : sandbox.endpoints())
      wanted.insert(endpoint.host_device());
  }
  return wanted;
}

absl::Status NetworkManagerImpl::SweepNamespaces() {
  GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> files, PinnedFiles());
  std::set<std::string> wanted;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [key, sandbox] : sandboxes_) wanted.insert(NetnsPath(key.first, key.second));
  }
  for (const std::string& file : files) {
    if (wanted.contains(file)) continue;
    base::LogInfo("removing a network namespace without an owner", {{"path", file}});
    GANTRY_RETURN_IF_ERROR(UnpinNetns(file));
  }
  return absl::OkStatus();
}

absl::Status NetworkManagerImpl::SweepDevices() {
  GANTRY_ASSIGN_OR_RETURN(std::vector<Device> own, OwnDevices());
  if (own.empty()) return absl::OkStatus();
  std::set<std::string> wanted;
  {
    std::lock_guard lock(mutex_);
    wanted = WantedDevicesLocked();
  }
  GANTRY_ASSIGN_OR_RETURN(Devices devices, Devices::Open());
  for (const Device& device : own) {
    if (wanted.contains(device.name)) continue;
    base::LogInfo("removing a network device without an owner", {{"name", device.name}});
    GANTRY_RETURN_IF_ERROR(devices.Delete(device.index));
  }
  return absl::OkStatus();
}

absl::Status NetworkManagerImpl::DropSandbox(const std::string& ns, const SandboxRecord& record) {
  const std::string id = record.request().container_id();
  GANTRY_RETURN_IF_ERROR(UnpinNetns(NetnsPath(ns, id)));
  for (const EndpointRecord& endpoint : record.endpoints()) GiveEndpointBack(ns, endpoint);
  GANTRY_RETURN_IF_ERROR(db_->Update(Durability::kNone, [&](Tx& tx) {
    DeleteSandbox(tx, ns, id);
    for (const EndpointRecord& endpoint : record.endpoints()) {
      NetworkPtr network = NetworkOf(ns, endpoint.endpoint().network_id());
      if (network != nullptr) AddNetworkEvent(tx, ns, "disconnect", network->network, id);
    }
    return absl::OkStatus();
  }));
  std::lock_guard lock(mutex_);
  sandboxes_.erase({ns, id});
  return absl::OkStatus();
}

absl::Status NetworkManagerImpl::RestoreSandbox(const std::string& ns,
                                                const SandboxRecord& record) {
  for (const EndpointRecord& endpoint : record.endpoints()) {
    NetworkPtr network = NetworkOf(ns, endpoint.endpoint().network_id());
    if (network != nullptr) GANTRY_RETURN_IF_ERROR(EnsureDevice(*network));
    dns_.names()->Put(endpoint.endpoint());
  }
  UndoList undo;
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd netns,
                          OpenNetns(NetnsPath(ns, record.request().container_id())));
  GANTRY_RETURN_IF_ERROR(SettleDns(ns, netns.get(), nullptr, record, &undo));
  undo.Forget();
  GANTRY_RETURN_IF_ERROR(HoldPorts(record));
  return firewall_.AddPorts(PortRules(ns, record));
}

absl::Status NetworkManagerImpl::Recover(
    const std::function<bool(const std::string& ns, const std::string& id)>& alive) {
  firewall_.GuardForwarding(base::Exists(absl::StrCat(options_.state, kForwardingMark)));
  std::map<ObjectKey, SandboxRecord> sandboxes;
  {
    std::lock_guard lock(mutex_);
    sandboxes = sandboxes_;
  }
  for (const auto& [key, record] : sandboxes) {
    if (alive(key.first, key.second)) continue;
    GANTRY_RETURN_IF_ERROR(DropSandbox(key.first, record));
  }
  GANTRY_RETURN_IF_ERROR(SweepNamespaces());
  GANTRY_RETURN_IF_ERROR(SweepDevices());
  // Whatever table a previous gantryd has left is replaced by the first change.
  GANTRY_ASSIGN_OR_RETURN(std::vector<Device> own, OwnDevices());
  std::vector<NetworkPtr> with_device;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [key, network] : networks_) {
      bool there = std::any_of(own.begin(), own.end(), [&network = network](const Device& device) {
        return device.name == network->network.device();
      });
      if (there) with_device.push_back(network);
    }
    sandboxes = sandboxes_;
  }
  for (const NetworkPtr& network : with_device) GANTRY_RETURN_IF_ERROR(EnsureDevice(*network));
  for (const auto& [key, record] : sandboxes) {
    absl::Status restored = RestoreSandbox(key.first, record);
    if (!restored.ok()) {
      base::LogError("restore the networks of a container",
                     {{"id", key.second}, {"error", restored.message()}});
    }
  }
  // What was begun and not ended has been undone or kept by its record above.
  for (const char* kind : {kCreateIntent, kDeleteIntent, kSetUpIntent, kTearDownIntent}) {
    GANTRY_RETURN_IF_ERROR(ReplayIntents<NetworkIntent>(
        db_, kind, [](const NetworkIntent&) { return absl::OkStatus(); }));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<NetworkObject>> NetworkManagerImpl::Audit() {
  std::vector<NetworkObject> objects;
  GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> files, PinnedFiles());
  GANTRY_ASSIGN_OR_RETURN(std::vector<Device> own, OwnDevices());
  GANTRY_ASSIGN_OR_RETURN(bool whole, firewall_.IsWhole());
  std::lock_guard lock(mutex_);
  std::set<std::string> pinned(files.begin(), files.end());
  for (const auto& [key, sandbox] : sandboxes_) {
    std::string path = NetnsPath(key.first, key.second);
    bool there = pinned.erase(path) != 0;
    objects.push_back({"netns", path, there ? "" : "it is missing"});
    for (const networks::PortBinding& port : sandbox.ports()) {
      objects.push_back(
          {"port", absl::StrCat(port.host_ip(), ":", port.host_port(), "/", port.protocol()), ""});
    }
  }
  for (const std::string& path : pinned)
    objects.push_back({"netns", path, "no container belongs to it"});
  std::set<std::string> wanted = WantedDevicesLocked();
  for (const Device& device : own) {
    objects.push_back({device.kind == "veth" ? "veth" : "bridge", device.name,
                       wanted.contains(device.name) ? "" : "nothing belongs to it"});
  }
  objects.push_back({"rules", options_.table, whole ? "" : "somebody else has changed them"});
  return objects;
}

absl::Status NetworkManagerImpl::Repair(const NetworkObject& object) {
  if (object.kind == "rules") return firewall_.Rebuild();
  if (object.kind == "netns" && absl::StartsWith(object.name, options_.state + "/netns/"))
    return SweepNamespaces();
  if (object.kind == "veth" || object.kind == "bridge") return SweepDevices();
  return absl::FailedPreconditionError(
      absl::StrCat("the ", object.kind, " ", object.name, " cannot be repaired while it is used"));
}

}  // namespace gantry::services
