#include "docker/containers/stats.h"

#include <unistd.h>

#include <atomic>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/status.h"
#include "client/any.h"
#include "containerd/services/tasks/v1/tasks.methods.h"
#include "docker/containers/lookup.h"
#include "io/containerd/cgroups/v1.pb.h"
#include "io/containerd/cgroups/v2.pb.h"

namespace gantry::docker {
namespace {

namespace tasks = containerd::services::tasks::v1;
namespace v1 = ::io::containerd::cgroups::v1;
namespace v2 = ::io::containerd::cgroups::v2;
using base::OrderedJson;

constexpr absl::Duration kInterval = absl::Seconds(1);
// A limit beyond this is none: the machine's memory is what there is.
constexpr uint64_t kNoLimit = uint64_t{1} << 60;
constexpr char kZeroTime[] = "0001-01-01T00:00:00Z";

OrderedJson CpuUsage(uint64_t total, uint64_t kernel, uint64_t user) {
  return {{"total_usage", total}, {"usage_in_kernelmode", kernel}, {"usage_in_usermode", user}};
}

OrderedJson Throttling(uint64_t periods, uint64_t throttled, uint64_t time) {
  return {{"periods", periods}, {"throttled_periods", throttled}, {"throttled_time", time}};
}

uint64_t MemoryOfMachine() {
  return static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) *
         static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

// Nanoseconds of all processors since boot.
uint64_t SystemUsage() {
  auto stat = base::ReadFile("/proc/stat");
  if (!stat.ok()) return 0;
  std::vector<absl::string_view> words =
      absl::StrSplit(stat->substr(0, stat->find('\n')), ' ', absl::SkipEmpty());
  uint64_t ticks = 0;
  for (size_t i = 1; i < words.size() && i < 8; ++i) {
    uint64_t value = 0;
    if (absl::SimpleAtoi(words[i], &value)) ticks += value;
  }
  return ticks * (1'000'000'000 / static_cast<uint64_t>(sysconf(_SC_CLK_TCK)));
}

OrderedJson BlockEntries(const google::protobuf::RepeatedPtrField<v1::BlkIOEntry>& entries) {
  OrderedJson list = OrderedJson::array();
  for (const auto& entry : entries) {
    list.push_back({{"major", entry.major()},
                    {"minor", entry.minor()},
                    {"op", entry.op()},
                    {"value", entry.value()}});
  }
  return list;
}

OrderedJson EmptyBlock() {
  OrderedJson block;
  for (const char* key :
       {"io_service_bytes_recursive", "io_serviced_recursive", "io_queue_recursive",
        "io_service_time_recursive", "io_wait_time_recursive", "io_merged_recursive",
        "io_time_recursive", "sectors_recursive"}) {
    block[key] = nullptr;
  }
  return block;
}

void FromV1(const v1::Metrics& m, OrderedJson* json) {
  uint64_t limit = m.memory().usage().limit();
  OrderedJson stats = {{"cache", m.memory().cache()},
                       {"rss", m.memory().rss()},
                       {"mapped_file", m.memory().mapped_file()},
                       {"pgfault", m.memory().pg_fault()},
                       {"pgmajfault", m.memory().pg_maj_fault()},
                       {"inactive_anon", m.memory().inactive_anon()},
                       {"active_anon", m.memory().active_anon()},
                       {"inactive_file", m.memory().inactive_file()},
                       {"active_file", m.memory().active_file()},
                       {"unevictable", m.memory().unevictable()},
                       {"total_cache", m.memory().total_cache()},
                       {"total_rss", m.memory().total_rss()},
                       {"total_inactive_file", m.memory().total_inactive_file()},
                       {"total_active_file", m.memory().total_active_file()}};
  (*json)["memory_stats"] = {
      {"usage", m.memory().usage().usage()},
      {"max_usage", m.memory().usage().max()},
      {"stats", std::move(stats)},
      {"failcnt", m.memory().usage().failcnt()},
      {"limit", limit == 0 || limit >= kNoLimit ? MemoryOfMachine() : limit}};
  OrderedJson cpu = {{"cpu_usage", CpuUsage(m.cpu().usage().total(), m.cpu().usage().kernel(),
                                            m.cpu().usage().user())}};
  OrderedJson each = OrderedJson::array();
  for (uint64_t usage : m.cpu().usage().per_cpu()) each.push_back(usage);
  if (!each.empty()) cpu["cpu_usage"]["percpu_usage"] = std::move(each);
  cpu["throttling_data"] =
      Throttling(m.cpu().throttling().periods(), m.cpu().throttling().throttled_periods(),
                 m.cpu().throttling().throttled_time());
  (*json)["cpu_stats"] = std::move(cpu);
  OrderedJson block = EmptyBlock();
  block["io_service_bytes_recursive"] = BlockEntries(m.blkio().io_service_bytes_recursive());
  block["io_serviced_recursive"] = BlockEntries(m.blkio().io_serviced_recursive());
  (*json)["blkio_stats"] = std::move(block);
  (*json)["pids_stats"] = {{"current", m.pids().current()}};
  if (m.pids().limit() > 0) (*json)["pids_stats"]["limit"] = m.pids().limit();
}

void FromV2(const v2::Metrics& m, OrderedJson* json) {
  uint64_t limit = m.memory().usage_limit();
  OrderedJson stats = {{"anon", m.memory().anon()},
                       {"file", m.memory().file()},
                       {"kernel_stack", m.memory().kernel_stack()},
                       {"slab", m.memory().slab()},
                       {"sock", m.memory().sock()},
                       {"shmem", m.memory().shmem()},
                       {"file_mapped", m.memory().file_mapped()},
                       {"inactive_anon", m.memory().inactive_anon()},
                       {"active_anon", m.memory().active_anon()},
                       {"inactive_file", m.memory().inactive_file()},
                       {"active_file", m.memory().active_file()},
                       {"unevictable", m.memory().unevictable()},
                       {"pgfault", m.memory().pgfault()},
                       {"pgmajfault", m.memory().pgmajfault()}};
  (*json)["memory_stats"] = {
      {"usage", m.memory().usage()},
      {"stats", std::move(stats)},
      {"limit", limit == 0 || limit >= kNoLimit ? MemoryOfMachine() : limit}};
  (*json)["cpu_stats"] = {
      {"cpu_usage", CpuUsage(m.cpu().usage_usec() * 1000, m.cpu().system_usec() * 1000,
                             m.cpu().user_usec() * 1000)},
      {"throttling_data",
       Throttling(m.cpu().nr_periods(), m.cpu().nr_throttled(), m.cpu().throttled_usec() * 1000)}};
  OrderedJson block = EmptyBlock();
  OrderedJson bytes = OrderedJson::array();
  for (const auto& entry : m.io().usage()) {
    for (auto [op, value] :
         {std::make_pair("read", entry.rbytes()), std::make_pair("write", entry.wbytes())}) {
      bytes.push_back(
          {{"major", entry.major()}, {"minor", entry.minor()}, {"op", op}, {"value", value}});
    }
  }
  if (!bytes.empty()) block["io_service_bytes_recursive"] = std::move(bytes);
  (*json)["blkio_stats"] = std::move(block);
  (*json)["pids_stats"] = {{"current", m.pids().current()}};
  if (m.pids().limit() > 0) (*json)["pids_stats"]["limit"] = m.pids().limit();
}

// The devices of the network namespace, as the container sees them.
OrderedJson Networks(uint32_t pid) {
  OrderedJson networks;
  auto text = base::ReadFile(absl::StrCat("/proc/", pid, "/net/dev"));
  if (!text.ok()) return networks;
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(": "), absl::SkipEmpty());
    if (words.size() < 17 || words[0] == "lo" || words[0] == "Inter-|") continue;
    auto number = [&words](size_t i) {
      uint64_t value = 0;
      return absl::SimpleAtoi(words[i], &value) ? value : 0;
    };
    networks[std::string(words[0])] = {{"rx_bytes", number(1)},   {"rx_packets", number(2)},
                                       {"rx_errors", number(3)},  {"rx_dropped", number(4)},
                                       {"tx_bytes", number(9)},   {"tx_packets", number(10)},
                                       {"tx_errors", number(11)}, {"tx_dropped", number(12)}};
  }
  return networks;
}

OrderedJson EmptyCpu() {
  return {{"cpu_usage", CpuUsage(0, 0, 0)}, {"throttling_data", Throttling(0, 0, 0)}};
}

// Takes samples of one container and writes them to one client.
class Sampler : public std::enable_shared_from_this<Sampler> {
 public:
  Sampler(const Context& context, std::string id, std::shared_ptr<http::ResponseStream> stream,
          int samples)
      : context_(context), id_(std::move(id)), stream_(std::move(stream)), left_(samples) {}

