#ifndef GANTRY_SHIM_METRICS_MESSAGE_H_
#define GANTRY_SHIM_METRICS_MESSAGE_H_

#include "google/protobuf/any.pb.h"
#include "shim/oci/metrics.h"

namespace gantry::shim {

// The answer to Stats: io.containerd.cgroups.v1.Metrics or io.containerd.cgroups.v2.Metrics.
google::protobuf::Any ToMetricsMessage(const oci::Metrics& metrics);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_METRICS_MESSAGE_H_
