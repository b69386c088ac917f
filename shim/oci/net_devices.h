#ifndef GANTRY_SHIM_OCI_NET_DEVICES_H_
#define GANTRY_SHIM_OCI_NET_DEVICES_H_

#include <sys/types.h>

#include "absl/status/status.h"
#include "shim/oci/spec.h"

namespace gantry::oci {

// linux.netDevices: moves network devices of our network namespace into that of `pid`, by their new
// names, with their global addresses, and brings them up. When the namespace ends, the kernel gives
// physical devices back and removes virtual ones. NotFound names a device that does not exist;
// InvalidArgument when the container has no network namespace of its own. Single-threaded callers
// only: it enters the other namespace for a moment.
absl::Status MoveNetDevices(const Spec& spec, pid_t pid);

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_NET_DEVICES_H_
