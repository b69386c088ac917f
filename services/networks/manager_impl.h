#ifndef GANTRY_SERVICES_NETWORKS_MANAGER_IMPL_H_
#define GANTRY_SERVICES_NETWORKS_MANAGER_IMPL_H_

// Inside of the folder: the NetworkManager, whose methods are in networks.cc (networks),
// network_devices.cc (their devices), sandboxes.cc (containers), endpoints.cc (their interfaces),
// published_ports.cc and recover.cc.

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gantry/metadata/v1/network_records.pb.h"
#include "services/metadata/context.h"
#include "services/metadata/db.h"
#include "services/metadata/intents.h"
#include "services/networks/container_files.h"
#include "services/networks/devices.h"
#include "services/networks/dns_server.h"
#include "services/networks/driver_options.h"
#include "services/networks/firewall.h"
#include "services/networks/ipam.h"
#include "services/networks/netns.h"
#include "services/networks/network_manager.h"
#include "services/networks/ports.h"

namespace gantry::services {

using gantry::metadata::v1::EndpointRecord;
using gantry::metadata::v1::NetworkIntent;
using gantry::metadata::v1::NetworkRecord;
using gantry::metadata::v1::SandboxRecord;

// Namespace and id, of a network or of a container.
using ObjectKey = std::pair<std::string, std::string>;

// One holder a key at a time; different keys do not wait for each other.
class KeyedMutex {
 public:
  class Lock {
   public:
    Lock(KeyedMutex* mutex, ObjectKey key) : mutex_(mutex), key_(std::move(key)) {
      std::unique_lock lock(mutex_->mutex_);
      mutex_->free_.wait(lock, [this] { return !mutex_->held_.contains(key_); });
      mutex_->held_.insert(key_);
    }
    ~Lock() {
      std::lock_guard lock(mutex_->mutex_);
      mutex_->held_.erase(key_);
      mutex_->free_.notify_all();
    }
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;

   private:
    KeyedMutex* const mutex_;
    const ObjectKey key_;
  };

 private:
  std::mutex mutex_;
  std::condition_variable free_;
  std::set<ObjectKey> held_;
};

struct NetworkState {
  std::string ns;
  networks::Network network;  // never changes once it is ready
  DriverOptions options;
  std::vector<Subnet> subnets;  // guarded by the manager's mutex, like `endpoints` and the flags
  int endpoints = 0;            // also those that are being made
  bool ready = false;           // others may see it
  bool going = false;           // is being deleted: no more endpoints

  std::mutex device_mutex;  // held while the device is made or removed
  bool has_device = false;  // guarded by device_mutex
  int device_index = 0;     // of the bridge, the same

  bool is_bridge() const { return network.driver() == "bridge"; }
  bool is_vlan() const { return network.driver() == "macvlan" || network.driver() == "ipvlan"; }
  // Containers find each other by name there.
  bool has_names() const { return (is_bridge() && !network.predefined()) || is_vlan(); }
};
using NetworkPtr = std::shared_ptr<NetworkState>;

// Functions that give back what was taken, run in reverse order unless all went well.
class UndoList {
 public:
  UndoList() = default;
  UndoList(const UndoList&) = delete;
  UndoList& operator=(const UndoList&) = delete;
  ~UndoList() {
    for (auto it = steps_.rbegin(); it != steps_.rend(); ++it) (*it)();
  }
  void Add(std::function<void()> step) { steps_.push_back(std::move(step)); }
  void Forget() { steps_.clear(); }

 private:
  std::vector<std::function<void()>> steps_;
};

class NetworkManagerImpl final : public NetworkManager {
 public:
  NetworkManagerImpl(Db* db, Options options);

  absl::Status Load();

  absl::StatusOr<networks::CreateNetworkResponse> Create(
      const std::string& ns, const networks::CreateNetworkRequest& request) override;
  absl::StatusOr<networks::GetNetworkResponse> Get(const std::string& ns,
                                                   const std::string& network) override;
  absl::StatusOr<networks::ListNetworksResponse> List(const std::string& ns) override;
  absl::Status Delete(const std::string& ns, const std::string& network) override;
  absl::StatusOr<networks::Sandbox> SetUp(const std::string& ns,
                                          const networks::SetUpRequest& request) override;
  absl::Status TearDown(const std::string& ns, const std::string& container_id) override;
  absl::StatusOr<networks::Sandbox> Connect(const std::string& ns,
                                            const networks::ConnectRequest& request) override;
  absl::Status Disconnect(const std::string& ns,
                          const networks::DisconnectRequest& request) override;
  absl::StatusOr<networks::Sandbox> GetSandbox(const std::string& ns,
                                               const std::string& container_id) override;
  std::string NetnsPath(const std::string& ns, const std::string& container_id) const override;
  absl::Status Recover(
      const std::function<bool(const std::string& ns, const std::string& id)>& alive) override;
  absl::StatusOr<std::vector<NetworkObject>> Audit() override;
  absl::Status Repair(const NetworkObject& object) override;

 private:
  // predefined.cc
  absl::Status EnsurePredefined(const std::string& ns);
  absl::Status AddPredefined(const std::string& ns, networks::Network network);
  absl::Status ConfigurePredefined(const std::string& ns, networks::Network wanted);

