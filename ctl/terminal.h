#ifndef GANTRY_CTL_TERMINAL_H_
#define GANTRY_CTL_TERMINAL_H_

#include <termios.h>

#include <csignal>
#include <initializer_list>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace gantry::ctl {

// Raw mode on our terminal until destroyed.
class RawTerminal {
 public:
  RawTerminal() = default;
  ~RawTerminal() { Restore(); }
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

  // FailedPrecondition when `fd` is no terminal.
  absl::Status Enter(int fd);
  void Restore();

 private:
  int fd_ = -1;
  termios saved_ = {};
};

struct WindowSize {
  unsigned width = 0;
  unsigned height = 0;
};
// Zero when `fd` is no terminal.
WindowSize GetWindowSize(int fd);

// From now on the signals no longer act on this process but are readable from the descriptor, by
// handlers rather than a mask, which children would inherit. Once per process.
absl::StatusOr<base::UniqueFd> WatchSignals(std::initializer_list<int> signals);
// The next signal of such a descriptor; 0 when there is none.
int NextSignal(int fd);

}  // namespace gantry::ctl

#endif  // GANTRY_CTL_TERMINAL_H_
