#ifndef GANTRY_SHIM_OCI_READONLY_SELF_H_
#define GANTRY_SHIM_OCI_READONLY_SELF_H_

#include "absl/status/status.h"

namespace gantry::oci {

// A process that enters a container shows its program there as /proc/PID/exe, and whoever reopens
// that for writing once no instance runs any more replaces the engine on the host (CVE-2019-5736).
// This executes the running program again (same arguments and environment) from a detached
// read-only mount of its own file, on which every open for writing fails with EROFS, for the price
// of one execve and no memory; who may not clone mounts executes a sealed copy in memory instead.
// OK without doing anything when the program lies on a read-only mount already, so call it first
// thing in main(); otherwise it does not return unless it failed.
absl::Status ExecuteFromReadonlyMount(char** argv);

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_READONLY_SELF_H_
