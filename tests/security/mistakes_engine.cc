// The layer between the files of the engine.

#include <sched.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "base/ids.h"
#include "shim/oci/namespaces.h"
#include "shim/oci/process_plan.h"
#include "shim/oci/readonly_self.h"
#include "shim/oci/rootfs_plan.h"
#include "tests/security/mistakes.h"

namespace gantry::oci {
namespace {
using tests::Makes;
using tests::Mistake;
}  // namespace

GANTRY_LAYER(absl::StatusOr<NamespacePlan>, PlanNamespaces,
             "_ZN6gantry3oci14PlanNamespacesERKNS0_4SpecE", const Spec& spec) {
  Spec changed = spec;
  if (Makes(Mistake::kAnySysctl)) changed.linux_.sysctl.clear();
  auto plan = RealPlanNamespaces(changed);
  if (!plan.ok()) return plan;
  if (Makes(Mistake::kSharesNamespaces)) {
    plan->clone_flags &= CLONE_NEWNS;
    plan->new_network = false;
    plan->hostname.clear();
  }
  for (const auto& [key, value] : spec.linux_.sysctl) {
    if (!Makes(Mistake::kAnySysctl)) break;
    std::string path = key;
    std::replace(path.begin(), path.end(), '.', '/');
    plan->sysctls.emplace_back("/proc/sys/" + path, value);
  }
  return plan;
}

// clang-format off
GANTRY_LAYER(absl::StatusOr<ProcessPlan>, PlanProcess,
             "_ZN6gantry3oci11PlanProcessERKNS0_11ProcessSpecERKNS0_9LinuxSpecERKNS0_9ProcessIoERKSt6vectorIiSaIiEERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE",
             const ProcessSpec& process, const LinuxSpec& linux_spec, const ProcessIo& io,
             const std::vector<int>& preserve_fds, const std::string& cache) {
  // clang-format on
  auto plan = RealPlanProcess(process, linux_spec, io, preserve_fds, cache);
  if (!plan.ok()) return plan;
  if (Makes(Mistake::kNoFilter) || Makes(Mistake::kAllCapabilities)) plan->seccomp.clear();
  if (Makes(Mistake::kKeepsGroups)) plan->set_groups = false;
  if (!plan->caps) return plan;
  CapabilitySets& caps = *plan->caps;
  if (Makes(Mistake::kAllCapabilities)) {
    caps.bounding = caps.permitted = caps.effective = ~uint64_t{0};
  }
  if (Makes(Mistake::kInheritableCapabilities)) caps.inheritable = caps.bounding;
  if (Makes(Mistake::kAmbientCapabilities)) caps.inheritable = caps.ambient = caps.bounding;
  return plan;
}

GANTRY_LAYER(absl::StatusOr<RootfsPlan>, PlanRootfs,
             "_ZN6gantry3oci10PlanRootfsERKNS0_13CreateOptionsERKNS0_4SpecERKNS0_6CgroupE",
             const CreateOptions& options, const Spec& spec, const Cgroup& cgroup) {
  auto plan = RealPlanRootfs(options, spec, cgroup);
  if (!plan.ok()) return plan;
  if (Makes(Mistake::kNoMasks)) {
    plan->masked.clear();
    plan->readonly_paths.clear();
  }
  for (const auto& [key, value] : spec.linux_.sysctl) {
    if (!Makes(Mistake::kSysctlsInRootfs)) break;
    std::string path = key;
    std::replace(path.begin(), path.end(), '.', '/');
    std::ofstream(absl::StrCat(plan->path, "/proc/sys/", path)) << value;
  }
  if (Makes(Mistake::kWorkdirOnHost)) {
    std::error_code ignored;
    std::filesystem::create_directories(absl::StrCat(plan->path, spec.process->cwd), ignored);
  }
  return plan;
}

GANTRY_LAYER(absl::Status, ExecuteFromReadonlyMount, "_ZN6gantry3oci24ExecuteFromReadonlyMountEPPc",
             char** argv) {
  return Makes(Mistake::kWritableProgram) ? absl::OkStatus() : RealExecuteFromReadonlyMount(argv);
}

}  // namespace gantry::oci

namespace gantry::base {

GANTRY_LAYER(absl::StatusOr<uint64_t>, ParseDecimal,
             "_ZN6gantry4base12ParseDecimalEN4absl7debian311string_viewEm", absl::string_view text,
             uint64_t max) {
  auto number = RealParseDecimal(text, max);
  if (!number.ok() && tests::Makes(tests::Mistake::kBadNumbersAreZero)) return 0;
  return number;
}

}  // namespace gantry::base
