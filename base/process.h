#ifndef GANTRY_BASE_PROCESS_H_
#define GANTRY_BASE_PROCESS_H_

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>
#include "absl/strings/string_view.h"

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"

namespace gantry::base {

// How a process ended.
struct ExitStatus {
  int code = 0;    // exit code, or 128 + signal
  int signal = 0;  // 0 when it exited by itself
};

struct SpawnOptions {
  std::vector<std::string> argv;  // argv[0]: absolute path, or a name looked up in PATH
  std::vector<std::string> env;   // NAME=value; exactly these when inherit_env is false
  bool inherit_env = true;        // add `env` to our own environment
  std::string cwd;                // empty: ours
  // Descriptors of the child: {child number, our fd}. 0, 1 and 2 are /dev/null unless listed. All
  // others are closed.
  std::vector<std::pair<int, int>> fds;
  bool new_process_group = false;
  bool die_with_parent = false;  // PR_SET_PDEATHSIG SIGKILL (bound to the spawning *thread*'s life)
};

// A child process held by a pidfd. Destroying the object neither kills nor reaps it.
class Process {
 public:
  // Starts a program by a vfork-like clone; the caller may have any number of threads. An exec that
  // fails is reported here, with its errno (NotFound when the program does not exist).
  static absl::StatusOr<Process> Spawn(const SpawnOptions& options);

  Process(Process&&) = default;
  Process& operator=(Process&&) = default;

  pid_t pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }  // readable when the process has ended

  // Blocks until it ends or `timeout` passes (DeadlineExceeded), and reaps it.
  absl::StatusOr<ExitStatus> Wait(absl::Duration timeout = absl::InfiniteDuration());
  absl::Status Signal(int number) const;  // NotFound when it has ended

 private:
  Process(pid_t pid, UniqueFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  pid_t pid_;
  UniqueFd pidfd_;
};

struct RunResult {
  ExitStatus exit;
  std::string out;
  std::string err;
};

// Runs to the end with `input` on stdin and captures what it prints (each stream cut at `limit`
// bytes). On timeout the process is killed and DeadlineExceeded returned. For tests and rare tools;
// nothing on a hot path executes programs.
absl::StatusOr<RunResult> RunProcess(SpawnOptions options, absl::string_view input = {},
                                     absl::Duration timeout = absl::Seconds(60),
                                     size_t limit = 16u << 20);

}  // namespace gantry::base

#endif  // GANTRY_BASE_PROCESS_H_
