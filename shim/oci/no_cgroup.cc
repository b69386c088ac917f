// For users to whom no cgroup was delegated: containers run in the cgroup of their caller.

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "shim/oci/cgroup.h"
#include "shim/oci/mounts.h"

namespace gantry::oci {
namespace {

absl::Status Missing(absl::string_view what) {
  return absl::FailedPreconditionError(absl::StrCat(
      "cannot ", what, ": this user has no cgroup of its own (delegate one, or run as root)"));
}

class NoCgroup : public Cgroup {
 public:
  int version() const override { return 2; }
  absl::Status Create(pid_t) override { return absl::OkStatus(); }
  absl::Status Apply(const Resources& resources, bool initial) override {
    // Device rules keep root from making nodes, which nobody here can.
    bool limits = resources.memory.limit || resources.memory.swap || resources.pids_limit ||
                  resources.cpu.quota || resources.cpu.shares || !resources.cpu.cpus.empty() ||
                  !resources.cpu.mems.empty() || !resources.unified.empty() ||
                  !resources.hugepage_limits.empty() || resources.block_io.weight;
    return limits || !initial ? Missing("set limits") : absl::OkStatus();
  }
  absl::StatusOr<std::vector<CgroupJoin>> OpenJoins(pid_t) override {
    return std::vector<CgroupJoin>();
  }
  absl::Status Freeze(bool frozen) override { return Missing(frozen ? "pause" : "resume"); }
  absl::StatusOr<bool> Frozen() const override { return false; }
  absl::StatusOr<std::vector<pid_t>> Pids() const override { return Missing("list processes"); }
  // The first process' pid namespace ends with it.
  absl::Status KillAll() override { return absl::OkStatus(); }
  absl::StatusOr<Metrics> Stats() const override { return Missing("read statistics"); }
  struct Remains Remains() const override {
    return {};
  }
  absl::StatusOr<std::unique_ptr<OomWatch>> WatchOom() const override {
    return Missing("watch for out-of-memory kills");
  }
  absl::Status Remove(bool) override { return absl::OkStatus(); }
  absl::Status PlanMounts(const MountSpec& mount, bool,
                          std::vector<MountStep>* steps) const override {
    MountStep step;
    step.kind = MountStep::Kind::kTree;
    step.destination = mount.destination;
    GANTRY_ASSIGN_OR_RETURN(step.tree, CloneTree("/sys/fs/cgroup", true));
    MountFlags flags;
    flags.recursive_set = MOUNT_ATTR_RDONLY;
    GANTRY_RETURN_IF_ERROR(SetTreeFlags(step.tree.get(), flags, "/sys/fs/cgroup"));
    steps->push_back(std::move(step));
    return absl::OkStatus();
  }
  std::string directory() const override { return {}; }
};

}  // namespace

std::unique_ptr<Cgroup> MakeNoCgroup() { return std::make_unique<NoCgroup>(); }

}  // namespace gantry::oci
