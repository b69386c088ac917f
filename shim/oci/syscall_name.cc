#include <seccomp.h>

#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "shim/oci/container.h"

namespace gantry::oci {

// libseccomp calls an architecture by its audit number, but for x32, which shares x86-64's.
std::string AuditedSyscallName(uint32_t audit_arch, int number) {
  char* name = seccomp_syscall_resolve_num_arch(audit_arch, number);
  if (name == nullptr) return absl::StrCat("syscall ", number);
  std::string copy = name;
  free(name);
  return copy;
}

}  // namespace gantry::oci
