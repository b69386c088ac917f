#ifndef GANTRY_SERVICES_TASKS_SHIM_LOG_H_
#define GANTRY_SERVICES_TASKS_SHIM_LOG_H_

#include <memory>
#include <string>

#include "absl/status/status.h"

namespace gantry::services {

// Copies what shims write into the fifo `log` of their bundles to our own log, line by line, all on
// one thread. Lines are cut at a few kilobytes; escaping is the log's. Thread-safe.
class ShimLogs {
 public:
  ShimLogs();
  ~ShimLogs();

  // Makes the fifo at `path` if need be and begins to read. The fifo is held open for both
  // directions, so a shim never blocks in open(2) and comes and goes as it likes.
  absl::Status Add(const std::string& ns, const std::string& id, const std::string& path);
  // Reads what is left and closes. Unknown ids: nothing happens.
  void Remove(const std::string& ns, const std::string& id);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_TASKS_SHIM_LOG_H_
