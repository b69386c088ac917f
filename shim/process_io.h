#ifndef GANTRY_SHIM_PROCESS_IO_H_
#define GANTRY_SHIM_PROCESS_IO_H_

#include <sys/types.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "shim/oci/container.h"
#include "shim/pump.h"
#include "shim/stdio_uri.h"

namespace gantry::shim {

// What a Create or Exec request says of a process's stdio.
struct StdioConfig {
  std::string in, out, err;  // see ParseStdioUri()
  bool terminal = false;
  uid_t uid = 0;  // owner of the pipes
  gid_t gid = 0;
  std::string container_id;  // for logging programs
  std::string ns;
};

// The stdio of one process: opens what the client named, gives the process its ends, copies, and
// tells when all output has been handed on. Both sides of every fifo are held open, so a client
// that leaves neither stops nor breaks the program. Belongs to the loop's thread.
class ProcessIo {
 public:
  // Opens everything. May wait for a logging program (binary://), 10 seconds at most, until it says
  // that it is ready. Errors name the stream and the path.
  static absl::StatusOr<std::unique_ptr<ProcessIo>> Open(base::EventLoop* loop,
                                                         const StdioConfig& config);
  ~ProcessIo();

  // The process's ends; ours until Attach().
  oci::ProcessIo child_fds() const;

  // The process exists: closes its ends here and begins to copy. `console` is the pty's master when
  // the process has a terminal.
  void Attach(base::UniqueFd console);

  // The client sends no more: the program's stdin ends when the fifo has been drained.
  void CloseStdin();
  // OK without a terminal, as containerd has it.
  absl::Status Resize(uint32_t width, uint32_t height);

  // The process has ended: its stdin is given up, its output is copied to the end.
  void ProcessExited();
  // Everything it wrote was handed on. A child of it may hold its output open for ever.
  bool drained() const { return !out_pump_ && !err_pump_ && !logger_alive(); }
  // Runs once, as soon as drained() (at once if it is). Replaces an earlier function.
  void WhenDrained(std::function<void()> function);
  // A child of ours ended; true if it was this process's logging program.
  bool OnChildExit(pid_t pid);

 private:
  explicit ProcessIo(base::EventLoop* loop) : loop_(loop) {}

  absl::Status OpenInput(const StdioConfig& config);
  absl::Status OpenOutputs(const StdioConfig& config);
  absl::Status OpenOutput(const StdioConfig& config, const StdioUri& uri, const char* name,
                          std::shared_ptr<Sink>* sink);
  absl::Status StartLogger(const StdioConfig& config, const StdioUri& uri);
  // Makes the pipe that carries a stream from the process to us.
  absl::Status MakeOutputPipe(const StdioConfig& config, base::UniqueFd* child,
                              base::UniqueFd* source);
  bool logger_alive() const { return logger_pid_ > 0; }
  void CheckDrained();
  void StopLogger();

  base::EventLoop* loop_;
  bool terminal_ = false;
  base::UniqueFd child_in_, child_out_, child_err_;
  base::UniqueFd out_source_, err_source_;  // until Attach()
  std::shared_ptr<Sink> out_sink_, err_sink_;
  base::UniqueFd in_source_;  // read side of the stdin fifo, until Attach()
  base::UniqueFd in_writer_;  // our write side of it: no end of file while a client is detached
  base::UniqueFd in_target_;  // our end of the program's stdin pipe, until Attach()
  base::UniqueFd console_;
  std::unique_ptr<Pump> in_pump_, out_pump_, err_pump_;
  pid_t logger_pid_ = 0;
  std::function<void()> when_drained_;
};

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_PROCESS_IO_H_
