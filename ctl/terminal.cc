#include "ctl/terminal.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>

#include "base/file.h"
#include "base/status.h"

namespace gantry::ctl {

absl::Status RawTerminal::Enter(int fd) {
  if (!isatty(fd)) {
    return absl::FailedPreconditionError(
        "-t needs a terminal on standard input; leave it away in scripts and pipes");
  }
  if (tcgetattr(fd, &saved_) != 0) return base::ErrnoStatus(errno, "read terminal settings");
  termios raw = saved_;
  cfmakeraw(&raw);
  if (tcsetattr(fd, TCSANOW, &raw) != 0) return base::ErrnoStatus(errno, "set terminal to raw");
  fd_ = fd;
  return absl::OkStatus();
}

void RawTerminal::Restore() {
  if (fd_ >= 0) tcsetattr(fd_, TCSANOW, &saved_);
  fd_ = -1;
}

WindowSize GetWindowSize(int fd) {
  winsize size = {};
  if (ioctl(fd, TIOCGWINSZ, &size) != 0) return {};
  return {size.ws_col, size.ws_row};
}

namespace {

int g_signal_pipe = -1;

void OnSignal(int number) {
  int saved = errno;
  auto byte = static_cast<unsigned char>(number);
  (void)!write(g_signal_pipe, &byte, 1);
  errno = saved;
}

}  // namespace

absl::StatusOr<base::UniqueFd> WatchSignals(std::initializer_list<int> signals) {
  GANTRY_ASSIGN_OR_RETURN(base::Pipe pipe, base::MakePipe(O_NONBLOCK));
  // The handlers need it for as long as the process lives.
  g_signal_pipe = pipe.write.Release();
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  action.sa_flags = SA_RESTART;
  for (int number : signals) {
    if (sigaction(number, &action, nullptr) != 0) return base::ErrnoStatus(errno, "watch signals");
  }
  return std::move(pipe.read);
}

int NextSignal(int fd) {
  unsigned char number = 0;
  return read(fd, &number, 1) == 1 ? number : 0;
}

}  // namespace gantry::ctl
