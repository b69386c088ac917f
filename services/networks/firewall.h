#ifndef GANTRY_SERVICES_NETWORKS_FIREWALL_H_
#define GANTRY_SERVICES_NETWORKS_FIREWALL_H_

#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "base/unique_fd.h"
#include "services/networks/nft.h"
#include "services/networks/rules.h"

namespace gantry::services {

// Keeps the table in the kernel as it is wanted: changes it, and makes it anew when somebody else
// has flushed it. Touches no other table. Any thread. Does nothing before the first network.
class Firewall {
 public:
  explicit Firewall(std::string table) : table_(std::move(table)) {}
  ~Firewall();

  absl::Status AddNetwork(const NetworkRules& network);
  absl::Status RemoveNetwork(const std::string& bridge);
  // All or none.
  absl::Status AddPorts(const std::vector<PortRule>& ports);
  absl::Status RemovePorts(const std::vector<PortRule>& ports);

  // From the next Rebuild() on; see TableText().
  void GuardForwarding(bool guard);
  // Makes the table as it is wanted. With nothing wanted, there is none.
  absl::Status Rebuild();
  // Whether the kernel's table has all rules; elements are not looked at.
  absl::StatusOr<bool> IsWhole();

 private:
  absl::Status ApplyLocked(const std::string& change);
  absl::Status RebuildLocked();
  absl::StatusOr<bool> IsWholeLocked();
  absl::Status StartLocked();
  std::string WantedLocked() const;
  void Watch();

  const std::string table_;
  std::mutex mutex_;
  std::optional<Nft> nft_;
  std::map<std::string, NetworkRules> networks_;
  std::set<PortRule> ports_;
  bool guard_forwarding_ = false;
  std::string rules_;  // as nft lists them after a rebuild
  base::UniqueFd notes_;
  base::UniqueFd stop_;
  std::thread watcher_;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_NETWORKS_FIREWALL_H_