  // Negative: without end.
  void Begin(const std::shared_ptr<http::Exchange>& exchange, bool only_last) {
    only_last_ = only_last;
    exchange->OnClosed([self = shared_from_this()] { self->gone_ = true; });
    Step();
  }

 private:
  void Step() {
    if (gone_) return stream_->Finish();
    auto found = FindRecord(context_, id_);
    if (!found.ok() && !absl::IsUnavailable(found.status())) return stream_->Finish();
    if (left_ > 0) --left_;
    if (found.ok()) {
      std::string text =
          Sample(*found).dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
      bool send = !only_last_ || left_ == 0;
      if (send && !stream_->Write(std::move(text))) return;
    }
    if (left_ == 0) return stream_->Finish();
    context_.server.After(kInterval, [self = shared_from_this()] {
      self->context_.workers.Run([self] { self->Step(); });
    });
  }

  OrderedJson Sample(const gantry::services::lifecycle::v1::Container& container) {
    OrderedJson json = {{"name", absl::StrCat("/", container.policy().name())},
                        {"id", container.id()},
                        {"read", kZeroTime},
                        {"preread", last_read_},
                        {"pids_stats", OrderedJson::object()},
                        {"blkio_stats", EmptyBlock()},
                        {"num_procs", 0},
                        {"storage_stats", OrderedJson::object()},
                        {"cpu_stats", EmptyCpu()},
                        {"precpu_stats", last_cpu_},
                        {"memory_stats", OrderedJson::object()}};
    if (container.state().status() != "running" && container.state().status() != "paused") {
      return json;
    }
    json["read"] = last_read_ = base::FormatRfc3339(absl::Now());
    tasks::MetricsRequest request;
    request.add_filters(absl::StrCat("id==\"", container.id(), "\""));
    tasks::MetricsResponse response;
    if (!context_.gantryd.Call(tasks::TasksMethods::kMetrics, request, &response).ok()) return json;
    for (const auto& metric : response.metrics()) {
      v1::Metrics first;
      v2::Metrics second;
      if (metric.id() != container.id()) continue;
      if (client::UnpackAny(metric.data(), &first)) FromV1(first, &json);
      if (client::UnpackAny(metric.data(), &second)) FromV2(second, &json);
    }
    json["cpu_stats"]["system_cpu_usage"] = SystemUsage();
    json["cpu_stats"]["online_cpus"] = sysconf(_SC_NPROCESSORS_ONLN);
    last_cpu_ = json["cpu_stats"];
    if (OrderedJson networks = Networks(container.state().pid()); !networks.is_null()) {
      json["networks"] = std::move(networks);
    }
    return json;
  }

  const Context& context_;
  const std::string id_;
  const std::shared_ptr<http::ResponseStream> stream_;
  int left_;
  bool only_last_ = false;
  std::string last_read_ = kZeroTime;
  OrderedJson last_cpu_ = EmptyCpu();
  std::atomic<bool> gone_{false};
};

}  // namespace

absl::Status ContainerStats(const Context& context,
                            const std::shared_ptr<http::Exchange>& exchange) {
  GANTRY_ASSIGN_OR_RETURN(auto found, FindRecord(context, exchange->Var("name")));
  bool stream = exchange->query().Bool("stream", true);
  bool one_shot = exchange->query().Bool("one-shot");
  if (stream && one_shot) {
    return absl::InvalidArgumentError("cannot have stream=true and one-shot=true");
  }
  auto answer = exchange->StartStream(200, "application/json");
  if (answer == nullptr) return absl::OkStatus();
  // One sample alone says nothing about a rate: without one-shot a second one is waited for.
  int samples = stream ? -1 : one_shot ? 1 : 2;
  std::make_shared<Sampler>(context, found.id(), std::move(answer), samples)
      ->Begin(exchange, /*only_last=*/!stream);
  return absl::OkStatus();
}

}  // namespace gantry::docker
