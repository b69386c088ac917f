#ifndef GANTRY_SHIM_LOG_WRITER_H_
#define GANTRY_SHIM_LOG_WRITER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/event_loop.h"
#include "shim/log_record.h"
#include "shim/pump.h"

namespace gantry::shim {

// What a log is written to. One thread at a time.
class LogTarget {
 public:
  virtual ~LogTarget() = default;
  // Takes whole records and may block for as long as the disk does. What fails is the target's own
  // affair.
  virtual void Write(absl::string_view records) = 0;
};

struct LogWriterOptions {
  std::string path;  // for messages
  LogFormat format = LogFormat::kRaw;
  std::string attributes;  // of every record; see JsonAttributes()
  // Bytes that may wait for the disk.
  size_t buffer = 128 * 1024;
  // With a full buffer new records are dropped and counted; otherwise the streams are full, and the
  // program waits at its pipe.
  bool non_blocking = false;
};

// The log of one process: makes records of its streams and has them written by a thread of its own,
// so that a disk that hangs holds up nobody but, in blocking mode, the program. The thread exists
// only while there is work (a second longer); one that hangs is left behind when the log is given
// up. All methods belong to the loop's thread.
class LogWriter : public std::enable_shared_from_this<LogWriter> {
 public:
  using Opener = std::function<absl::StatusOr<std::unique_ptr<LogTarget>>()>;
  using OpenDone = std::function<void(absl::StatusOr<std::shared_ptr<LogWriter>>)>;
  // Runs `open` on the log's thread, then `done` from the loop; `done` is kept until then.
  static void Open(base::EventLoop* loop, LogWriterOptions options, Opener open, OpenDone done);
  ~LogWriter();  // what waits is still written, if the disk lets it
  LogWriter(const LogWriter&) = delete;
  LogWriter& operator=(const LogWriter&) = delete;

  // A sink for one stream ("stdout" or "stderr"). Lines are cut at '\n' and at 16 KiB; what is left
  // at the end of the stream is written as it is (cri: as a piece).
  static std::shared_ptr<Sink> Stream(std::shared_ptr<LogWriter> log, std::string name);

  // Queues one record of the format. `partial`: a piece of a line.
  void AppendLine(absl::string_view stream, absl::string_view text, bool partial);
  // Queues bytes that are a record, or of no format.
  void Append(absl::string_view record);

  bool full() const;
  // Everything was handed to the target.
  bool idle() const;
  // Runs once, from the loop, when full() is over / when idle().
  void WhenRoom(std::function<void()> function);
  void WhenIdle(std::function<void()> function);

  // Records that were dropped so far.
  uint64_t dropped() const { return dropped_; }

 private:
  struct Core;
  LogWriter(base::EventLoop* loop, LogWriterOptions options);
  static void Work(std::shared_ptr<Core> core, bool wait);
  void WakeThread();
  void OnProgress();

  LogWriterOptions options_;
  std::shared_ptr<Core> core_;  // shared with the thread
  std::vector<std::function<void()>> room_waiters_, idle_waiters_;
  uint64_t dropped_ = 0;
};

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_LOG_WRITER_H_
