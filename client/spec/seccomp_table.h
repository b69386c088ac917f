#ifndef GANTRY_CLIENT_SPEC_SECCOMP_TABLE_H_
#define GANTRY_CLIENT_SPEC_SECCOMP_TABLE_H_

#include <string>
#include <vector>

#include "base/json.h"

namespace gantry::client {

// The default seccomp profile as the `linux.seccomp` object of an OCI runtime specification: what
// containerd's default profile allows on this architecture, with the system calls that belong to
// each capability of `bounding` (names such as "CAP_SYS_ADMIN").
base::Json DefaultSeccompProfile(const std::vector<std::string>& bounding);

}  // namespace gantry::client

#endif  // GANTRY_CLIENT_SPEC_SECCOMP_TABLE_H_
