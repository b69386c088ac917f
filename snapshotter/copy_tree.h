#ifndef GANTRY_SNAPSHOTTER_COPY_TREE_H_
#define GANTRY_SNAPSHOTTER_COPY_TREE_H_

#include "absl/status/status.h"
#include "base/unique_fd.h"

namespace gantry::snapshotter {

// Copies what the directory `from` holds into the empty directory `to`, and from's own metadata.
// Kept: content (shared extents where the file system can, holes otherwise), owner, mode with
// set-id bits, times to the nanosecond, extended attributes, hard links within the tree, symbolic
// links, fifos, devices, sockets' names. Nobody else may change either tree meanwhile. Follows no
// symbolic link. ResourceExhausted for trees deeper than 500 directories.
absl::Status CopyTree(base::UniqueFd from, base::UniqueFd to);

}  // namespace gantry::snapshotter

#endif  // GANTRY_SNAPSHOTTER_COPY_TREE_H_
