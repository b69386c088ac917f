#include "tests/integration/terminal.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"

namespace gantry::tests {
namespace {

winsize Size(int columns, int rows) {
  winsize size{};
  size.ws_col = static_cast<unsigned short>(columns);
  size.ws_row = static_cast<unsigned short>(rows);
  return size;
}

}  // namespace

Terminal::Terminal(const std::vector<std::string>& argv, int columns, int rows) {
  std::vector<char*> pointers;
  for (const std::string& argument : argv) pointers.push_back(const_cast<char*>(argument.c_str()));
  pointers.push_back(nullptr);
  winsize size = Size(columns, rows);
  int master = -1;
  pid_ = forkpty(&master, nullptr, nullptr, &size);
  if (pid_ == 0) {
    execvp(pointers[0], pointers.data());
    _exit(127);
  }
  EXPECT_GT(pid_, 0) << "forkpty: errno " << errno;
  master_.Reset(master);
  if (master >= 0) fcntl(master, F_SETFD, FD_CLOEXEC);
}

Terminal::~Terminal() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

void Terminal::Type(absl::string_view keys) {
  EXPECT_EQ(write(master_.get(), keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
}

void Terminal::Resize(int columns, int rows) {
  winsize size = Size(columns, rows);
  EXPECT_EQ(ioctl(master_.get(), TIOCSWINSZ, &size), 0);
}

bool Terminal::ReadSome(absl::Duration timeout) {
  pollfd ready{master_.get(), POLLIN, 0};
  if (poll(&ready, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout))) <= 0) return true;
  char buffer[4096];
  // EIO: the last one who had the other side open is gone.
  ssize_t count = read(master_.get(), buffer, sizeof(buffer));
  if (count <= 0) return false;
  screen_.append(buffer, static_cast<size_t>(count));
  return true;
}

bool Terminal::Await(absl::string_view text, absl::Duration timeout) {
  absl::Time deadline = absl::Now() + timeout;
  while (!absl::StrContains(screen_, text)) {
    if (absl::Now() > deadline || !ReadSome(absl::Milliseconds(100))) {
      return absl::StrContains(screen_, text);
    }
  }
  return true;
}

std::optional<base::ExitStatus> Terminal::End(absl::Duration timeout) {
  absl::Time deadline = absl::Now() + timeout;
  while (ReadSome(absl::Milliseconds(100))) {
    if (absl::Now() > deadline) return std::nullopt;
  }
  int status = 0;
  while (waitpid(pid_, &status, WNOHANG) != pid_) {
    if (absl::Now() > deadline) return std::nullopt;
    absl::SleepFor(absl::Milliseconds(10));
  }
  pid_ = -1;
  if (WIFSIGNALED(status)) return base::ExitStatus{128 + WTERMSIG(status), WTERMSIG(status)};
  return base::ExitStatus{WEXITSTATUS(status), 0};
}

}  // namespace gantry::tests
