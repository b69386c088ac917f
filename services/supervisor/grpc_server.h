#ifndef GANTRY_SERVICES_SUPERVISOR_GRPC_SERVER_H_
#define GANTRY_SERVICES_SUPERVISOR_GRPC_SERVER_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace grpc {
class Service;
}

namespace gantry::services {

struct GrpcServerOptions {
  std::string address;  // path of the unix socket; its directory exists
  uid_t uid = 0;
  gid_t gid = 0;
  int max_recv_message_size = 16 << 20;  // bytes
  int max_send_message_size = 16 << 20;  // bytes
};

// The gRPC door on a unix socket: mode 0660 from its first moment on, owned by uid:gid. Also
// answers grpc.health.v1.Health. Anything left at the path by a dead predecessor is replaced;
// FailedPrecondition when a living server still answers there.
class GrpcServer {
 public:
  // Serves `services`, which it owns from then on.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(
      const GrpcServerOptions& options, std::vector<std::unique_ptr<grpc::Service>> services);
  virtual ~GrpcServer() = default;

  // Takes no new calls, lets those under way end until `grace` has passed, cancels the rest, and
  // removes the socket. Blocks. Idempotent.
  virtual void Shutdown(absl::Duration grace) = 0;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_SUPERVISOR_GRPC_SERVER_H_
