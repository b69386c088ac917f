#include "services/diff/apply_target.h"

#include <fcntl.h>
#include <sys/mount.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/status.h"

namespace gantry::services {
namespace {

constexpr int kDirFlags = O_RDONLY | O_DIRECTORY;

absl::StatusOr<ApplyTarget> OpenDirectory(const std::string& path, Whiteouts whiteouts) {
  ApplyTarget target;
  GANTRY_ASSIGN_OR_RETURN(target.root, base::Open(path, kDirFlags));
  target.whiteouts = whiteouts;
  return target;
}

}  // namespace

absl::StatusOr<ApplyTarget> OpenApplyTarget(const std::vector<base::Mount>& mounts,
                                            const std::string& temp_dir) {
  if (mounts.empty()) return absl::InvalidArgumentError("no mounts to apply a layer to");
  const base::Mount& first = mounts[0];
  bool single = mounts.size() == 1 && first.target.empty();
  base::MountOptions options = base::ParseMountOptions(first.options);
  if (single && (options.flags & MS_RDONLY))
    return absl::FailedPreconditionError("cannot apply a layer to a read-only mount");
  if (single && first.type == "overlay") {
    std::string upper, lower;
    for (absl::string_view option : first.options) {
      if (absl::ConsumePrefix(&option, "upperdir=")) upper = std::string(option);
      if (absl::ConsumePrefix(&option, "lowerdir=")) lower = std::string(option);
    }
    if (!upper.empty()) {
      GANTRY_ASSIGN_OR_RETURN(ApplyTarget target, OpenDirectory(upper, Whiteouts::kOverlay));
      target.lower_dirs = absl::StrSplit(lower, ':', absl::SkipEmpty());
      return target;
    }
  }
  if (single && (options.flags & MS_BIND)) return OpenDirectory(first.source, Whiteouts::kRemove);
  GANTRY_ASSIGN_OR_RETURN(base::TemporaryMount mounted,
                          base::TemporaryMount::Create(mounts, temp_dir));
  GANTRY_ASSIGN_OR_RETURN(ApplyTarget target, OpenDirectory(mounted.path(), Whiteouts::kRemove));
  target.mounted.emplace(std::move(mounted));
  return target;
}

}  // namespace gantry::services
