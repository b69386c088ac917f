#include "services/supervisor/metrics.h"

#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"

namespace gantry::services {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using Collector = std::function<std::vector<Metric>()>;

constexpr auto kPatience = std::chrono::seconds(5);

// One request on one connection, then the end.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(asio::ip::tcp::socket socket, const Collector& collect)
      : stream_(std::move(socket)), collect_(collect) {
    parser_.header_limit(8192);
    parser_.body_limit(8192);
  }

  void Run() {
    stream_.expires_after(kPatience);
    http::async_read(stream_, buffer_, parser_,
                     [self = shared_from_this()](beast::error_code error, std::size_t) {
                       if (!error) self->Answer();
                     });
  }

 private:
  void Answer() {
    const auto& request = parser_.get();
    response_.version(11);
    response_.keep_alive(false);
    response_.set(http::field::content_type, "text/plain; version=0.0.4; charset=utf-8");
    if (request.method() != http::verb::get) {
      response_.result(http::status::method_not_allowed);
    } else if (request.target() != "/v1/metrics" && request.target() != "/metrics") {
      response_.result(http::status::not_found);
    } else {
      response_.body() = FormatMetrics(collect_());
    }
    response_.prepare_payload();
    stream_.expires_after(kPatience);
    http::async_write(
        stream_, response_, [self = shared_from_this()](beast::error_code, std::size_t) {
          beast::error_code ignored;
          self->stream_.socket().shutdown(asio::ip::tcp::socket::shutdown_both, ignored);
        });
  }

  beast::tcp_stream stream_;
  const Collector& collect_;
  beast::flat_buffer buffer_{16384};
  http::request_parser<http::string_body> parser_;
  http::response<http::string_body> response_;
};

class BeastMetricsServer final : public MetricsServer {
 public:
  explicit BeastMetricsServer(Collector collect) : collect_(std::move(collect)) {}
  ~BeastMetricsServer() override {
    context_.stop();
    if (thread_.joinable()) thread_.join();
  }

  absl::Status Listen(const std::string& host, uint16_t port) {
    beast::error_code error;
    asio::ip::tcp::endpoint endpoint(asio::ip::make_address(host, error), port);
    if (error) {
      return absl::InvalidArgumentError(
          absl::StrCat("metrics address: \"", host, "\" is not a numeric host"));
    }
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(asio::socket_base::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(16, error);
    if (error) return absl::UnavailableError(absl::StrCat("metrics address: ", error.message()));
    Accept();
    thread_ = std::thread([this] { context_.run(); });
    return absl::OkStatus();
  }

  uint16_t port() const override { return acceptor_.local_endpoint().port(); }

 private:
  void Accept() {
    acceptor_.async_accept([this](beast::error_code error, asio::ip::tcp::socket socket) {
      if (!error) std::make_shared<Session>(std::move(socket), collect_)->Run();
      if (acceptor_.is_open()) Accept();
    });
  }

  Collector collect_;
  asio::io_context context_{1};
  asio::ip::tcp::acceptor acceptor_{context_};
  std::thread thread_;
};

}  // namespace

std::string FormatMetrics(const std::vector<Metric>& metrics) {
  std::string out;
  for (const Metric& metric : metrics) {
    absl::StrAppend(&out, "# HELP ", metric.name, " ", metric.help, "\n# TYPE ", metric.name, " ",
                    metric.type, "\n", metric.name, " ", metric.value, "\n");
  }
  return out;
}

std::vector<Metric> ProcessMetrics() {
  std::vector<Metric> metrics;
  if (auto statm = base::ReadFile("/proc/self/statm"); statm.ok()) {
    std::vector<std::string> fields = absl::StrSplit(*statm, ' ');
    double pages = 0;
    if (fields.size() > 1 && absl::SimpleAtod(fields[1], &pages)) {
      metrics.push_back({"process_resident_memory_bytes", "Resident memory size in bytes.", "gauge",
                         pages * static_cast<double>(sysconf(_SC_PAGESIZE))});
    }
  }
  timespec cpu = {};
  if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu) == 0) {
    metrics.push_back({"process_cpu_seconds_total", "User and system CPU time spent in seconds.",
                       "counter",
                       static_cast<double>(cpu.tv_sec) + 1e-9 * static_cast<double>(cpu.tv_nsec)});
  }
  if (auto fds = base::ListDir("/proc/self/fd"); fds.ok()) {
    metrics.push_back({"process_open_fds", "Number of open file descriptors.", "gauge",
                       static_cast<double>(fds->size())});
  }
  if (auto threads = base::ListDir("/proc/self/task"); threads.ok()) {
    metrics.push_back(
        {"process_threads", "Number of threads.", "gauge", static_cast<double>(threads->size())});
  }
  return metrics;
}

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(
    const std::string& address, std::function<std::vector<Metric>()> collect) {
  size_t colon = address.rfind(':');
  uint32_t port = 0;
  if (colon == std::string::npos || !absl::SimpleAtoi(address.substr(colon + 1), &port) ||
      port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("metrics address \"", address, "\" is not HOST:PORT"));
  }
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  auto server = std::make_unique<BeastMetricsServer>(std::move(collect));
  GANTRY_RETURN_IF_ERROR(
      server->Listen(host.empty() ? "0.0.0.0" : host, static_cast<uint16_t>(port)));
  return server;
}

}  // namespace gantry::services
