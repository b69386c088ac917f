#ifndef GANTRY_SERVICES_TASKS_SHIM_BINARY_H_
#define GANTRY_SERVICES_TASKS_SHIM_BINARY_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "containerd/types/introspection.pb.h"
#include "google/protobuf/any.pb.h"
#include "services/tasks/shim_manager.h"

namespace gantry::services {

// Runs a shim's binary for one of its actions, with the arguments and the environment of
// containerd's runtime v2. All functions block until the process has ended (it is killed at the
// deadline) and may be called from any thread.
class ShimBinary {
 public:
  // What all actions of all shims have in common.
  struct Environment {
    std::string grpc_address;
    std::string ttrpc_address;
    std::string publish_binary;
    std::vector<std::string> variables;  // NAME=value
    bool debug = false;
  };

  ShimBinary(Environment environment, std::string binary)
      : environment_(std::move(environment)), binary_(std::move(binary)) {}

  // `start` in the bundle, `options` on stdin. Unknown with what it printed when it fails,
  // DeadlineExceeded; else as ParseBootstrap().
  absl::StatusOr<ShimBootstrap> Start(const ShimLauncher::Request& request) const;
  // `delete` in the bundle, which may be half removed already.
  absl::StatusOr<ShimExit> Delete(const std::string& ns, const std::string& id,
                                  const std::string& bundle, absl::Duration timeout) const;
  // `-info`.
  absl::StatusOr<containerd::types::RuntimeInfo> Info(const google::protobuf::Any& options,
                                                      absl::Duration timeout) const;

 private:
  std::vector<std::string> Arguments(const std::string& ns, const std::string& id) const;

  const Environment environment_;
  const std::string binary_;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_TASKS_SHIM_BINARY_H_
