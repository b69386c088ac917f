#ifndef GANTRY_SHIM_OCI_NAMESPACES_H_
#define GANTRY_SHIM_OCI_NAMESPACES_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "shim/oci/plan.h"
#include "shim/oci/spec.h"

namespace gantry::oci {

// Namespaces to make and to join, host name and sysctls. Namespaces to join are opened and checked
// to be of their kind.
absl::StatusOr<NamespacePlan> PlanNamespaces(const Spec& spec);

// Only namespaced keys, as in "net.ipv4.ip_forward" or "net/ipv4/ip_forward", each in a namespace
// that the container has to itself, and values without control characters (CVE-2022-0811).
// InvalidArgument otherwise. Returns the file below /proc/sys.
absl::StatusOr<std::string> SysctlPath(const Spec& spec, const std::string& key,
                                       const std::string& value);

// Writes /proc/PID/uid_map and gid_map.
absl::Status WriteIdMaps(pid_t pid, const std::vector<IdMapping>& uids,
                         const std::vector<IdMapping>& gids);

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_NAMESPACES_H_
