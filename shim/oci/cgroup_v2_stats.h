#ifndef GANTRY_SHIM_OCI_CGROUP_V2_STATS_H_
#define GANTRY_SHIM_OCI_CGROUP_V2_STATS_H_

#include <string>

#include "shim/oci/metrics.h"

namespace gantry::oci {

// What the files of one cgroup directory of version 2 say. Controllers that are not enabled there
// leave their part empty.
MetricsV2 ReadStatsV2(const std::string& dir);

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_CGROUP_V2_STATS_H_
