#include "shim/oci/cgroup_v2_limits.h"

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/status.h"
#include "shim/oci/cgroup.h"

namespace gantry::oci {
namespace {

std::string LimitText(int64_t value) { return value < 0 ? "max" : absl::StrCat(value); }

class Limits {
 public:
  Limits(const std::string& dir, const Resources& resources) : dir_(dir), resources_(resources) {}

  absl::Status Apply() const {
    GANTRY_RETURN_IF_ERROR(Refuse());
    GANTRY_RETURN_IF_ERROR(Memory());
    GANTRY_RETURN_IF_ERROR(Cpu());
    GANTRY_RETURN_IF_ERROR(Io());
    return Rest();
  }

 private:
  absl::Status Set(absl::string_view file, absl::string_view value) const {
    absl::Status status = WriteCgroupFile(dir_, file, value);
    if (base::ErrnoOf(status) != ENOENT || !base::Exists(dir_)) return status;
    absl::string_view controller = file.substr(0, file.find('.'));
    std::string enabled = ReadCgroupFile(dir_, "cgroup.controllers").value_or("");
    for (absl::string_view name : absl::StrSplit(enabled, absl::ByAnyChar(" \n"))) {
      if (name != controller) continue;
      return absl::FailedPreconditionError(absl::StrCat("cannot set ", file,
                                                        ": this kernel's cgroup controller ",
                                                        controller, " has no such file"));
    }
    return absl::FailedPreconditionError(absl::StrCat(
        "cannot set ", file, ": the cgroup controller ", controller, " is not enabled in ", dir_));
  }

  // What exists in version 1 only. Values that ask for nothing are let through.
  absl::Status Refuse() const {
    const std::pair<bool, const char*> kOnlyV1[] = {
        {resources_.memory.swappiness.has_value(), "memory.swappiness"},
        {resources_.memory.disable_oom_killer, "memory.disableOOMKiller"},
        {resources_.cpu.realtime_runtime.value_or(0) != 0, "cpu.realtimeRuntime"},
        {resources_.cpu.realtime_period.value_or(0) != 0, "cpu.realtimePeriod"},
        {resources_.network.class_id.value_or(0) != 0, "network.classID"},
        {!resources_.network.priorities.empty(), "network.priorities"}};
    for (const auto& [asked, name] : kOnlyV1) {
      if (!asked) continue;
      return absl::InvalidArgumentError(absl::StrCat(
          "linux.resources.", name, " exists in cgroup v1 only, and this machine has v2"));
    }
    return absl::OkStatus();
  }

  absl::Status SetSwap(uint64_t value) const {
    absl::Status status = Set("memory.swap.max", value == UINT64_MAX ? "max" : absl::StrCat(value));
    // A kernel that does not account swap has nothing to limit.
    if (!status.ok() && (value == 0 || value == UINT64_MAX) &&
        !base::Exists(dir_ + "/memory.swap.max")) {
      return absl::OkStatus();
    }
    return status;
  }

  absl::Status Memory() const {
    const auto& memory = resources_.memory;
    std::optional<int64_t> limit = memory.limit;
    if (!limit && memory.swap.value_or(0) > 0) {  // an update of swap alone
      uint64_t now = ReadCgroupNumber(dir_, "memory.max");
      limit = now == UINT64_MAX ? -1 : static_cast<int64_t>(now);
    }
    GANTRY_ASSIGN_OR_RETURN(std::optional<uint64_t> swap, SwapLimitV2(resources_, limit));
    if (swap) GANTRY_RETURN_IF_ERROR(SetSwap(*swap));
    if (memory.limit && *memory.limit != 0) {
      if (memory.check_before_update && *memory.limit > 0 &&
          ReadCgroupNumber(dir_, "memory.current") > static_cast<uint64_t>(*memory.limit)) {
        return absl::FailedPreconditionError("the memory in use is above the new limit");
      }
      GANTRY_RETURN_IF_ERROR(Set("memory.max", LimitText(*memory.limit)));
    }
    if (memory.reservation && *memory.reservation != 0) {
      return Set("memory.low", LimitText(*memory.reservation));
    }
    return absl::OkStatus();
  }

