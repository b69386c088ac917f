#include "shim/oci/tuning.h"

#include <linux/ioprio.h>
#include <linux/mempolicy.h>
#include <linux/sched.h>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/ids.h"
#include "base/status.h"

namespace gantry::oci {
namespace {

constexpr unsigned kMaxNumber = 1024;  // CPUs and nodes; the kernel's own limit is lower or equal
constexpr unsigned kBits = 8 * sizeof(unsigned long);

template <typename T>
using Names = std::pair<absl::string_view, T>;

constexpr Names<uint32_t> kPolicies[] = {
    {"SCHED_OTHER", SCHED_NORMAL}, {"SCHED_FIFO", SCHED_FIFO}, {"SCHED_RR", SCHED_RR},
    {"SCHED_BATCH", SCHED_BATCH},  {"SCHED_IDLE", SCHED_IDLE}, {"SCHED_DEADLINE", SCHED_DEADLINE}};

constexpr Names<uint64_t> kSchedulerFlags[] = {
    {"SCHED_FLAG_RESET_ON_FORK", SCHED_FLAG_RESET_ON_FORK},
    {"SCHED_FLAG_RECLAIM", SCHED_FLAG_RECLAIM},
    {"SCHED_FLAG_DL_OVERRUN", SCHED_FLAG_DL_OVERRUN},
    {"SCHED_FLAG_KEEP_POLICY", SCHED_FLAG_KEEP_POLICY},
    {"SCHED_FLAG_KEEP_PARAMS", SCHED_FLAG_KEEP_PARAMS},
    {"SCHED_FLAG_UTIL_CLAMP_MIN", SCHED_FLAG_UTIL_CLAMP_MIN},
    {"SCHED_FLAG_UTIL_CLAMP_MAX", SCHED_FLAG_UTIL_CLAMP_MAX}};

constexpr Names<int> kIoClasses[] = {{"IOPRIO_CLASS_RT", IOPRIO_CLASS_RT},
                                     {"IOPRIO_CLASS_BE", IOPRIO_CLASS_BE},
                                     {"IOPRIO_CLASS_IDLE", IOPRIO_CLASS_IDLE}};

// Newer modes by number: the headers of the build may be older than the kernel that runs.
constexpr Names<int> kMemoryModes[] = {
    {"MPOL_DEFAULT", MPOL_DEFAULT}, {"MPOL_PREFERRED", MPOL_PREFERRED},
    {"MPOL_BIND", MPOL_BIND},       {"MPOL_INTERLEAVE", MPOL_INTERLEAVE},
    {"MPOL_LOCAL", MPOL_LOCAL},     {"MPOL_PREFERRED_MANY", 5},
    {"MPOL_WEIGHTED_INTERLEAVE", 6}};

constexpr int kStaticNodes = 1 << 15;
constexpr int kRelativeNodes = 1 << 14;
constexpr int kNumaBalancing = 1 << 13;
constexpr Names<int> kMemoryFlags[] = {{"MPOL_F_STATIC_NODES", kStaticNodes},
                                       {"MPOL_F_RELATIVE_NODES", kRelativeNodes},
                                       {"MPOL_F_NUMA_BALANCING", kNumaBalancing}};

// The value of `name`; complains at `where` when it is unknown.
template <typename T, size_t N>
T ByName(const Names<T> (&table)[N], const std::string& name, const JsonReader& where) {
  for (const auto& [known, value] : table) {
    if (known == name) return value;
  }
  where.Fail(absl::StrCat("unknown value \"", name, "\""));
  return T();
}

void CheckDeadline(const Scheduler& s, const JsonReader& reader) {
  if (s.policy != SCHED_DEADLINE) {
    if (s.runtime != 0 || s.deadline != 0 || s.period != 0) {
      reader.Fail("runtime, deadline and period belong to SCHED_DEADLINE only");
    }
    return;
  }
  if (s.runtime == 0) reader.At("runtime").Fail("must be given for SCHED_DEADLINE");
  if (s.deadline == 0) reader.At("deadline").Fail("must be given for SCHED_DEADLINE");
  if (s.runtime > s.deadline) reader.At("runtime").Fail("must not be longer than deadline");
  if (s.period != 0 && s.deadline > s.period) {
    reader.At("deadline").Fail("must not be longer than period");
  }
  // sched(7): below 1024 ns and from 2^63 on the kernel refuses.
  if (s.runtime < 1024 || s.runtime >> 63 != 0) {
    reader.At("runtime").Fail("must be from 1024 to 2^63-1 nanoseconds");
  }
}

void CheckNodes(const MemoryPolicy& policy, int flags, const JsonReader& reader) {
  int mode = policy.mode & ~(kStaticNodes | kRelativeNodes | kNumaBalancing);
  bool takes_none = mode == MPOL_DEFAULT || mode == MPOL_LOCAL;
  bool needs_some = !takes_none && mode != MPOL_PREFERRED;
  if (takes_none && !policy.nodes.empty()) reader.At("nodes").Fail("not allowed with this mode");
  if (needs_some && policy.nodes.empty()) reader.At("nodes").Fail("needed by this mode");
  if ((flags & kStaticNodes) != 0 && (flags & kRelativeNodes) != 0) {
    reader.At("flags").Fail("MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other");
  }
  if ((flags & kNumaBalancing) != 0 && mode != MPOL_BIND && mode != 5) {
    reader.At("flags").Fail("MPOL_F_NUMA_BALANCING is for MPOL_BIND and MPOL_PREFERRED_MANY");
  }
}

BitMask ReadNumberList(const JsonReader& owner, const char* key) {
  auto mask = ParseNumberList(owner.String(key), kMaxNumber);
  if (mask.ok()) return *std::move(mask);
  owner.At(key).Fail(mask.status().message());
  return {};
}

}  // namespace

absl::StatusOr<BitMask> ParseNumberList(absl::string_view list, unsigned limit) {
  BitMask mask;
  for (absl::string_view part : absl::StrSplit(list, ',', absl::SkipWhitespace())) {
    std::vector<absl::string_view> ends =
        absl::StrSplit(absl::StripAsciiWhitespace(part), absl::MaxSplits('-', 1));
    GANTRY_ASSIGN_OR_RETURN(uint64_t first, base::ParseDecimal(ends.front(), limit - 1));
    GANTRY_ASSIGN_OR_RETURN(uint64_t last, base::ParseDecimal(ends.back(), limit - 1));
    if (first > last) {
      return absl::InvalidArgumentError(absl::StrCat("range \"", part, "\" goes backwards"));
    }
    if (mask.size() <= last / kBits) mask.resize(last / kBits + 1);
    for (uint64_t i = first; i <= last; ++i) mask[i / kBits] |= 1ul << (i % kBits);
  }
  return mask;
}

Scheduler ReadScheduler(const JsonReader& reader) {
  Scheduler s;
  s.name = reader.String("policy");
  s.policy = ByName(kPolicies, s.name, reader.At("policy"));
  s.nice = static_cast<int32_t>(reader.Int("nice", -20, 19).value_or(0));
  s.priority = static_cast<uint32_t>(reader.Int("priority", 0, 99).value_or(0));
  for (const JsonReader& flag : reader.At("flags").Items()) {
    s.flags |= ByName(kSchedulerFlags, flag.AsString(), flag);
  }
  s.runtime = reader.Uint("runtime").value_or(0);
  s.deadline = reader.Uint("deadline").value_or(0);
  s.period = reader.Uint("period").value_or(0);
  bool realtime = s.policy == SCHED_FIFO || s.policy == SCHED_RR;
  if (!realtime && s.priority != 0) {
    reader.At("priority").Fail("belongs to SCHED_FIFO and SCHED_RR only");
  }
  CheckDeadline(s, reader);
  return s;
}

IoPriority ReadIoPriority(const JsonReader& reader) {
  IoPriority priority;
  priority.name = reader.String("class");
  int io_class = ByName(kIoClasses, priority.name, reader.At("class"));
  priority.value = IOPRIO_PRIO_VALUE(io_class, reader.Int("priority", 0, 7).value_or(0));
  return priority;
}

MemoryPolicy ReadMemoryPolicy(const JsonReader& reader) {
  MemoryPolicy policy;
  policy.name = reader.String("mode");
  policy.mode = ByName(kMemoryModes, policy.name, reader.At("mode"));
  int flags = 0;
  for (const JsonReader& flag : reader.At("flags").Items()) {
    flags |= ByName(kMemoryFlags, flag.AsString(), flag);
  }
  policy.mode |= flags;
  policy.nodes = ReadNumberList(reader, "nodes");
  CheckNodes(policy, flags, reader);
  return policy;
}

CpuAffinity ReadCpuAffinity(const JsonReader& reader) {
  return {ReadNumberList(reader, "initial"), ReadNumberList(reader, "final")};
}

std::vector<TimeOffset> ReadTimeOffsets(const JsonReader& reader) {
  std::vector<TimeOffset> offsets;
  if (!reader.present() || !reader.json().is_object()) return offsets;
  for (const auto& [clock, value] : reader.json().items()) {
    JsonReader entry = reader.At(clock);
    if (clock != "monotonic" && clock != "boottime") {
      entry.Fail("only monotonic and boottime have offsets");
    }
    TimeOffset offset;
    offset.clock = clock;
    offset.seconds = entry.Int("secs").value_or(0);
    offset.nanoseconds = static_cast<uint32_t>(entry.Uint("nanosecs", 999999999).value_or(0));
    offsets.push_back(std::move(offset));
  }
  return offsets;
}

std::vector<std::string> MemoryPolicyModes() {
  std::vector<std::string> names;
  for (const auto& [name, value] : kMemoryModes) names.emplace_back(name);
  return names;
}

std::vector<std::string> MemoryPolicyFlags() {
  std::vector<std::string> names;
  for (const auto& [name, value] : kMemoryFlags) names.emplace_back(name);
  return names;
}

}  // namespace gantry::oci
