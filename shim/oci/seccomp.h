#ifndef GANTRY_SHIM_OCI_SECCOMP_H_
#define GANTRY_SHIM_OCI_SECCOMP_H_

#include <linux/filter.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry::oci {

struct SeccompProgram {
  std::vector<sock_filter> filter;  // empty: nothing to load
  unsigned int flags = 0;           // SECCOMP_FILTER_FLAG_*
};

// Compiles the object linux.seccomp (its canonical JSON text) by libseccomp, as a binary tree
// (optimize level 2: the kernel loads it 3 to 4 times faster). A system call whose number is above
// all that the profile names gets ENOSYS instead of EPERM, so that programs fall back as on an
// older kernel. Names unknown to libseccomp are skipped, as runc does. Takes 12-15 ms for Docker's
// default profile. InvalidArgument for unknown actions, operators or architectures. With a
// listenerPath, which rules of SCMP_ACT_NOTIFY need, the flags have
// SECCOMP_FILTER_FLAG_NEW_LISTENER.
absl::StatusOr<SeccompProgram> CompileSeccomp(absl::string_view json);

// As CompileSeccomp, but looks in memory and then in `cache_dir` (a private directory of ours; may
// be empty) first, and keeps what it compiled in both. Entries hold the whole profile's text and
// libseccomp's version and are compared with them, so a name collision or a foreign file is a miss,
// never a wrong filter. A cache that cannot be written is no error. Single-threaded.
absl::StatusOr<SeccompProgram> CachedSeccomp(absl::string_view json, const std::string& cache_dir);

// Names as they are written in profiles, for the features document.
std::vector<std::string> SeccompActions();
std::vector<std::string> SeccompOperators();
std::vector<std::string> SeccompFlags();
std::vector<std::string> SeccompArchitectures();

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_SECCOMP_H_
