#include "shim/oci/cli/foreground.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "base/file.h"
#include "base/status.h"

namespace gantry::oci {
namespace {

sigset_t ForwardedSignals() {
  sigset_t set;
  sigfillset(&set);
  // What our own mistakes raise, and job control of a terminal.
  for (int signal :
       {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGTSTP, SIGTTIN, SIGTTOU}) {
    sigdelset(&set, signal);
  }
  return set;
}

// Raw mode while it lives.
class RawTerminal {
 public:
  RawTerminal() {
    if (tcgetattr(0, &saved_) != 0) return;
    termios raw = saved_;
    cfmakeraw(&raw);
    active_ = tcsetattr(0, TCSANOW, &raw) == 0;
  }
  ~RawTerminal() {
    if (active_) tcsetattr(0, TCSANOW, &saved_);
  }

 private:
  termios saved_ = {};
  bool active_ = false;
};

void CopySize(int master) {
  winsize size;
  if (ioctl(0, TIOCGWINSZ, &size) == 0) ioctl(master, TIOCSWINSZ, &size);
}

// False when `from` has ended.
bool Copy(int from, int to) {
  char buffer[8192];
  ssize_t n = read(from, buffer, sizeof buffer);
  if (n <= 0) return n < 0 && (errno == EAGAIN || errno == EINTR);
  return base::WriteAll(to, absl::string_view(buffer, static_cast<size_t>(n))).ok();
}

void ForwardSignal(int signals, const CreatedProcess& process) {
  signalfd_siginfo info;
  if (read(signals, &info, sizeof info) != sizeof info) return;
  int number = static_cast<int>(info.ssi_signo);
  if (number == SIGCHLD || number == SIGPIPE || number == SIGURG) return;
  if (number == SIGWINCH) {
    if (process.console.valid()) CopySize(process.console.get());
    return;
  }
  kill(process.pid, number);
}

}  // namespace

absl::Status BlockSignals() {
  sigset_t set = ForwardedSignals();
  if (sigprocmask(SIG_BLOCK, &set, nullptr) != 0) return base::ErrnoStatus(errno, "sigprocmask");
  return absl::OkStatus();
}

absl::StatusOr<int> Attend(CreatedProcess process) {
  sigset_t set = ForwardedSignals();
  base::UniqueFd signals(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals.valid()) return base::ErrnoStatus(errno, "signalfd");
  int master = process.console.get();
  std::optional<RawTerminal> raw;
  if (master >= 0) {
    raw.emplace();
    CopySize(master);
  }
  pollfd fds[4] = {{process.pidfd.get(), POLLIN, 0},
                   {signals.get(), POLLIN, 0},
                   {master, POLLIN, 0},
                   {master >= 0 ? 0 : -1, POLLIN, 0}};
  bool ended = false;
  while (!ended || fds[2].fd >= 0) {
    // After the end only what the terminal still holds is waited for, and not long.
    int ready = poll(fds, 4, ended ? 200 : -1);
    if (ready < 0 && errno != EINTR) return base::ErrnoStatus(errno, "poll");
    if (ready == 0) break;
    if (ready < 0) continue;
    if (fds[1].revents != 0) ForwardSignal(signals.get(), process);
    if (fds[2].revents != 0 && !Copy(master, 1)) fds[2].fd = -1;
    if (fds[3].revents != 0 && !Copy(0, master)) fds[3].fd = -1;
    if (fds[0].revents != 0) {
      ended = true;
      fds[0].fd = -1;
    }
  }
  int status = 0;
  if (waitpid(process.pid, &status, 0) != process.pid) return base::ErrnoStatus(errno, "waitpid");
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace gantry::oci
