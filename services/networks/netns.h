#ifndef GANTRY_SERVICES_NETWORKS_NETNS_H_
#define GANTRY_SERVICES_NETWORKS_NETNS_H_

// Network namespaces: making, pinning to a file, working in them for a moment.

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace gantry::services {

// Calls `work` with the calling thread inside of the namespace. A thread that cannot come back ends
// the process: gantryd starts again, a thread in the wrong namespace would do harm.
absl::Status InNetns(int netns_fd, absl::FunctionRef<absl::Status()> work);

// A new namespace with its loopback device up, held by the descriptor alone.
absl::StatusOr<base::UniqueFd> MakeNetns();

// Pins the namespace to the file `path`, which is made; its directories must exist.
absl::Status PinNetns(int netns_fd, const std::string& path);
// A pinned one; NotFound when there is nothing, or a file without a namespace.
absl::StatusOr<base::UniqueFd> OpenNetns(const std::string& path);
// The file goes, and with it the namespace, its devices and their peers, as soon as no process is
// left in it. The kernel does that later; nobody waits. OK when there is no file.
absl::Status UnpinNetns(const std::string& path);

// Writes a kernel parameter "net.ipv4.conf.eth0.arp_notify" of the namespace of the calling thread.
// `key` must begin with "net." and stay below it.
absl::Status WriteSysctl(const std::string& key, const std::string& value);
absl::StatusOr<std::string> ReadSysctl(const std::string& key);

// Some namespaces ready made, so that nobody need wait for one. Any thread.
class NetnsPool {
 public:
  explicit NetnsPool(size_t size);
  ~NetnsPool();

  // From the pool, or a new one when that is empty. The first call starts the filling.
  absl::StatusOr<base::UniqueFd> Take();

 private:
  void Fill();

  const size_t size_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<base::UniqueFd> ready_;
  bool stopping_ = false;
  std::thread filler_;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_NETWORKS_NETNS_H_
