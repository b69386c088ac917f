#ifndef GANTRY_SHIM_OCI_HOOKS_H_
#define GANTRY_SHIM_OCI_HOOKS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "shim/oci/plan.h"
#include "shim/oci/spec.h"

namespace gantry::oci {

// Runs hooks one after the other in our own namespaces with `state` on their stdin. A hook that
// exits with another status than 0, or not within its timeout, ends the list with an error that has
// its path and what it printed. Blocks.
// `bundle` is their working directory. One without an environment of its own gets ours.
absl::Status RunHostHooks(const std::vector<Hook>& hooks, absl::string_view kind,
                          const std::string& bundle, const std::string& state);

// Hooks that a child runs; the working directory is `bundle`, as seen there, or "/".
std::vector<HookPlan> PlanHooks(const std::vector<Hook>& hooks, const std::string& cwd);

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_HOOKS_H_
