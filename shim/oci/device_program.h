#ifndef GANTRY_SHIM_OCI_DEVICE_PROGRAM_H_
#define GANTRY_SHIM_OCI_DEVICE_PROGRAM_H_

#include <linux/bpf.h>

#include <vector>

#include "absl/status/status.h"
#include "shim/oci/spec.h"

namespace gantry::oci {

// cgroup v2 has no device files: a BPF program of type CGROUP_DEVICE decides. The last rule that
// matches wins. An allowing rule matches when it covers all of what is asked for, a denying one
// when it forbids any of it.
std::vector<bpf_insn> BuildDeviceProgram(const std::vector<DeviceRule>& rules);

// Loads the program and attaches it to the cgroup directory in place of all that are attached
// there, whoever did it; at no moment is nothing attached. The attachment lives as long as the
// cgroup.
absl::Status AttachDeviceProgram(const std::string& cgroup_dir,
                                 const std::vector<bpf_insn>& program);

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_DEVICE_PROGRAM_H_
