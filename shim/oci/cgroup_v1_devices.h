#ifndef GANTRY_SHIM_OCI_CGROUP_V1_DEVICES_H_
#define GANTRY_SHIM_OCI_CGROUP_V1_DEVICES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "shim/oci/spec.h"

namespace gantry::oci {

struct DeviceWrite {
  bool allow = false;
  std::string text;  // "c 1:3 rwm" or "a"
};

// What to write to devices.allow and devices.deny so that `rules` take effect one after the other
// upon what devices.list says now. The kernel takes a denial off its list of what is allowed only
// where both name the same device: one that covers more is written for each entry; one that covers
// only a part of an entry cannot be had, and would be ignored silently: InvalidArgument.
absl::StatusOr<std::vector<DeviceWrite>> PlanDeviceWrites(absl::string_view devices_list,
                                                          const std::vector<DeviceRule>& rules);

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_CGROUP_V1_DEVICES_H_
