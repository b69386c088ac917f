#ifndef GANTRY_CLIENT_STDIO_H_
#define GANTRY_CLIENT_STDIO_H_

// The client's end of a process' standard streams: fifos that the shim opens by path, and a thread
// that copies between them and descriptors of ours.

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/file.h"
#include "base/unique_fd.h"

namespace gantry::client {

// Three fifos in a private directory, opened on our side; removed when destroyed.
class Fifos {
 public:
  // Beneath `base_dir` (made, 0700). With `terminal` there is no stderr; without `with_stdin` no
  // stdin. Opening blocks on nobody.
  static absl::StatusOr<Fifos> Create(const std::string& base_dir, bool with_stdin, bool terminal);
  // Opens fifos that exist already (a container's, for attach); removes nothing.
  static absl::StatusOr<Fifos> Open(const std::string& in, const std::string& out,
                                    const std::string& err);
  Fifos(Fifos&& other) noexcept;
  Fifos& operator=(Fifos&&) = delete;
  ~Fifos();

  const std::string& in_path() const { return in_path_; }
  const std::string& out_path() const { return out_path_; }
  const std::string& err_path() const { return err_path_; }

  base::UniqueFd in;   // written by us
  base::UniqueFd out;  // read by us
  base::UniqueFd err;

  // Leaves the files where they are.
  void Keep() { dir_.clear(); }

 private:
  Fifos() = default;
  std::string dir_;
  std::string in_path_;
  std::string out_path_;
  std::string err_path_;
};

// Copies until both output fifos have ended. Own thread between Start() and Finish().
class StdioPump {
 public:
  struct Options {
    int in = -1;  // our stdin, or -1
    int out = 1;
    int err = 2;
    std::string detach_keys;             // bytes; empty: no detaching
    std::function<void()> on_stdin_end;  // our stdin has ended and all of it was written
    std::function<void()> on_detach;
    // An extra descriptor (signals) and what to do when it is readable.
    int watch = -1;
    std::function<void()> on_watch;
  };

  StdioPump(Fifos fifos, Options options)
      : fifos_(std::move(fifos)), options_(std::move(options)) {}
  ~StdioPump();
  StdioPump(const StdioPump&) = delete;
  StdioPump& operator=(const StdioPump&) = delete;

  absl::Status Start();
  // From now on our stdin is read. Call it when the shim has its end open: what is written to a
  // fifo before is lost when we close it, and so is an early CloseIO.
  void EnableInput();
  // Waits for the end of the outputs, but not longer than `grace` without any output; then stops.
  void Finish(absl::Duration grace);
  // Stops at once.
  void Abandon();

  Fifos& fifos() { return fifos_; }

 private:
  void Run();
  bool ReadInput();
  void WriteInput();
  void CloseInput();
  // False when that output has ended.
  bool Copy(int from, int to);
  // Takes the detach keys out of what was typed; true when they were complete.
  bool ScanDetach(const char* data, size_t size);

  Fifos fifos_;
  Options options_;
  base::Pipe wake_;
  std::thread thread_;
  std::atomic<bool> finishing_{false};
  std::atomic<bool> abandoned_{false};
  std::atomic<int64_t> grace_ms_{0};
  std::string pending_;  // typed, not yet taken by the fifo
  size_t matched_ = 0;   // of detach_keys
  std::atomic<bool> input_enabled_{false};
  bool input_open_ = false;
};

// "ctrl-p,ctrl-q" to bytes. InvalidArgument for anything but single characters and
// ctrl-[a-z@[\]^_].
absl::StatusOr<std::string> ParseDetachKeys(absl::string_view text);

}  // namespace gantry::client

#endif  // GANTRY_CLIENT_STDIO_H_
