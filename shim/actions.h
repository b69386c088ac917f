#ifndef GANTRY_SHIM_ACTIONS_H_
#define GANTRY_SHIM_ACTIONS_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "containerd/runtime/task/v2/shim.pb.h"
#include "google/protobuf/any.pb.h"
#include "shim/flags.h"

namespace gantry::shim {

// What the supervisor says besides the command line.
struct StartInput {
  google::protobuf::Any options;
  std::string grpc_address;
  std::string ttrpc_address;
  std::string socket_dir;
  bool old_daemon = false;  // 1.6: understands nothing but a bare address
};

// `input` is what came on stdin: nothing, an Any with runtime options, or BootstrapParams (from
// containerd 2.3 on; told apart by the id and the namespace in it).
StartInput ParseStartInput(absl::string_view input, const Flags& flags);

// `start`, to be called in the bundle: binds the socket, forks the serving shim and returns the
// text for stdout, {"version":3,"address":"unix://…","protocol":"ttrpc"} or the bare address.
absl::StatusOr<std::string> Start(const Flags& flags, absl::string_view input);

// `delete`: kills and removes what is left of a container whose shim is gone. Everything may be
// gone already. The answer for stdout is to be serialized.
absl::StatusOr<containerd::task::v2::DeleteResponse> Delete(const Flags& flags);

// `-info`: a serialized containerd.types.RuntimeInfo; `input` is an Any of runtime options.
absl::StatusOr<std::string> Info(absl::string_view input);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_ACTIONS_H_
