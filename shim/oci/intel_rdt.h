#ifndef GANTRY_SHIM_OCI_INTEL_RDT_H_
#define GANTRY_SHIM_OCI_INTEL_RDT_H_

#include <sys/types.h>

#include <string>

#include "absl/status/status.h"
#include "shim/oci/spec.h"

namespace gantry::oci {

// linux.intelRdt through the resctrl file system: cache and memory bandwidth of a container.

constexpr char kResctrl[] = "/sys/fs/resctrl";

// Makes the group (its name: closID or the container's id) with its schemata and moves `pid` into
// it. A group named by closID that exists is joined; schemata are then written too.
// FailedPrecondition when no resctrl is mounted on `root`.
absl::Status JoinIntelRdt(const IntelRdt& rdt, const std::string& id, pid_t pid,
                          const std::string& root = kResctrl);

// Removes what JoinIntelRdt made; a group named by closID stays, as the specification has it. OK
// when nothing is there.
absl::Status RemoveIntelRdt(const IntelRdt& rdt, const std::string& id,
                            const std::string& root = kResctrl);

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_INTEL_RDT_H_
