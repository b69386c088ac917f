#ifndef GANTRY_DOCKER_ARCHIVE_CHANGES_H_
#define GANTRY_DOCKER_ARCHIVE_CHANGES_H_

#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/mount.h"

namespace gantry::docker {

// What a container has changed in its image's files.
struct FileChange {
  enum Kind { kModified = 0, kAdded = 1, kDeleted = 2 };  // as the API has them
  std::string path;
  Kind kind = kModified;

  friend bool operator==(const FileChange&, const FileChange&) = default;
};

// Read from an overlay's upper directory, in the order of the paths. Directories show when
// something in them does, or their mode or owner changed. `mount_points`: paths that were made to
// be mounted on, which do not show while they are empty. Unimplemented for mounts that are no
// overlay; ResourceExhausted beyond a million changes.
absl::StatusOr<std::vector<FileChange>> OverlayChanges(const std::vector<base::Mount>& mounts,
                                                       const std::set<std::string>& mount_points);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_ARCHIVE_CHANGES_H_