  absl::Status Cpu() const {
    const auto& cpu = resources_.cpu;
    if (cpu.idle) GANTRY_RETURN_IF_ERROR(Set("cpu.idle", absl::StrCat(*cpu.idle)));
    if (cpu.shares && *cpu.shares != 0 && cpu.idle.value_or(0) == 0) {
      GANTRY_RETURN_IF_ERROR(Set("cpu.weight", absl::StrCat(SharesToWeight(*cpu.shares))));
    }
    // The burst may not pass the quota at any moment: which first depends on the direction.
    absl::Status burst;
    if (cpu.burst) burst = Set("cpu.max.burst", absl::StrCat(*cpu.burst));
    if (cpu.quota.value_or(0) != 0 || cpu.period.value_or(0) != 0) {
      std::string now = ReadCgroupFile(dir_, "cpu.max").value_or("");
      std::string text = cpu.quota.value_or(0) > 0 ? absl::StrCat(*cpu.quota)
                         : cpu.quota.value_or(0) < 0 || now.empty()
                             ? "max"
                             : now.substr(0, now.find(' '));  // the period alone changes
      if (cpu.period.value_or(0) != 0) absl::StrAppend(&text, " ", *cpu.period);
      GANTRY_RETURN_IF_ERROR(Set("cpu.max", text));
    }
    if (!burst.ok()) GANTRY_RETURN_IF_ERROR(Set("cpu.max.burst", absl::StrCat(*cpu.burst)));
    if (!cpu.cpus.empty()) GANTRY_RETURN_IF_ERROR(Set("cpuset.cpus", cpu.cpus));
    if (!cpu.mems.empty()) GANTRY_RETURN_IF_ERROR(Set("cpuset.mems", cpu.mems));
    return absl::OkStatus();
  }

  absl::Status Io() const {
    const auto& io = resources_.block_io;
    bool bfq = base::Exists(dir_ + "/io.bfq.weight");
    const char* file = bfq ? "io.bfq.weight" : "io.weight";
    auto weight = [bfq](uint16_t value) { return bfq ? value : BlkioToIoWeight(value); };
    if (io.weight && *io.weight != 0) {
      GANTRY_RETURN_IF_ERROR(Set(file, absl::StrCat(weight(*io.weight))));
    }
    for (const BlockWeight& w : io.weight_devices) {
      if (!w.weight) continue;
      GANTRY_RETURN_IF_ERROR(
          Set(file, absl::StrCat(w.major, ":", w.minor, " ", weight(*w.weight))));
    }
    const std::pair<const char*, const std::vector<BlockThrottle>*> kThrottles[] = {
        {"rbps", &io.read_bps},
        {"wbps", &io.write_bps},
        {"riops", &io.read_iops},
        {"wiops", &io.write_iops}};
    for (const auto& [key, throttles] : kThrottles) {
      for (const BlockThrottle& t : *throttles) {
        std::string rate = t.rate == 0 ? "max" : absl::StrCat(t.rate);
        GANTRY_RETURN_IF_ERROR(
            Set("io.max", absl::StrCat(t.major, ":", t.minor, " ", key, "=", rate)));
      }
    }
    return absl::OkStatus();
  }

  absl::Status Rest() const {
    if (resources_.pids_limit && *resources_.pids_limit != 0) {
      GANTRY_RETURN_IF_ERROR(Set("pids.max", LimitText(*resources_.pids_limit)));
    }
    for (const auto& [size, limit] : resources_.hugepage_limits) {
      std::string prefix = absl::StrCat("hugetlb.", size);
      GANTRY_RETURN_IF_ERROR(Set(prefix + ".max", absl::StrCat(limit)));
      // With the reservation limited too a mapping too large fails in mmap, not by SIGBUS.
      if (base::Exists(absl::StrCat(dir_, "/", prefix, ".rsvd.max"))) {
        GANTRY_RETURN_IF_ERROR(Set(prefix + ".rsvd.max", absl::StrCat(limit)));
      }
    }
    for (const auto& [device, limits] : resources_.rdma) {
      std::string text = device;
      if (limits.first) absl::StrAppend(&text, " hca_handle=", *limits.first);
      if (limits.second) absl::StrAppend(&text, " hca_object=", *limits.second);
      GANTRY_RETURN_IF_ERROR(Set("rdma.max", text));
    }
    for (const auto& [file, value] : resources_.unified) {
      // Files with several lines ("io.max") take one line a write.
      for (absl::string_view line : absl::StrSplit(value, '\n', absl::SkipEmpty())) {
        GANTRY_RETURN_IF_ERROR(Set(file, line));
      }
    }
    return absl::OkStatus();
  }

  const std::string& dir_;
  const Resources& resources_;
};

}  // namespace

uint64_t SharesToWeight(uint64_t shares) {
  shares = std::clamp<uint64_t>(shares, 2, 262144);
  return 1 + (shares - 2) * 9999 / 262142;
}

uint64_t BlkioToIoWeight(uint64_t weight) {
  weight = std::clamp<uint64_t>(weight, 10, 1000);
  return 1 + (weight - 10) * 9999 / 990;
}

absl::StatusOr<std::optional<uint64_t>> SwapLimitV2(const Resources& resources,
                                                    std::optional<int64_t> limit) {
  const auto& memory = resources.memory;
  int64_t sum = memory.swap.value_or(0);
  if (sum < 0 || (sum == 0 && memory.limit == -1)) return UINT64_MAX;
  if (sum == 0) return std::nullopt;
  if (limit.value_or(0) <= 0 || sum < *limit) {
    return absl::InvalidArgumentError(
        "linux.resources.memory.swap: needs a memory limit that is not larger");
  }
  return static_cast<uint64_t>(sum - *limit);
}

absl::Status ApplyLimitsV2(const std::string& dir, const Resources& resources) {
  return Limits(dir, resources).Apply();
}

}  // namespace gantry::oci
