#ifndef GANTRY_SHIM_OCI_CGROUP_V1_STATS_H_
#define GANTRY_SHIM_OCI_CGROUP_V1_STATS_H_

#include <string>

#include "absl/strings/string_view.h"
#include "shim/oci/metrics.h"

namespace gantry::oci {

// Adds what the files of one controller in the cgroup directory `dir` say. Files that this kernel
// does not have leave their values at 0 and absent.
void ReadStatsV1(absl::string_view controller, const std::string& dir, MetricsV1* metrics);

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_CGROUP_V1_STATS_H_
