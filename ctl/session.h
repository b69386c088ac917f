#ifndef GANTRY_CTL_SESSION_H_
#define GANTRY_CTL_SESSION_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "client/connection.h"
#include "client/stdio.h"

namespace gantry::ctl {

// Where the fifos of attached processes are made.
inline constexpr char kFifoBase[] = "/run/gantryctl/fifo";

// So many interrupts of a person end a program that does not listen to them.
inline constexpr int kInterruptsToKill = 3;

// The exit code for a start that failed: 127 for a program that is not there, 126 for one that
// cannot be run, else 125.
int StartFailureCode(const absl::Status& status);

// A process of a container whose standard streams are on our terminal.
struct SessionOptions {
  std::string container_id;
  std::string exec_id;  // empty: the container's first process
  bool terminal = false;
  bool interactive = false;
  bool forward_signals = true;
  std::string detach_keys;
};

struct SessionResult {
  bool detached = false;
  int exit_code = 0;
};

// Copies stdio and forwards signals and window sizes until the process ends or the detach keys are
// typed. `start` starts it once everything listens (it may be empty: the process runs already); its
// error is returned as it is. Call once per process.
absl::StatusOr<SessionResult> RunSession(const client::Connection& connection,
                                         const SessionOptions& options, client::Fifos fifos,
                                         const std::function<absl::Status()>& start);

}  // namespace gantry::ctl

#endif  // GANTRY_CTL_SESSION_H_
