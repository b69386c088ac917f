#ifndef GANTRY_SERVICES_DIFF_DISK_USAGE_H_
#define GANTRY_SERVICES_DIFF_DISK_USAGE_H_

#include <cstdint>

#include "absl/status/statusor.h"

namespace gantry::services {

struct TreeUsage {
  int64_t bytes = 0;   // on disk
  int64_t inodes = 0;  // each once
};

// Walks the tree; follows no link.
absl::StatusOr<TreeUsage> MeasureTree(int dir_fd);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_DIFF_DISK_USAGE_H_
