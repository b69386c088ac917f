#include "shim/oci/cgroup_v2_stats.h"

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "shim/oci/cgroup.h"

namespace gantry::oci {
namespace {

std::vector<MetricsV2::Io> ReadIo(const std::string& dir) {
  std::vector<MetricsV2::Io> entries;
  std::string text = ReadCgroupFile(dir, "io.stat").value_or("");
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    std::vector<absl::string_view> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (fields.size() < 2) continue;
    MetricsV2::Io io;
    std::pair<absl::string_view, absl::string_view> device = absl::StrSplit(fields[0], ':');
    if (!absl::SimpleAtoi(device.first, &io.major) || !absl::SimpleAtoi(device.second, &io.minor)) {
      continue;
    }
    for (size_t i = 1; i < fields.size(); ++i) {
      std::pair<absl::string_view, absl::string_view> pair = absl::StrSplit(fields[i], '=');
      uint64_t number = 0;
      if (!absl::SimpleAtoi(pair.second, &number)) continue;
      if (pair.first == "rbytes") io.rbytes = number;
      if (pair.first == "wbytes") io.wbytes = number;
      if (pair.first == "rios") io.rios = number;
      if (pair.first == "wios") io.wios = number;
    }
    entries.push_back(io);
  }
  return entries;
}

std::vector<HugetlbEntry> ReadHugetlb(const std::string& dir) {
  std::vector<HugetlbEntry> entries;
  auto names = base::ListDir(dir);
  for (absl::string_view name : names.ok() ? *names : std::vector<std::string>()) {
    if (!absl::ConsumePrefix(&name, "hugetlb.") || !absl::ConsumeSuffix(&name, ".current") ||
        absl::StrContains(name, '.')) {
      continue;
    }
    std::string prefix = absl::StrCat("hugetlb.", name, ".");
    entries.push_back({std::string(name), ReadCgroupNumber(dir, prefix + "current"),
                       ReadCgroupNumber(dir, prefix + "max"),
                       ReadCgroupKeys(dir, prefix + "events")["max"]});
  }
  return entries;
}

}  // namespace

MetricsV2 ReadStatsV2(const std::string& dir) {
  MetricsV2 out;
  out.cpu_stat = ReadCgroupKeys(dir, "cpu.stat");
  out.has_cpu = !out.cpu_stat.empty();
  out.memory_stat = ReadCgroupKeys(dir, "memory.stat");
  out.has_memory = !out.memory_stat.empty();
  out.memory_events = ReadCgroupKeys(dir, "memory.events");
  out.memory_usage = ReadCgroupNumber(dir, "memory.current");
  out.memory_limit = ReadCgroupNumber(dir, "memory.max");
  out.memory_max_usage = ReadCgroupNumber(dir, "memory.peak");
  out.swap_usage = ReadCgroupNumber(dir, "memory.swap.current");
  out.swap_limit = ReadCgroupNumber(dir, "memory.swap.max");
  out.swap_max_usage = ReadCgroupNumber(dir, "memory.swap.peak");
  out.has_pids = base::Exists(dir + "/pids.current");
  out.pids_current = ReadCgroupNumber(dir, "pids.current");
  uint64_t limit = ReadCgroupNumber(dir, "pids.max");
  out.pids_limit = limit == UINT64_MAX ? 0 : limit;
  out.io = ReadIo(dir);
  out.has_io = base::Exists(dir + "/io.stat");
  out.hugetlb = ReadHugetlb(dir);
  out.rdma_current = ReadRdma(dir, "rdma.current");
  out.rdma_limit = ReadRdma(dir, "rdma.max");
  return out;
}

}  // namespace gantry::oci
