#ifndef GANTRY_SHIM_OCI_ROOTLESS_H_
#define GANTRY_SHIM_OCI_ROOTLESS_H_

// Containers of users without privileges. The engine's process itself enters the container's user
// namespace first and is root there; everything else is then as for root, but for what the kernel
// keeps to the real one: devices are bound instead of made, cgroups need delegation.

#include <sys/types.h>

#include "absl/status/status.h"
#include "shim/oci/spec.h"

namespace gantry::oci {

// Whether this process has another user than root.
bool IsRootless();

// Enters the user namespace of the spec, a new one or one to join, with a mount namespace of our
// own, and marks it as entered in `spec`. Maps of more than the own ids are written by
// newuidmap(1) and newgidmap(1), so the user needs lines in /etc/subuid and /etc/subgid. The
// process must be single-threaded. FailedPrecondition for a spec without a user namespace; errors
// of the two programs carry what they print.
absl::Status EnterUserNamespace(Spec* spec);

// Enters the user namespace that process `pid` lives in, to signal or join it.
absl::Status EnterUserNamespaceOf(pid_t pid);

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_ROOTLESS_H_
