#ifndef GANTRY_SHIM_OCI_MOUNTS_H_
#define GANTRY_SHIM_OCI_MOUNTS_H_

// Mounts as the specification writes them, turned into steps that a child can run blindly.

#include <sys/mount.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"
#include "shim/oci/plan.h"
#include "shim/oci/spec.h"

namespace gantry::oci {

class Cgroup;

struct MountFlags {
  unsigned long set = 0;                   // MS_* asked for
  unsigned long cleared = 0;               // MS_* asked to be off ("rw", "suid", …)
  std::vector<unsigned long> propagation;  // MS_SHARED, MS_SLAVE|MS_REC, …
  // MOUNT_ATTR_* for the whole tree ("rro", "rnosuid", …; no prefix "no" twice).
  uint64_t recursive_set = 0;
  uint64_t recursive_cleared = 0;
  bool copy_up = false;  // "tmpcopyup"
  bool idmap = false;    // "idmap", "ridmap", "idmap=uids=0-1000-1;gids=0-1000-1"
  bool recursive_idmap = false;
  std::string idmap_text;  // what follows "idmap="
  std::string data;        // what is left, for the file system, comma-separated
};

MountFlags ParseMountFlags(const std::vector<std::string>& options);
// The names in the table, for the features document.
std::vector<std::string> KnownMountOptions();

// "private", "rshared", … as MS_* flags; 0 for "". InvalidArgument for other words.
absl::StatusOr<unsigned long> ParsePropagation(absl::string_view word);

// A detached copy (open_tree) of what is mounted at a host path of the client's choice; symbolic
// links are followed as the client sees them.
absl::StatusOr<base::UniqueFd> CloneTree(const std::string& path, bool recursive);
// Applies the per-mount flags (ro, nosuid, nodev, noexec, atime) to a detached tree.
absl::Status SetTreeFlags(int tree, const MountFlags& flags, const std::string& path);

// Appends the steps for every entry of spec.mounts, in order. Sources of bind mounts are opened and
// cloned now: what is missing or not permitted is reported here with its path.
absl::Status PlanMounts(const Spec& spec, const std::string& bundle, const Cgroup& cgroup,
                        bool keep_shared, std::vector<MountStep>* steps);

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_MOUNTS_H_
