#ifndef GANTRY_SHIM_PROCESS_IO_H_
#define GANTRY_SHIM_PROCESS_IO_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "base/process.h"
#include "base/unique_fd.h"
#include "shim/attach_server.h"
#include "shim/log_file.h"
#include "shim/log_writer.h"
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
// that leaves neither stops nor breaks the program. Belongs to the loop's thread, and never waits.
class ProcessIo {
 public:
  using OpenDone = std::function<void(absl::StatusOr<std::unique_ptr<ProcessIo>>)>;
  // Opens everything, then runs `done`: at once, or from the loop when a log file had to be opened
  // or a logging program (binary://) to get ready, for which it has 10 seconds
  // (DeadlineExceeded). Errors name the stream and the path.
  static void Open(base::EventLoop* loop, const StdioConfig& config, OpenDone done);
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
  // Runs `function` when what the process wrote so far is in its log file, or when `limit` has
  // passed: at once without a log file. Not at all when this object ends before.
  void WhenFlushed(absl::Duration limit, std::function<void()> function);
  // Everything it wrote was handed on. A child of it may hold its output open for ever.
  bool drained() const;
  // Runs once, as soon as drained() (at once if it is). Replaces an earlier function.
  void WhenDrained(std::function<void()> function);
  // Log records that a non-blocking log dropped.
  uint64_t dropped_records() const;

 private:
  explicit ProcessIo(base::EventLoop* loop) : loop_(loop) {}

  // An Open() under way: done when every step has ended.
  struct Opening;
  using OpeningPtr = std::shared_ptr<Opening>;

  absl::Status OpenAttach(const StdioConfig& config);
  absl::Status OpenInput(const StdioConfig& config);
  absl::Status MakeInputPipe(const StdioConfig& config);
  absl::Status OpenOutputs(const OpeningPtr& opening, const StdioConfig& config);
  absl::Status OpenOutput(const OpeningPtr& opening, const StdioUri& uri, const char* name,
                          std::shared_ptr<Sink>* sink);
  // `streams`: which sinks the log gets, by the name of the stream.
  using LogStreams = std::vector<std::pair<const char*, std::shared_ptr<Sink>*>>;
  absl::Status OpenLogOf(const OpeningPtr& opening, const StdioConfig& config, const StdioUri& uri,
                         LogStreams streams);
  absl::Status OpenLogFile(const OpeningPtr& opening, LogFile::Options options, LogStreams streams);
  absl::Status OpenLog(const OpeningPtr& opening, LogWriterOptions writer, LogWriter::Opener open,
                       LogStreams streams);
  absl::Status StartLogger(const OpeningPtr& opening, const StdioConfig& config,
                           const StdioUri& uri);
  void AwaitLogger(const OpeningPtr& opening, base::UniqueFd ready, const std::string& program);
  void WatchLogger(base::Process logger);
  // Makes the pipe that carries a stream from the process to us.
  absl::Status MakeOutputPipe(const StdioConfig& config, base::UniqueFd* child,
                              base::UniqueFd* source);
  void StartPump(base::UniqueFd* source, std::shared_ptr<Sink>* sink, std::unique_ptr<Pump>* pump);
  void StartInput();
  void AddAttached(std::shared_ptr<Sink>* sink, int stream);
  void OnOutputEnd(std::unique_ptr<Pump>* pump);
  void FinishAttached();
  void CheckDrained();
  void CheckFlushed(const std::shared_ptr<std::function<void()>>& function);
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
  std::vector<std::shared_ptr<LogWriter>> logs_;
  std::shared_ptr<AttachServer> attach_;
  bool attach_in_ = false;               // stdin comes from its clients
  bool attach_out_ = false;              // output goes to them, too
  std::optional<base::Process> logger_;  // while it lives
  bool exited_ = false;
  bool discarding_ = false;  // the terminal's output goes nowhere any longer
  std::function<void()> when_drained_;
  // What waits for a log or a timer holds this weakly.
  std::shared_ptr<ProcessIo*> self_ = std::make_shared<ProcessIo*>(this);
};

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_PROCESS_IO_H_
