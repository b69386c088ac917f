#ifndef GANTRY_SNAPSHOTTER_USAGE_H_
#define GANTRY_SNAPSHOTTER_USAGE_H_

#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "snapshotter/driver.h"

namespace gantry::snapshotter {

// Counts the tree at `root` (an open directory), itself included: allocated blocks, and each inode
// once however many links it has. Follows no symbolic link and stays on one file system. Files that
// vanish meanwhile are not counted. ResourceExhausted for trees deeper than 1000 directories.
absl::StatusOr<Usage> CountUsage(base::UniqueFd root);

}  // namespace gantry::snapshotter

#endif  // GANTRY_SNAPSHOTTER_USAGE_H_
