#ifndef GANTRY_SERVICES_SUPERVISOR_METRICS_H_
#define GANTRY_SERVICES_SUPERVISOR_METRICS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace gantry::services {

struct Metric {
  std::string name;  // Prometheus name, e.g. "gantry_containers"
  std::string help;
  std::string type;  // "gauge" or "counter"
  double value = 0;
};

// Metrics in the text format of Prometheus, exposition version 0.0.4.
std::string FormatMetrics(const std::vector<Metric>& metrics);

// What every process can say of itself: resident memory, CPU seconds, open descriptors, threads.
std::vector<Metric> ProcessMetrics();

// Serves GET /v1/metrics (containerd's path) and /metrics over plain HTTP on one thread of its own;
// slow clients are cut off after 5 s. Stops when destroyed.
class MetricsServer {
 public:
  // `address` is HOST:PORT with a numeric host; port 0 picks one. InvalidArgument for anything
  // else, Unavailable when it cannot be bound. `collect` is called for each request on the server's
  // thread.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(
      const std::string& address, std::function<std::vector<Metric>()> collect);
  virtual ~MetricsServer() = default;
  virtual uint16_t port() const = 0;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_SUPERVISOR_METRICS_H_
