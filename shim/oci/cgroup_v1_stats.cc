#include "shim/oci/cgroup_v1_stats.h"

#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "shim/oci/cgroup.h"

namespace gantry::oci {
namespace {

void ReadCpu(const std::string& dir, MetricsV1* out) {
  auto keys = ReadCgroupKeys(dir, "cpu.stat");
  out->throttling_periods = keys["nr_periods"];
  out->throttled_periods = keys["nr_throttled"];
  out->throttled_time = keys["throttled_time"];
  out->has_cpu = true;
}

void ReadCpuAccount(const std::string& dir, MetricsV1* out) {
  out->cpu_total = ReadCgroupNumber(dir, "cpuacct.usage");
  auto keys = ReadCgroupKeys(dir, "cpuacct.stat");
  const uint64_t tick = 1000000000ull / static_cast<uint64_t>(sysconf(_SC_CLK_TCK));
  out->cpu_user = keys["user"] * tick;
  out->cpu_kernel = keys["system"] * tick;
  std::string per_cpu = ReadCgroupFile(dir, "cpuacct.usage_percpu").value_or("");
  for (absl::string_view field : absl::StrSplit(per_cpu, ' ', absl::SkipWhitespace())) {
    uint64_t number = 0;
    if (absl::SimpleAtoi(field, &number)) out->cpu_per_cpu.push_back(number);
  }
  out->has_cpu = true;
}

MemoryEntry ReadMemoryEntry(const std::string& dir, const char* prefix) {
  MemoryEntry entry;
  entry.present = base::Exists(absl::StrCat(dir, "/", prefix, ".usage_in_bytes"));
  if (!entry.present) return entry;
  entry.usage = ReadCgroupNumber(dir, absl::StrCat(prefix, ".usage_in_bytes"));
  entry.max = ReadCgroupNumber(dir, absl::StrCat(prefix, ".max_usage_in_bytes"));
  entry.limit = ReadCgroupNumber(dir, absl::StrCat(prefix, ".limit_in_bytes"));
  entry.failcnt = ReadCgroupNumber(dir, absl::StrCat(prefix, ".failcnt"));
  return entry;
}

void ReadMemory(const std::string& dir, MetricsV1* out) {
  out->memory_stat = ReadCgroupKeys(dir, "memory.stat");
  out->usage = ReadMemoryEntry(dir, "memory");
  out->swap = ReadMemoryEntry(dir, "memory.memsw");
  out->kernel = ReadMemoryEntry(dir, "memory.kmem");
  out->kernel_tcp = ReadMemoryEntry(dir, "memory.kmem.tcp");
  out->has_memory = out->usage.present;
  auto oom = ReadCgroupKeys(dir, "memory.oom_control");
  out->has_oom = !oom.empty();
  out->oom_kill_disable = oom["oom_kill_disable"];
  out->under_oom = oom["under_oom"];
  out->oom_kill = oom["oom_kill"];
}

// "8:0 Read 4096", "8:0 4096", and a last line "Total 4096".
std::vector<BlkioEntry> ReadBlkioFile(const std::string& dir, absl::string_view file) {
  std::vector<BlkioEntry> entries;
  std::string text = ReadCgroupFile(dir, file).value_or("");
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    std::vector<absl::string_view> fields =
        absl::StrSplit(line, absl::ByAnyChar(" :"), absl::SkipEmpty());
    BlkioEntry entry;
    if (fields.size() < 3 || !absl::SimpleAtoi(fields[0], &entry.major) ||
        !absl::SimpleAtoi(fields[1], &entry.minor) ||
        !absl::SimpleAtoi(fields.back(), &entry.value)) {
      continue;
    }
    if (fields.size() == 4) entry.op = std::string(fields[2]);
    entries.push_back(std::move(entry));
  }
  return entries;
}

void ReadBlkio(const std::string& dir, MetricsV1* out) {
  out->has_blkio = true;
  // The scheduler's own counters exist with BFQ or old CFQ; throttle's always.
  out->io_serviced = ReadBlkioFile(dir, "blkio.io_serviced_recursive");
  if (out->io_serviced.empty()) {
    out->io_service_bytes = ReadBlkioFile(dir, "blkio.throttle.io_service_bytes_recursive");
    out->io_serviced = ReadBlkioFile(dir, "blkio.throttle.io_serviced_recursive");
    return;
  }
  out->io_service_bytes = ReadBlkioFile(dir, "blkio.io_service_bytes_recursive");
  out->io_queued = ReadBlkioFile(dir, "blkio.io_queued_recursive");
  out->io_service_time = ReadBlkioFile(dir, "blkio.io_service_time_recursive");
  out->io_wait_time = ReadBlkioFile(dir, "blkio.io_wait_time_recursive");
  out->io_merged = ReadBlkioFile(dir, "blkio.io_merged_recursive");
  out->io_time = ReadBlkioFile(dir, "blkio.time_recursive");
  out->sectors = ReadBlkioFile(dir, "blkio.sectors_recursive");
}

void ReadHugetlb(const std::string& dir, MetricsV1* out) {
  auto names = base::ListDir(dir);
  for (absl::string_view name : names.ok() ? *names : std::vector<std::string>()) {
    if (!absl::ConsumePrefix(&name, "hugetlb.") || !absl::ConsumeSuffix(&name, ".usage_in_bytes") ||
        absl::StrContains(name, '.')) {
      continue;
    }
    std::string prefix = absl::StrCat("hugetlb.", name, ".");
    out->hugetlb.push_back({std::string(name), ReadCgroupNumber(dir, prefix + "usage_in_bytes"),
                            ReadCgroupNumber(dir, prefix + "max_usage_in_bytes"),
                            ReadCgroupNumber(dir, prefix + "failcnt")});
  }
}

}  // namespace

void ReadStatsV1(absl::string_view controller, const std::string& dir, MetricsV1* out) {
  if (controller == "cpu") {
    ReadCpu(dir, out);
  } else if (controller == "cpuacct") {
    ReadCpuAccount(dir, out);
  } else if (controller == "memory") {
    ReadMemory(dir, out);
  } else if (controller == "blkio") {
    ReadBlkio(dir, out);
  } else if (controller == "hugetlb") {
    ReadHugetlb(dir, out);
  } else if (controller == "rdma") {
    out->rdma_current = ReadRdma(dir, "rdma.current");
    out->rdma_limit = ReadRdma(dir, "rdma.max");
  } else if (controller == "pids") {
    out->has_pids = true;
    out->pids_current = ReadCgroupNumber(dir, "pids.current");
    uint64_t limit = ReadCgroupNumber(dir, "pids.max");
    out->pids_limit = limit == UINT64_MAX ? 0 : limit;
  }
}

}  // namespace gantry::oci
