#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "shim/oci/child.h"

namespace gantry::oci {
namespace {

[[noreturn]] void ExecuteHook(const HookPlan& hook, int input) {
  dup2(input, 0);
  int null = open("/dev/null", O_WRONLY);
  if (null >= 0) {
    dup2(null, 1);
    dup2(null, 2);
  }
  // path: the client's bundle, for a program of the client's
  if (chdir(hook.cwd.c_str()) != 0 && chdir("/") != 0) _exit(126);
  syscall(SYS_close_range, 3u, ~0u, 0u);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execve(hook.path.c_str(), hook.argv.data(), hook.env.data());
  _exit(127);
}

// The whole state fits into a pipe's buffer (64 KiB) unless annotations are huge; then the hook
// reads while we write. SIGPIPE is ignored: a hook need not read its input.
void FeedState(int fd, const std::string& prefix, const std::string& suffix) {
  char pid[16];
  int length = snprintf(pid, sizeof pid, "%d", getpid());
  const char* parts[] = {prefix.data(), pid, suffix.data()};
  size_t sizes[] = {prefix.size(), static_cast<size_t>(length), suffix.size()};
  for (int i = 0; i < 3; ++i) {
    size_t done = 0;
    while (done < sizes[i]) {
      ssize_t n = write(fd, parts[i] + done, sizes[i] - done);
      if (n <= 0) return;
      done += static_cast<size_t>(n);
    }
  }
}

void RunHook(const ChildLink& link, const HookPlan& hook, const std::string& prefix,
             const std::string& suffix) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) link.Fail(Stage::kHook, errno, hook.path.c_str());
  int pidfd = -1;
  long pid = syscall(SYS_clone, 0x1000 /* CLONE_PIDFD */ | SIGCHLD, 0, &pidfd, 0, 0);
  if (pid < 0) link.Fail(Stage::kHook, errno, hook.path.c_str());
  if (pid == 0) ExecuteHook(hook, ends[0]);
  close(ends[0]);
  FeedState(ends[1], prefix, suffix);
  close(ends[1]);
  pollfd wait = {pidfd, POLLIN, 0};
  int timeout = hook.timeout_seconds > 0 ? hook.timeout_seconds * 1000 : -1;
  int ready;
  do {
    ready = poll(&wait, 1, timeout);
  } while (ready < 0 && errno == EINTR);
  if (ready == 0) kill(static_cast<pid_t>(pid), SIGKILL);
  int status = 0;
  waitpid(static_cast<pid_t>(pid), &status, 0);
  close(pidfd);
  if (ready == 0) link.Fail(Stage::kHook, kErrorHookTimeout, hook.path.c_str());
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
  link.Fail(Stage::kHook, kErrorHookStatus, hook.path.c_str(),
            WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

}  // namespace

void RunHooks(const ChildLink& link, const std::vector<HookPlan>& hooks, const std::string& prefix,
              const std::string& suffix) {
  if (hooks.empty()) return;
  signal(SIGPIPE, SIG_IGN);
  for (const HookPlan& hook : hooks) RunHook(link, hook, prefix, suffix);
  signal(SIGPIPE, SIG_DFL);
}

}  // namespace gantry::oci
