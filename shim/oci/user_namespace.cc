#include "shim/oci/user_namespace.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "shim/oci/namespaces.h"
#include "shim/oci/spawn.h"

namespace gantry::oci {

absl::StatusOr<base::UniqueFd> MakeUserNamespace(const std::vector<IdMapping>& uids,
                                                 const std::vector<IdMapping>& gids) {
  // It waits until `child` goes out of scope, which ends it.
  GANTRY_ASSIGN_OR_RETURN(Spawned child, Spawned::Clone(CLONE_NEWUSER, -1, [](int sock) {
                            char answer;
                            (void)!read(sock, &answer, 1);
                            _exit(0);
                          }));
  GANTRY_RETURN_IF_ERROR(WriteIdMaps(child.pid(), uids, gids));
  return base::Open(absl::StrCat("/proc/", child.pid(), "/ns/user"), O_RDONLY);
}

}  // namespace gantry::oci
