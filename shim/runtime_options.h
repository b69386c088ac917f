#ifndef GANTRY_SHIM_RUNTIME_OPTIONS_H_
#define GANTRY_SHIM_RUNTIME_OPTIONS_H_

#include <sys/types.h>

#include <string>

#include "absl/status/statusor.h"
#include "google/protobuf/any.pb.h"

namespace gantry::shim {

// What of containerd.runc.v1.Options means something to an engine of our own: binary_name, root and
// the CRIU paths do not.
struct RuntimeOptions {
  bool no_pivot_root = false;
  bool no_new_keyring = false;
  bool systemd_cgroup = false;
  uid_t io_uid = 0;
  gid_t io_gid = 0;
  std::string shim_cgroup;
};

// Accepts an absent value, containerd.runc.v1.Options and runtimeoptions.v1.Options (what CRI sends
// to runtimes it does not know; its content is not used). InvalidArgument for any other type.
absl::StatusOr<RuntimeOptions> ParseRuntimeOptions(const google::protobuf::Any& any);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_RUNTIME_OPTIONS_H_
