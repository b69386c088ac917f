#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "shim/oci/child.h"

namespace gantry::oci {
namespace {

constexpr int kIoWhoProcess = 1;

// sched_setattr(2); <linux/sched/types.h> does not go together with glibc's <sched.h>.
struct SchedAttr {
  uint32_t size = sizeof(SchedAttr);
  uint32_t policy = 0;
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtime = 0, deadline = 0, period = 0;
};

void SetScheduler(const ChildLink& link, const Scheduler& scheduler) {
  SchedAttr attr;
  attr.policy = scheduler.policy;
  attr.flags = scheduler.flags;
  attr.nice = scheduler.nice;
  attr.priority = scheduler.priority;
  attr.runtime = scheduler.runtime;
  attr.deadline = scheduler.deadline;
  attr.period = scheduler.period;
  if (syscall(SYS_sched_setattr, 0, &attr, 0) != 0) {
    link.Fail(Stage::kScheduler, errno, scheduler.name.c_str());
  }
}

}  // namespace

void ApplyTuning(const ChildLink& link, const ProcessPlan& plan) {
  if (plan.scheduler) SetScheduler(link, *plan.scheduler);
  if (plan.io_priority && syscall(SYS_ioprio_set, kIoWhoProcess, 0, plan.io_priority->value) != 0) {
    link.Fail(Stage::kIoPriority, errno, plan.io_priority->name.c_str());
  }
  if (plan.memory_policy) {
    const BitMask& nodes = plan.memory_policy->nodes;
    // The kernel takes one bit off the count.
    unsigned long bits = nodes.empty() ? 0 : nodes.size() * 8 * sizeof nodes[0] + 1;
    if (syscall(SYS_set_mempolicy, plan.memory_policy->mode, nodes.empty() ? nullptr : nodes.data(),
                bits) != 0) {
      link.Fail(Stage::kMemoryPolicy, errno, plan.memory_policy->name.c_str());
    }
  }
}

}  // namespace gantry::oci
