#ifndef GANTRY_SHIM_OCI_NETWORK_POOL_H_
#define GANTRY_SHIM_OCI_NETWORK_POOL_H_

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace gantry::oci {

// Network namespaces that were made before somebody asks: making one is the longest step of a
// container's start. They are as the kernel makes them, but for `lo`, which is up. A process of its
// own makes them; those that are ready wait in the socket between it and whoever takes them, which
// may be this process or one that was forked from it. It ends, and they go, with the last of those.
class NetworkPool {
 public:
  // Forks the maker. Only for processes with a single thread that ignore SIGCHLD.
  static absl::StatusOr<NetworkPool> Start();

  // One that nobody else has, or an invalid descriptor when none is ready. Never waits.
  base::UniqueFd Take();

 private:
  explicit NetworkPool(base::UniqueFd socket) : socket_(std::move(socket)) {}

  base::UniqueFd socket_;
};

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_NETWORK_POOL_H_
