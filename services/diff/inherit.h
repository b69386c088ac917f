#ifndef GANTRY_SERVICES_DIFF_INHERIT_H_
#define GANTRY_SERVICES_DIFF_INHERIT_H_

#include <ctime>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/unique_fd.h"

namespace gantry::services {

// Gives the directory `fd`, which lies at the clean path `path` of an overlay upper directory and
// was made without an entry of its own in the layer, owner, mode and xattrs of what it covers in
// `lowers` (nearest first), and tells that one's mtime. With nothing below: mode 0755.
absl::Status InheritDirectory(const std::vector<base::UniqueFd>& lowers, const std::string& path,
                              int fd, timespec* mtime);

// The same for LayerResult::implicit_dirs of a layer that was unpacked before its lower layers were
// known, times included. `upper` and `lowers` (nearest first) are paths of ours.
absl::Status InheritDirectories(const std::string& upper, const std::vector<std::string>& lowers,
                                const std::vector<std::string>& paths);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_DIFF_INHERIT_H_
