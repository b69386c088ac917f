#ifndef GANTRY_SHIM_OCI_USER_NAMESPACE_H_
#define GANTRY_SHIM_OCI_USER_NAMESPACE_H_

#include <vector>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "shim/oci/spec.h"

namespace gantry::oci {

// A user namespace with these maps that no process lives in, as id-mapped mounts take it. A process
// is made, mapped and ended on the way.
absl::StatusOr<base::UniqueFd> MakeUserNamespace(const std::vector<IdMapping>& uids,
                                                 const std::vector<IdMapping>& gids);

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_USER_NAMESPACE_H_
