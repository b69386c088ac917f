#ifndef GANTRY_SHIM_OCI_CGROUP_V2_LIMITS_H_
#define GANTRY_SHIM_OCI_CGROUP_V2_LIMITS_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "shim/oci/spec.h"

namespace gantry::oci {

// Writes every limit of `resources` (devices apart) to the files of the cgroup of version 2 at
// `dir`, converted from version 1's terms where the specification speaks in those; the unified map
// last. FailedPrecondition for a controller that is not enabled there; InvalidArgument for what
// version 2 does not have (swappiness, the OOM killer's switch, realtime time, network classes) or
// values that contradict each other. memory.kernel and kernelTCP are ignored as deprecated.
absl::Status ApplyLimitsV2(const std::string& dir, const Resources& resources);

// The ranges of version 1 laid over those of version 2, as runc does: shares 2..262144 to weight
// 1..10000, blkio weight 10..1000 to io.weight 1..10000.
uint64_t SharesToWeight(uint64_t shares);
uint64_t BlkioToIoWeight(uint64_t weight);

// Version 1 limits the sum of memory and swap, version 2 swap alone. `limit`: the memory limit that
// goes with it. Nothing when swap is not to be touched; UINT64_MAX for no limit.
absl::StatusOr<std::optional<uint64_t>> SwapLimitV2(const Resources& resources,
                                                    std::optional<int64_t> limit);

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_CGROUP_V2_LIMITS_H_
