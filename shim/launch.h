#ifndef GANTRY_SHIM_LAUNCH_H_
#define GANTRY_SHIM_LAUNCH_H_

#include <sys/types.h>

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"
#include "shim/serve.h"

namespace gantry::shim {

inline constexpr char kDefaultSocketDir[] = "/run/containerd/s";

// DIR/<sha256 of "GRPC_ADDRESS/NS/GROUP">: the convention of containerd's shims. In
// a long DIR with as many of the digits as fit, but at least 32.
std::string SocketPath(absl::string_view dir, absl::string_view grpc_address, absl::string_view ns,
                       absl::string_view group);

// The annotation of BUNDLE/config.json by which containers share a shim
// (io.containerd.runc.v2.group, else io.kubernetes.cri.sandbox-id); `id` if there is none, or no
// config.json.
absl::StatusOr<std::string> GroupOf(const std::string& bundle, const std::string& id);

// Makes the socket of a shim, mode 0600, in a directory made if missing. When a living shim listens
// there already the result is an invalid descriptor; what a dead one left is replaced.
absl::StatusOr<base::UniqueFd> BindShimSocket(const std::string& path);

// Forks a process that Serve()s. Returns its pid.
absl::StatusOr<pid_t> ForkShim(ServeOptions options);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_LAUNCH_H_
