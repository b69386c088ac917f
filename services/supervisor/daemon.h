#ifndef GANTRY_SERVICES_SUPERVISOR_DAEMON_H_
#define GANTRY_SERVICES_SUPERVISOR_DAEMON_H_

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/supervisor/config.h"

namespace gantry::services {

// The supervisor put together: stores, services, shims, doors. One per root directory (a lock file
// says so).
class Daemon {
 public:
  // Opens root and state, reconciles what a crash left, finds running shims again and begins to
  // serve. On failure everything that was started is stopped again; containers are never touched.
  static absl::StatusOr<std::unique_ptr<Daemon>> Start(const Config& config);

  // Stops serving; containers go on. Blocks a few seconds at most.
  virtual ~Daemon() = default;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_SUPERVISOR_DAEMON_H_
