#ifndef GANTRY_SHIM_OCI_TUNING_H_
#define GANTRY_SHIM_OCI_TUNING_H_

// What a spec says about how the kernel runs a process: scheduler, I/O priority, memory policy,
// CPU affinity and the clocks of a time namespace, as numbers that system calls take.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "shim/oci/json_reader.h"

namespace gantry::oci {

// process.scheduler, for sched_setattr(2).
struct Scheduler {
  std::string name;  // "SCHED_FIFO"
  uint32_t policy = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t flags = 0;
  uint64_t runtime = 0, deadline = 0, period = 0;  // nanoseconds
};

// process.ioPriority, for ioprio_set(2): class and level in one number.
struct IoPriority {
  std::string name;  // "IOPRIO_CLASS_BE"
  int value = 0;
};

// A set of CPUs or memory nodes as the kernel takes them: bit n of the array is number n.
using BitMask = std::vector<unsigned long>;

// linux.memoryPolicy, for set_mempolicy(2).
struct MemoryPolicy {
  std::string name;  // "MPOL_BIND"
  int mode = 0;      // with its flags
  BitMask nodes;
};

// process.execCPUAffinity: before and after the process joined the container's cgroup; empty sets
// leave the affinity as it is.
struct CpuAffinity {
  BitMask initial, final;
};

// A line of linux.timeOffsets, as /proc/PID/timens_offsets takes it: "monotonic 3600 0".
struct TimeOffset {
  std::string clock;
  int64_t seconds = 0;
  uint32_t nanoseconds = 0;
};

// "0-3,7" as a mask; InvalidArgument for other text, reversed ranges, and numbers from `limit` on.
absl::StatusOr<BitMask> ParseNumberList(absl::string_view list, unsigned limit);

// The readers complain through the reader's status; names are those of the specification.
Scheduler ReadScheduler(const JsonReader& reader);
IoPriority ReadIoPriority(const JsonReader& reader);
MemoryPolicy ReadMemoryPolicy(const JsonReader& reader);
CpuAffinity ReadCpuAffinity(const JsonReader& reader);
std::vector<TimeOffset> ReadTimeOffsets(const JsonReader& reader);

// Names for the features document.
std::vector<std::string> MemoryPolicyModes();
std::vector<std::string> MemoryPolicyFlags();

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_TUNING_H_
