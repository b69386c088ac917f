#ifndef GANTRY_SHIM_OCI_PROCESS_PLAN_H_
#define GANTRY_SHIM_OCI_PROCESS_PLAN_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "shim/oci/container.h"
#include "shim/oci/plan.h"
#include "shim/oci/spec.h"

namespace gantry::oci {

// Everything of `process` that a child needs. `seccomp_json` may be empty.
absl::StatusOr<ProcessPlan> PlanProcess(const ProcessSpec& process, const LinuxSpec& linux_spec,
                                        const ProcessIo& io, const std::vector<int>& preserve_fds,
                                        const std::string& seccomp_cache_dir);

// Whether the child sets its rlimits itself (ProcessPlan::rlimits) instead of ApplyRlimits().
bool RlimitsAreTheChilds(const ProcessSpec& process, const LinuxSpec& linux_spec);

// What the parent sets from outside: rlimits (a limit that cannot be raised is an error naming it)
// and the oom score (lowering it without CAP_SYS_RESOURCE is only warned about).
absl::Status ApplyRlimits(pid_t pid, const std::vector<Rlimit>& limits);
absl::Status ApplyOomScore(pid_t pid, const ProcessSpec& process);

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_PROCESS_PLAN_H_
