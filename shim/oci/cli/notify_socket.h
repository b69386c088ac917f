#ifndef GANTRY_SHIM_OCI_CLI_NOTIFY_SOCKET_H_
#define GANTRY_SHIM_OCI_CLI_NOTIFY_SOCKET_H_

#include <string>

#include "absl/status/status.h"
#include "base/unique_fd.h"
#include "shim/oci/container.h"
#include "shim/oci/spec.h"

namespace gantry::oci {

// sd_notify(3) of a container whose caller has $NOTIFY_SOCKET: the program gets a socket of its own
// at /run/notify/notify.sock, and that it is ready is passed on with its pid, as runc does.
class NotifySocket {
 public:
  // `directory` is the container's in the store.
  explicit NotifySocket(const std::string& directory);

  bool wanted() const { return !host_.empty(); }
  // Adds mount and environment to the spec. Nothing when there is no $NOTIFY_SOCKET.
  absl::Status Prepare(Spec* spec) const;
  // Makes the socket; before the program starts.
  absl::Status Listen();
  // Blocks until the program said READY=1 or process `pid` has ended, and passes that on.
  absl::Status Forward(pid_t pid);

 private:
  absl::Status Tell(const std::string& text) const;

  std::string directory_;
  std::string host_;  // $NOTIFY_SOCKET
  base::UniqueFd sock_;
};

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_CLI_NOTIFY_SOCKET_H_
