// stats.

#include <unistd.h>

#include <map>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "client/any.h"
#include "client/container.h"
#include "containerd/services/tasks/v1/tasks.methods.h"
#include "ctl/container_commands.h"
#include "ctl/output.h"
#include "io/containerd/cgroups/v1.pb.h"
#include "io/containerd/cgroups/v2.pb.h"

namespace gantry::ctl {
namespace {

namespace tasks = containerd::services::tasks::v1;
namespace v1 = ::io::containerd::cgroups::v1;
namespace v2 = ::io::containerd::cgroups::v2;

// A limit beyond this is none.
constexpr uint64_t kNoLimit = uint64_t{1} << 60;

struct Usage {
  uint64_t cpu_ns = 0;
  uint64_t memory = 0;
  uint64_t memory_limit = 0;
  uint64_t pids = 0;
  uint64_t pids_limit = 0;
};

std::optional<Usage> Decode(const google::protobuf::Any& data) {
  Usage usage;
  if (v1::Metrics metrics; client::UnpackAny(data, &metrics)) {
    usage.cpu_ns = metrics.cpu().usage().total();
    uint64_t all = metrics.memory().usage().usage();
    // What the kernel can take back at once is not used.
    uint64_t inactive = metrics.memory().total_inactive_file();
    usage.memory = all > inactive ? all - inactive : 0;
    usage.memory_limit = metrics.memory().usage().limit();
    usage.pids = metrics.pids().current();
    usage.pids_limit = metrics.pids().limit();
    return usage;
  }
  v2::Metrics metrics;
  if (!client::UnpackAny(data, &metrics)) return std::nullopt;
  usage.cpu_ns = metrics.cpu().usage_usec() * 1000;
  uint64_t inactive = metrics.memory().inactive_file();
  usage.memory = metrics.memory().usage() > inactive ? metrics.memory().usage() - inactive : 0;
  usage.memory_limit = metrics.memory().usage_limit();
  usage.pids = metrics.pids().current();
  usage.pids_limit = metrics.pids().limit();
  return usage;
}

using Sample = std::map<std::string, Usage>;

absl::StatusOr<Sample> Take(const client::Connection& connection, const std::string& only) {
  tasks::MetricsRequest request;
  if (!only.empty()) request.add_filters(absl::StrCat("id==\"", only, "\""));
  tasks::MetricsResponse response;
  GANTRY_RETURN_IF_ERROR(
      connection.Call(tasks::TasksMethods::kMetrics, request, &response, absl::Seconds(30)));
  Sample sample;
  for (const auto& metric : response.metrics()) {
    if (!only.empty() && metric.id() != only) continue;
    if (auto usage = Decode(metric.data())) sample[metric.id()] = *usage;
  }
  return sample;
}

std::string Limit(uint64_t value, bool bytes) {
  if (value == 0 || value >= kNoLimit) return "-";
  return bytes ? FormatBytes(static_cast<int64_t>(value)) : absl::StrCat(value);
}

Listing MakeListing(const Sample& before, const Sample& now, absl::Duration between) {
  Listing listing;
  listing.header = {"ID", "CPU", "MEMORY", "LIMIT", "PIDS", "LIMIT"};
  for (const auto& [id, usage] : now) {
    auto old = before.find(id);
    double cpu = 0;
    if (old != before.end() && usage.cpu_ns >= old->second.cpu_ns) {
      cpu = static_cast<double>(usage.cpu_ns - old->second.cpu_ns) /
            absl::ToDoubleNanoseconds(between) * 100;
    }
    listing.rows.push_back({ShortId(id), absl::StrFormat("%.1f %%", cpu),
                            FormatBytes(static_cast<int64_t>(usage.memory)),
                            Limit(usage.memory_limit, true), absl::StrCat(usage.pids),
                            Limit(usage.pids_limit, false)});
    listing.ids.push_back(id);
    listing.json.push_back({{"id", id},
                            {"cpuPercent", cpu},
                            {"cpuNanoseconds", usage.cpu_ns},
                            {"memoryBytes", usage.memory},
                            {"memoryLimitBytes", usage.memory_limit},
                            {"pids", usage.pids},
                            {"pidsLimit", usage.pids_limit}});
  }
  return listing;
}

absl::StatusOr<int> Stats(const Invocation& call) {
  GANTRY_RETURN_IF_ERROR(CheckCount(call, 0, 1, "at most one container"));
  GANTRY_ASSIGN_OR_RETURN(Format format, ListFormat(call.args));
  std::string only;
  if (!call.args.positional().empty()) {
    GANTRY_ASSIGN_OR_RETURN(client::ContainerRecord record,
                            client::FindContainer(call.connection, call.args.positional()[0]));
    only = record.id();
  }
  bool once = call.args.Bool("no-stream") || format != Format::kTable || !isatty(STDOUT_FILENO);
  // A first picture soon, then one a second.
  absl::Duration interval = absl::Milliseconds(200);
  GANTRY_ASSIGN_OR_RETURN(Sample before, Take(call.connection, only));
  absl::Time then = absl::Now();
  while (true) {
    absl::SleepFor(interval);
    GANTRY_ASSIGN_OR_RETURN(Sample now, Take(call.connection, only));
    absl::Time time = absl::Now();
    if (!once) PrintOut("\x1b[H\x1b[2J");
    PrintListing(MakeListing(before, now, time - then), format);
    fflush(stdout);
    if (once) return 0;
    before = std::move(now);
    then = time;
    interval = absl::Seconds(1);
  }
}

}  // namespace

std::vector<Command> StatsCommands() {
  return {{"stats", "Containers", "[FLAGS] [CONTAINER]", "Show what containers use",
           "gantryctl stats\ngantryctl stats --no-stream --format json",
           ListFlags({{"no-stream", '\0', FlagKind::kBool, "", "once"}}), Stats}};
}

}  // namespace gantry::ctl
