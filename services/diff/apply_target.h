#ifndef GANTRY_SERVICES_DIFF_APPLY_TARGET_H_
#define GANTRY_SERVICES_DIFF_APPLY_TARGET_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/mount.h"
#include "base/unique_fd.h"
#include "services/diff/layer_applier.h"

namespace gantry::services {

// Where a layer goes, given the mounts of an active snapshot:
//   [overlay upperdir=U,…]   U itself, overlay whiteouts, nothing is mounted
//   [bind S]                 S itself, whiteouts remove
//   all others               a temporary mount for the life of the object, whiteouts remove
struct ApplyTarget {
  std::optional<base::TemporaryMount> mounted;  // before `root`, so that that is closed first
  base::UniqueFd root;
  Whiteouts whiteouts = Whiteouts::kRemove;
  std::vector<std::string> lower_dirs;  // for LayerApplierOptions
};

// `temp_dir`: existing directory of ours for temporary mount points. InvalidArgument when there is
// no mount, FailedPrecondition for a read-only single mount.
absl::StatusOr<ApplyTarget> OpenApplyTarget(const std::vector<base::Mount>& mounts,
                                            const std::string& temp_dir);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_DIFF_APPLY_TARGET_H_