  // networks.cc
  absl::Status CheckNameLocked(const std::string& ns, const std::string& name) const;
  absl::Status ChooseSubnetsLocked(const std::vector<Cidr>& routes, NetworkState* state);
  absl::StatusOr<NetworkPtr> Reserve(const std::string& ns, networks::Network network);
  absl::StatusOr<NetworkPtr> FindNetworkLocked(const std::string& ns,
                                               const std::string& name) const;
  absl::StatusOr<NetworkPtr> FindNetwork(const std::string& ns, const std::string& name);
  std::vector<Cidr> UsedSubnetsLocked() const;
  std::string FirstEndpointLocked(const NetworkState& network) const;

  // network_devices.cc
  absl::Status EnsureDevice(NetworkState& network);
  absl::Status MakeBridge(NetworkState& network, Devices& devices);
  absl::Status EnsureParent(NetworkState& network, Devices& devices);
  absl::Status RemoveDevice(NetworkState& network);
  bool ParentIsShared(const NetworkState& network) const;
  absl::Status EnsureForwarding(bool v6);
  NetworkRules RulesOf(const NetworkState& network) const;

  // endpoints.cc
  absl::StatusOr<EndpointRecord> TakeEndpoint(const std::string& ns,
                                              const networks::SetUpRequest& request,
                                              const networks::EndpointSettings& settings,
                                              const SandboxRecord& record, NetworkPtr* network);
  void GiveEndpointBack(const std::string& ns, const EndpointRecord& endpoint);
  absl::Status Plug(NetworkState& network, const EndpointRecord& endpoint, bool publishes,
                    int netns);
  absl::Status FinishPlug(const NetworkState& network, const EndpointRecord& endpoint);
  absl::Status ConfigureInside(const NetworkState& network, const EndpointRecord& endpoint);
  absl::Status RouteInside(const std::string& ns, const SandboxRecord& record);
  // Takes the addresses away, in the namespace.
  absl::Status Silence(const SandboxRecord& record);
  void Unplug(const EndpointRecord& endpoint, int netns);

  // sandboxes.cc
  absl::Status AddEndpoint(const std::string& ns, const networks::EndpointSettings& settings,
                           int netns, SandboxRecord* record, UndoList* undo);
  // What follows from the record's endpoints: routes, ports, files, names.
  absl::Status Settle(const std::string& ns, int netns, const SandboxRecord* before,
                      SandboxRecord* record, UndoList* undo);
  absl::StatusOr<base::UniqueFd> MakeSandboxNetns(const networks::SetUpRequest& request,
                                                  const std::string& path);
  absl::Status Release(const std::string& ns, const SandboxRecord& record);
  std::optional<SandboxRecord> FindSandbox(const ObjectKey& key) const;
  networks::Sandbox ToSandbox(const SandboxRecord& record) const;
  absl::Status Commit(const std::string& ns, const SandboxRecord& record,
                      const SandboxRecord* before, const IntentScope& intent);
  // The endpoint through which the default route goes; null when there is none.
  const EndpointRecord* GatewayEndpoint(const std::string& ns, const SandboxRecord& record,
                                        bool v6) const;

  // files_and_names.cc
  std::vector<std::string> HostGateways(const std::string& ns, const SandboxRecord& record) const;
  HostLines ExtraHosts(const std::string& ns, const SandboxRecord& record) const;
  HostLines LinkedHosts(const std::string& ns, const SandboxRecord& record) const;
  bool NeedsDns(const std::string& ns, const SandboxRecord& record) const;
  DnsScope ScopeOf(const std::string& ns, const SandboxRecord& record) const;
  // Starts, changes or ends what answers the container.
  absl::Status SettleDns(const std::string& ns, int netns, const SandboxRecord* before,
                         const SandboxRecord& record, UndoList* undo);
  ResolvConf ResolvConfOf(const std::string& ns, const SandboxRecord& record) const;
  absl::Status WriteFiles(const std::string& ns, const SandboxRecord& record);

  // published_ports.cc
  absl::Status TakePorts(const std::string& ns, SandboxRecord* record, UndoList* undo);
  absl::Status HoldPorts(const SandboxRecord& record);
  void ReleasePorts(const SandboxRecord& record);
  std::vector<PortRule> PortRules(const std::string& ns, const SandboxRecord& record) const;

  // recover.cc
  absl::Status RestoreSandbox(const std::string& ns, const SandboxRecord& record);
  absl::Status DropSandbox(const std::string& ns, const SandboxRecord& record);
  absl::StatusOr<std::vector<std::string>> PinnedFiles() const;
  absl::StatusOr<std::vector<Device>> OwnDevices() const;
  std::set<std::string> WantedDevicesLocked() const;
  absl::Status SweepNamespaces();
  absl::Status SweepDevices();

  NetworkPtr NetworkOf(const std::string& ns, const std::string& id) const;
  NetworkPtr NetworkOfLocked(const std::string& ns, const std::string& id) const;

  Db* const db_;
  const Options options_;
  // Marks our devices, so that they are told from everybody else's.
  const uint32_t group_;
  std::vector<AddressPool> pools_;

  mutable std::mutex mutex_;
  std::map<ObjectKey, NetworkPtr> networks_;  // also those that are being made
  std::map<ObjectKey, SandboxRecord> sandboxes_;

  KeyedMutex containers_;
  std::mutex predefined_mutex_;
  std::mutex forwarding_mutex_;
  PortAllocator ports_;
  NetnsPool pool_;
  Firewall firewall_;
  DnsServer dns_;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_NETWORKS_MANAGER_IMPL_H_
