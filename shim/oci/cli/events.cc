#include <poll.h>
#include <stdio.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/json.h"
#include "base/status.h"
#include "shim/oci/cli/commands.h"

namespace gantry::oci {
namespace {

base::Json Entry(const MemoryEntry& entry) {
  return {{"limit", entry.limit},
          {"usage", entry.usage},
          {"max", entry.max},
          {"failcnt", entry.failcnt}};
}

base::Json Blkio(const std::vector<BlkioEntry>& entries) {
  base::Json list = base::Json::array();
  for (const BlkioEntry& entry : entries) {
    list.push_back(
        {{"major", entry.major}, {"minor", entry.minor}, {"op", entry.op}, {"value", entry.value}});
  }
  return list;
}

base::Json Hugetlb(const std::vector<HugetlbEntry>& entries) {
  base::Json all = base::Json::object();
  for (const HugetlbEntry& entry : entries) {
    all[entry.page_size] = {{"usage", entry.usage}, {"max", entry.max}, {"failcnt", entry.failcnt}};
  }
  return all;
}

base::Json Pids(uint64_t current, uint64_t limit) {
  base::Json pids = {{"current", current}};
  if (limit != 0) pids["limit"] = limit;
  return pids;
}

base::Json DataOf(const MetricsV1& m) {
  base::Json data;
  data["cpu"] = {{"usage",
                  {{"total", m.cpu_total},
                   {"percpu", m.cpu_per_cpu},
                   {"kernel", m.cpu_kernel},
                   {"user", m.cpu_user}}},
                 {"throttling",
                  {{"periods", m.throttling_periods},
                   {"throttledPeriods", m.throttled_periods},
                   {"throttledTime", m.throttled_time}}}};
  auto cache = m.memory_stat.find("cache");
  data["memory"] = {{"cache", cache == m.memory_stat.end() ? 0 : cache->second},
                    {"usage", Entry(m.usage)},
                    {"swap", Entry(m.swap)},
                    {"kernel", Entry(m.kernel)},
                    {"kernelTCP", Entry(m.kernel_tcp)},
                    {"raw", m.memory_stat}};
  data["pids"] = Pids(m.pids_current, m.pids_limit);
  data["blkio"] = {{"ioServiceBytesRecursive", Blkio(m.io_service_bytes)},
                   {"ioServicedRecursive", Blkio(m.io_serviced)},
                   {"ioQueueRecursive", Blkio(m.io_queued)},
                   {"ioServiceTimeRecursive", Blkio(m.io_service_time)},
                   {"ioWaitTimeRecursive", Blkio(m.io_wait_time)},
                   {"ioMergedRecursive", Blkio(m.io_merged)},
                   {"ioTimeRecursive", Blkio(m.io_time)},
                   {"sectorsRecursive", Blkio(m.sectors)}};
  data["hugetlb"] = Hugetlb(m.hugetlb);
  return data;
}

uint64_t Value(const std::map<std::string, uint64_t>& keys, const char* key) {
  auto found = keys.find(key);
  return found == keys.end() ? 0 : found->second;
}

base::Json DataOf(const MetricsV2& m) {
  base::Json data;
  data["cpu"] = {{"usage",
                  {{"total", Value(m.cpu_stat, "usage_usec") * 1000},
                   {"kernel", Value(m.cpu_stat, "system_usec") * 1000},
                   {"user", Value(m.cpu_stat, "user_usec") * 1000}}},
                 {"throttling",
                  {{"periods", Value(m.cpu_stat, "nr_periods")},
                   {"throttledPeriods", Value(m.cpu_stat, "nr_throttled")},
                   {"throttledTime", Value(m.cpu_stat, "throttled_usec") * 1000}}}};
  MemoryEntry usage, swap;
  usage.limit = m.memory_limit;
  usage.usage = m.memory_usage;
  usage.max = m.memory_max_usage;
  usage.failcnt = Value(m.memory_events, "max");
  swap.limit = m.swap_limit;
  swap.usage = m.swap_usage;
  swap.max = m.swap_max_usage;
  data["memory"] = {{"cache", Value(m.memory_stat, "file")},
                    {"usage", Entry(usage)},
                    {"swap", Entry(swap)},
                    {"raw", m.memory_stat}};
  data["pids"] = Pids(m.pids_current, m.pids_limit);
  base::Json bytes = base::Json::array(), operations = base::Json::array();
  for (const MetricsV2::Io& io : m.io) {
    auto add = [&io](base::Json* list, const char* op, uint64_t value) {
      list->push_back({{"major", io.major}, {"minor", io.minor}, {"op", op}, {"value", value}});
    };
    add(&bytes, "Read", io.rbytes);
    add(&bytes, "Write", io.wbytes);
    add(&operations, "Read", io.rios);
    add(&operations, "Write", io.wios);
  }
  data["blkio"] = {{"ioServiceBytesRecursive", bytes}, {"ioServicedRecursive", operations}};
  data["hugetlb"] = Hugetlb(m.hugetlb);
  return data;
}

void Print(absl::string_view type, const std::string& id, base::Json data) {
  base::Json event;
  event["type"] = std::string(type);
  event["id"] = id;
  if (!data.is_null()) event["data"] = std::move(data);
  puts(base::DumpJson(event).c_str());
  fflush(stdout);
}

absl::Status PrintStats(const Container& container, const std::string& id) {
  GANTRY_ASSIGN_OR_RETURN(Metrics metrics, container.Stats());
  Print("stats", id, metrics.version == 1 ? DataOf(metrics.v1) : DataOf(metrics.v2));
  return absl::OkStatus();
}

// Statistics every `interval` and every out-of-memory kill, until the container has stopped.
absl::Status Follow(const Record& record, Container* container, absl::Duration interval) {
  auto oom = container->WatchOom();
  absl::Time next = absl::Now();
  while (true) {
    GANTRY_ASSIGN_OR_RETURN(std::string status, record.Status());
    if (status == "stopped") return absl::OkStatus();
    if (absl::Now() >= next) {
      GANTRY_RETURN_IF_ERROR(PrintStats(*container, record.options.id));
      next = absl::Now() + interval;
    }
    // The end of the container shows in its state, looked at every second.
    absl::Duration pause = std::min(next - absl::Now(), absl::Seconds(1));
    pollfd wait = {oom.ok() ? (*oom)->fd() : -1, POLLIN, 0};
    int timeout = static_cast<int>(absl::ToInt64Milliseconds(pause)) + 1;
    if (poll(&wait, 1, std::max(timeout, 0)) > 0 && (*oom)->Drain()) {
      Print("oom", record.options.id, base::Json());
    }
  }
}

absl::StatusOr<int> RunEvents(const Globals& globals, const Args& args) {
  GANTRY_ASSIGN_OR_RETURN(std::string id, IdOf(args));
  absl::Duration interval;
  std::string text = args.Get("interval", "5s");
  if (!absl::ParseDuration(text, &interval) || interval <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--interval \"", text, "\": needs a duration greater than 0, as in 5s"));
  }
  GANTRY_ASSIGN_OR_RETURN(Record record, Store(globals.root).Load(id));
  GANTRY_ASSIGN_OR_RETURN(std::string status, record.Status());
  if (status == "stopped") {
    return absl::FailedPreconditionError(absl::StrCat("container with id ", id, " is not running"));
  }
  GANTRY_ASSIGN_OR_RETURN(std::unique_ptr<Container> container, record.Open());
  GANTRY_RETURN_IF_ERROR(args.Has("stats") ? PrintStats(*container, id)
                                           : Follow(record, container.get(), interval));
  return 0;
}

}  // namespace

Command EventsCommand() {
  return {"events",
          "[--stats] [--interval 5s] ID",
          {{"stats", 0, false}, {"interval", 0, true}},
          RunEvents,
          false};
}

}  // namespace gantry::oci
