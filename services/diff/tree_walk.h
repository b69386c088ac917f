#ifndef GANTRY_SERVICES_DIFF_TREE_WALK_H_
#define GANTRY_SERVICES_DIFF_TREE_WALK_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/diff/change_writer.h"

namespace gantry::services {

// Tells `writer` what makes `upper` out of `lower` (-1: an empty tree). Both are descriptors of
// directories. Two files are the same as containerd decides: type, mode, owner, device and
// security.capability, for all but directories also size and mtime, and where both mtimes have no
// fraction of a second the content.
absl::Status WalkTrees(int lower, int upper, ChangeWriter* writer);

// The same from an overlayfs upper directory alone, its whiteouts and opaque directories included.
// Only for one of which NeedsMount() is false.
absl::Status WalkUpper(int upper, ChangeWriter* writer);

// Whether the upper directory has redirects or metadata-only copies somewhere.
absl::StatusOr<bool> NeedsMount(int upper);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_DIFF_TREE_WALK_H_
