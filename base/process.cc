#include "base/process.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include "absl/strings/string_view.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/status.h"

extern char** environ;

namespace gantry::base {
namespace {

absl::StatusOr<std::string> FindProgram(const std::string& name) {
  if (absl::StrContains(name, '/')) return name;
  const char* path = getenv("PATH");
  for (absl::string_view dir : absl::StrSplit(path ? path : "/usr/sbin:/usr/bin:/sbin:/bin", ':')) {
    std::string candidate = absl::StrCat(dir.empty() ? "." : dir, "/", name);
    if (access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return absl::NotFoundError(absl::StrCat("program \"", name, "\" not found in PATH"));
}

// What the child needs, prepared before the clone: it shares our memory and must not allocate.
struct ChildPlan {
  const char* program;
  char* const* argv;
  char* const* env;
  const char* cwd;
  const std::pair<int, int>* fds;
  size_t fd_count;
  int* lifted;  // room for fd_count numbers
  int highest;  // highest child number
  bool new_process_group;
  bool die_with_parent;
  sigset_t mask;
  int error = 0;
};

// Runs in the vfork child: async-signal-safe calls only.
void RunChild(ChildPlan* plan) {
  if (plan->new_process_group) setpgid(0, 0);
  if (plan->die_with_parent) prctl(PR_SET_PDEATHSIG, SIGKILL);
  // Lift all sources above every target number first, so that no dup2 overwrites a later source.
  for (size_t i = 0; i < plan->fd_count; ++i) {
    plan->lifted[i] = fcntl(plan->fds[i].second, F_DUPFD_CLOEXEC, plan->highest + 1);
    if (plan->lifted[i] < 0) return;
  }
  for (int target = 0; target <= plan->highest; ++target) {
    int source = -1;
    for (size_t i = 0; i < plan->fd_count; ++i) {
      if (plan->fds[i].first == target) source = plan->lifted[i];
    }
    if (source >= 0) {
      if (dup2(source, target) < 0) return;
    } else if (target <= 2) {
      int null = open("/dev/null", O_RDWR);
      if (null < 0) return;
      if (null != target) {
        if (dup2(null, target) < 0) return;
        close(null);
      }
    } else {
      close(target);
    }
  }
  syscall(SYS_close_range, plan->highest + 1, ~0u, CLOSE_RANGE_CLOEXEC);
  if (plan->cwd != nullptr && chdir(plan->cwd) != 0) return;
  struct sigaction standard = {};
  standard.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; ++number) sigaction(number, &standard, nullptr);
  sigprocmask(SIG_SETMASK, &plan->mask, nullptr);
  execve(plan->program, plan->argv, plan->env);
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& s : strings) pointers.push_back(s.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

absl::StatusOr<Process> Process::Spawn(const SpawnOptions& options) {
  if (options.argv.empty()) return absl::InvalidArgumentError("spawn: empty argv");
  GANTRY_ASSIGN_OR_RETURN(std::string program, FindProgram(options.argv[0]));
  std::vector<std::string> argv = options.argv;
  std::vector<std::string> env = options.env;
  if (options.inherit_env) {
    for (char** e = environ; *e != nullptr; ++e) {
      absl::string_view name = absl::string_view(*e).substr(0, absl::string_view(*e).find('='));
      bool replaced =
          std::any_of(options.env.begin(), options.env.end(), [name](const std::string& own) {
            return own.size() > name.size() && own[name.size()] == '=' &&
                   absl::StartsWith(own, name);
          });
      if (!replaced) env.emplace_back(*e);
    }
  }
  std::vector<char*> argv_pointers = Pointers(argv);
  std::vector<char*> env_pointers = Pointers(env);
  std::vector<int> lifted(options.fds.size(), -1);
  int highest = 2;
  for (const auto& [target, source] : options.fds) highest = std::max(highest, target);

  ChildPlan plan = {};
  plan.program = program.c_str();
  plan.argv = argv_pointers.data();
  plan.env = env_pointers.data();
  plan.cwd = options.cwd.empty() ? nullptr : options.cwd.c_str();
  plan.fds = options.fds.data();
  plan.fd_count = options.fds.size();
  plan.lifted = lifted.data();
  plan.highest = highest;
  plan.new_process_group = options.new_process_group;
  plan.die_with_parent = options.die_with_parent;
  sigemptyset(&plan.mask);

  // No handler of ours may run in the child while it shares our memory.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pid_t pid = vfork();
  if (pid == 0) {
    RunChild(&plan);
    plan.error = errno;
    _exit(127);
  }
  int vfork_error = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) return ErrnoStatus(vfork_error, absl::StrCat("start ", program));
  if (plan.error != 0) {
    waitpid(pid, nullptr, 0);
    return ErrnoStatus(plan.error, absl::StrCat("execute ", program));
  }
  int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (pidfd < 0) return ErrnoStatus(errno, "pidfd_open");
  return Process(pid, UniqueFd(pidfd));
}

absl::StatusOr<ExitStatus> Process::Wait(absl::Duration timeout) {
  absl::Time deadline = absl::Now() + timeout;
  while (true) {
    pollfd p = {pidfd_.get(), POLLIN, 0};
    int64_t left = absl::ToInt64Milliseconds(deadline - absl::Now());
    int n = poll(&p, 1,
                 timeout == absl::InfiniteDuration()
                     ? -1
                     : static_cast<int>(std::clamp<int64_t>(left, 0, 1 << 30)));
    if (n < 0 && errno != EINTR) return ErrnoStatus(errno, "poll pidfd");
    if (n > 0) break;
    if (n == 0 && absl::Now() >= deadline) {
      return absl::DeadlineExceededError(absl::StrCat("process ", pid_, " still runs"));
    }
  }
  int status = 0;
  pid_t reaped;
  do {
    reaped = waitpid(pid_, &status, 0);
  } while (reaped < 0 && errno == EINTR);
  if (reaped < 0) return ErrnoStatus(errno, absl::StrCat("wait for process ", pid_));
  if (WIFSIGNALED(status)) return ExitStatus{128 + WTERMSIG(status), WTERMSIG(status)};
  return ExitStatus{WEXITSTATUS(status), 0};
}

absl::Status Process::Signal(int number) const {
  if (syscall(SYS_pidfd_send_signal, pidfd_.get(), number, nullptr, 0) != 0) {
    return ErrnoStatus(errno, absl::StrCat("signal process ", pid_));
  }
  return absl::OkStatus();
}

absl::StatusOr<RunResult> RunProcess(SpawnOptions options, absl::string_view input,
                                     absl::Duration timeout, size_t limit) {
  GANTRY_ASSIGN_OR_RETURN(Pipe in, MakePipe());
  GANTRY_ASSIGN_OR_RETURN(Pipe out, MakePipe());
  GANTRY_ASSIGN_OR_RETURN(Pipe err, MakePipe());
  options.fds.push_back({0, in.read.get()});
  options.fds.push_back({1, out.write.get()});
  options.fds.push_back({2, err.write.get()});
  GANTRY_ASSIGN_OR_RETURN(Process process, Process::Spawn(options));
  in.read.Reset();
  out.write.Reset();
  err.write.Reset();
  fcntl(in.write.get(), F_SETFL, O_NONBLOCK);

  RunResult result;
  absl::Time deadline = absl::Now() + timeout;
  // A reader that closes early must not kill us; MSG_NOSIGNAL does not exist for pipes.
  struct sigaction ignore = {};
  ignore.sa_handler = SIG_IGN;
  struct sigaction old;
  sigaction(SIGPIPE, &ignore, &old);
  bool timed_out = false;
  while (out.read || err.read) {
    if (input.empty()) in.write.Reset();
    pollfd polls[3] = {
        {in.write.get(), POLLOUT, 0}, {out.read.get(), POLLIN, 0}, {err.read.get(), POLLIN, 0}};
    int64_t left = absl::ToInt64Milliseconds(deadline - absl::Now());
    if (left <= 0) {
      timed_out = true;
      break;
    }
    if (poll(polls, 3, static_cast<int>(std::min<int64_t>(left, 1000))) < 0 && errno != EINTR)
      break;
    if (in.write && polls[0].revents != 0) {
      ssize_t n = write(in.write.get(), input.data(), input.size());
      if (n > 0) input.remove_prefix(static_cast<size_t>(n));
      if (n < 0 && errno != EAGAIN && errno != EINTR) in.write.Reset();
    }
    auto drain = [limit](UniqueFd& fd, short events, std::string* to) {
      if (!fd || events == 0) return;
      char buffer[65536];
      ssize_t n = read(fd.get(), buffer, sizeof buffer);
      if (n > 0) {
        to->append(buffer, std::min(static_cast<size_t>(n), limit - std::min(limit, to->size())));
      } else if (n == 0 || errno != EINTR) {
        fd.Reset();
      }
    };
    drain(out.read, polls[1].revents, &result.out);
    drain(err.read, polls[2].revents, &result.err);
  }
  sigaction(SIGPIPE, &old, nullptr);
  if (timed_out) process.Signal(SIGKILL).IgnoreError();
  auto exit = process.Wait(timed_out ? absl::InfiniteDuration()
                                     : std::max(deadline - absl::Now(), absl::Seconds(1)));
  if (!exit.ok()) {
    process.Signal(SIGKILL).IgnoreError();
    process.Wait().IgnoreError();
    timed_out = true;
  }
  if (timed_out) {
    return absl::DeadlineExceededError(
        absl::StrCat(options.argv[0], " did not end within ", absl::FormatDuration(timeout)));
  }
  result.exit = *exit;
  return result;
}

}  // namespace gantry::base
