#ifndef GANTRY_SERVICES_NETWORKS_NETWORK_MANAGER_H_
#define GANTRY_SERVICES_NETWORKS_NETWORK_MANAGER_H_

// Networks of this machine, and the network namespaces of containers that are connected to them:
// the Networks service without gRPC, which the life cycle of containers uses as well.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gantry/services/networks/v1/networks.pb.h"

namespace gantry::services {

class Db;

// The messages: networks::SetUpRequest.
namespace networks {
using namespace v1;
}

// Something of ours in the kernel or on the disk, for fsck.
struct NetworkObject {
  std::string kind;     // "netns", "veth", "bridge", "rules", "port", "network address"
  std::string name;     // a path, a device, …
  std::string problem;  // empty: it has an owner and is whole
};

// All methods may block (netlink, disk) and may be called from any thread; `ns` is a containerd
// namespace. What each does, and its errors, is said in networks.proto. Calls for different
// containers do not wait for each other longer than a kernel call takes.
class NetworkManager {
 public:
  struct Options {
    std::string state;  // run-time files, pinned namespaces: STATE/netns/…
    std::string root;   // what survives a reboot
    // Address pools for networks without a subnet of their own, first fit, and their prefix
    // lengths; empty: Docker's (172.17.0.0/16 … and 192.168.0.0/16 in /20s).
    struct Pool {
      std::string base;
      int size = 0;
    };
    std::vector<Pool> pools;
    std::string default_bridge = "gantry0";  // device of the predefined network "bridge"
    std::string default_bridge_address;      // "bip"; empty: a free one
    std::string fixed_cidr;                  // range for containers on it; empty: all
    // Name of the table of packet filter rules. Two gantryds of one network namespace need two.
    std::string table = "gantry";
  };

  virtual ~NetworkManager() = default;

  virtual absl::StatusOr<networks::CreateNetworkResponse> Create(
      const std::string& ns, const networks::CreateNetworkRequest& request) = 0;
  virtual absl::StatusOr<networks::GetNetworkResponse> Get(const std::string& ns,
                                                           const std::string& network) = 0;
  virtual absl::StatusOr<networks::ListNetworksResponse> List(const std::string& ns) = 0;
  virtual absl::Status Delete(const std::string& ns, const std::string& network) = 0;

  virtual absl::StatusOr<networks::Sandbox> SetUp(const std::string& ns,
                                                  const networks::SetUpRequest& request) = 0;
  virtual absl::Status TearDown(const std::string& ns, const std::string& container_id) = 0;
  virtual absl::StatusOr<networks::Sandbox> Connect(const std::string& ns,
                                                    const networks::ConnectRequest& request) = 0;
  virtual absl::Status Disconnect(const std::string& ns,
                                  const networks::DisconnectRequest& request) = 0;
  virtual absl::StatusOr<networks::Sandbox> GetSandbox(const std::string& ns,
                                                       const std::string& container_id) = 0;

  // Where SetUp() pins a container's namespace. Pure: depends on the arguments only.
  virtual std::string NetnsPath(const std::string& ns, const std::string& container_id) const = 0;

  // Brings kernel and records together after a crash or a reboot, before requests are served: what
  // has no record is removed, what records and kernel both have is kept, rules are made anew.
  // `alive(ns, container_id)`: whether the container's task runs; sandboxes of others are torn
  // down.
  virtual absl::Status Recover(
      const std::function<bool(const std::string& ns, const std::string& id)>& alive) = 0;

  // Everything of ours that the kernel has, and what should be there and is not.
  virtual absl::StatusOr<std::vector<NetworkObject>> Audit() {
    return std::vector<NetworkObject>();
  }
  // Removes, or makes whole, what Audit() found a problem with.
  virtual absl::Status Repair(const NetworkObject& object) {
    return absl::UnimplementedError("repair " + object.name);
  }
};

// The table of a gantryd whose root directory is not the usual one.
std::string NetworkTableName(const std::string& root);

// `db` must outlive the manager. Makes nothing in the kernel until the first network is used.
absl::StatusOr<std::unique_ptr<NetworkManager>> OpenNetworkManager(Db* db,
                                                                   NetworkManager::Options options);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_NETWORKS_NETWORK_MANAGER_H_
