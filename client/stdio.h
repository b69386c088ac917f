#ifndef GANTRY_CLIENT_STDIO_H_
#define GANTRY_CLIENT_STDIO_H_

// The client's end of a process' standard streams: fifos that the shim opens by path, and what
// copies between them and descriptors of ours.

#include <poll.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/file.h"
#include "base/unique_fd.h"

namespace gantry::client {

// Three fifos, opened on our side; removed when destroyed.
class Fifos {
 public:
  // In `base_dir` (made, 0700), under names that begin alike and are nobody else's. With `terminal`
  // there is no stderr; without `with_stdin` no stdin. Opening blocks on nobody.
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
  void Keep() { owned_ = false; }
  // Removes the fifos that Create() made in `base_dir`, one of them being `path`, after Keep().
  static void Remove(const std::string& base_dir, const std::string& path);

 private:
  Fifos() = default;
  bool owned_ = false;
  std::string in_path_;
  std::string out_path_;
  std::string err_path_;
};

// Copies between the fifos and descriptors of ours, in the caller's thread.
class StdioPump {
 public:
  struct Options {
    int in = -1;  // our stdin, or -1
    int out = 1;
    int err = 2;
    std::string detach_keys;             // bytes; empty: no detaching
    std::function<void()> on_stdin_end;  // our stdin has ended and all of it was written
    std::function<void()> on_detach;
  };
  // Something else that is waited for at the same time.
  struct Watch {
    std::function<pollfd()> descriptor;  // asked before every wait
    std::function<void()> on_ready;
  };

  StdioPump(Fifos fifos, Options options)
      : fifos_(std::move(fifos)),
        options_(std::move(options)),
        input_open_(options_.in >= 0 && fifos_.in.valid()) {}
  StdioPump(const StdioPump&) = delete;
  StdioPump& operator=(const StdioPump&) = delete;

  // Copies until `done`, which is asked before every wait. Call it when the shim has its end open:
  // what is written to a fifo before is lost when we close it, and so is an early CloseIO.
  void Run(const std::vector<Watch>& watches, const std::function<bool()>& done);
  // Copies until the outputs have ended, but not longer than `grace` without any output.
  void Finish(absl::Duration grace);

  Fifos& fifos() { return fifos_; }

 private:
  // Waits and does what there is to do; false when nothing came within `timeout_ms` (-1: for ever).
  bool Step(const std::vector<Watch>& watches, int timeout_ms);
  void ReadInput();
  void WriteInput();
  void CloseInput();
  // False when that output has ended.
  bool Copy(int from, int to);
  // Takes the detach keys out of what was typed; true when they were complete.
  bool ScanDetach(const char* data, size_t size);

  Fifos fifos_;
  Options options_;
  std::string pending_;  // typed, not yet taken by the fifo
  size_t matched_ = 0;   // of detach_keys
  bool input_open_;
};

// "ctrl-p,ctrl-q" to bytes. InvalidArgument for anything but single characters and
// ctrl-[a-z@[\]^_].
absl::StatusOr<std::string> ParseDetachKeys(absl::string_view text);

}  // namespace gantry::client

#endif  // GANTRY_CLIENT_STDIO_H_
