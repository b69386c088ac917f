#include "shim/serve.h"

#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/event_loop.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "base/ttrpc/server.h"
#include "shim/attach_server.h"
#include "shim/events.h"
#include "shim/sandbox_service.h"
#include "shim/task_service.h"

namespace gantry::shim {
namespace {

constexpr absl::Duration kUnusedLimit = absl::Minutes(1);
constexpr absl::Duration kFarewellLimit = absl::Seconds(2);

// Log lines go to the supervisor's fifo if there is one, and are dropped rather than waited for.
void RedirectStdio() {
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) return;
  for (int fd : {0, 1, 2}) dup2(null, fd);
  if (null > 2) close(null);
  // Read-write: opening succeeds without a reader, and a reader that leaves breaks nothing.
  base::UniqueFd log(open("log", O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW));
  struct stat st {};
  if (log && fstat(log.get(), &st) == 0 && S_ISFIFO(st.st_mode)) dup2(log.get(), 2);
}

// One more than the supervisor's, so that the kernel prefers us to it. Lowering may be forbidden
// and is not tried.
void RaiseOomScore() {
  absl::StatusOr<std::string> text = base::ReadFile("/proc/self/oom_score_adj", 64);
  int score = 0;
  if (!text.ok() || !absl::SimpleAtoi(absl::StripAsciiWhitespace(*text), &score)) return;
  absl::Status written =
      base::WriteFile("/proc/self/oom_score_adj", absl::StrCat(std::min(score + 1, 1000)));
  if (!written.ok()) base::LogDebug("oom_score_adj", {{"error", written.ToString()}});
}

class Shim {
 public:
  explicit Shim(ServeOptions options)
      : options_(std::move(options)),
        events_(&loop_, options_.ttrpc_address, options_.ns),
        service_(&loop_, &events_, options_.ns,
                 [this] {
                   if (!sandbox_.present()) BeginEnd();
                 }),
        sandbox_(
            &loop_, [this] { return service_.containers(); }, [this] { BeginEnd(); }),
        server_(&loop_) {}

  absl::Status Run() {
    GANTRY_RETURN_IF_ERROR(WatchSignals());
    auto handler = [this](std::shared_ptr<base::ttrpc::Call> call) {
      service_.Handle(call);
      TrimLater();
    };
    server_.Register("containerd.task.v2.Task", handler);
    server_.Register("containerd.task.v3.Task", handler);
    server_.Register("containerd.runtime.sandbox.v1.Sandbox",
                     [this](std::shared_ptr<base::ttrpc::Call> call) { sandbox_.Handle(call); });
    GANTRY_RETURN_IF_ERROR(server_.Listen(std::move(options_.listener)));
    WatchUse();
    return loop_.Run();
  }

 private:
  absl::Status WatchSignals() {
    sigset_t set;
    sigemptyset(&set);
    for (int number : {SIGCHLD, SIGTERM, SIGINT}) sigaddset(&set, number);
    sigprocmask(SIG_SETMASK, &set, nullptr);
    signals_.Reset(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!signals_) return base::ErrnoStatus(errno, "signalfd");
    return loop_.Add(signals_.get(), EPOLLIN, [this](uint32_t) { OnSignals(); });
  }

  void OnSignals() {
    signalfd_siginfo info;
    while (read(signals_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
      if (info.ssi_signo == SIGCHLD) continue;
      // With containers a shim ends when they are deleted, not when the machine's init is in a
      // hurry.
      if (!used()) BeginEnd();
    }
    int status = 0;
    while (pid_t pid = waitpid(-1, &status, WNOHANG | __WALL)) {
      if (pid < 0 && errno == EINTR) continue;
      if (pid < 0) break;
      absl::Time now = absl::Now();
      if (!sandbox_.OnChildExit(pid, status, now)) service_.OnChildExit(pid, status, now);
    }
  }

  // What parsing a specification took goes back to the system.
  void TrimLater() {
    if (std::exchange(trim_due_, true)) return;
    loop_.After(absl::Seconds(1), [this] {
      trim_due_ = false;
      malloc_trim(0);
    });
  }

  bool used() const { return service_.containers() > 0 || sandbox_.present(); }

  void WatchUse() {
    loop_.After(kUnusedLimit, [this] {
      if (used()) return WatchUseLater();
      if (server_.connections() == 0) return BeginEnd();
      WatchUse();
    });
  }
  // While there are containers an hourly look is enough.
  void WatchUseLater() {
    loop_.After(absl::Hours(1), [this] { WatchUse(); });
  }

  // Ends when the last answer and the last events have gone, or soon.
  void BeginEnd() {
    if (std::exchange(ending_, true)) return;
    server_.StopListening();
    unlink(options_.socket_path.c_str());
    TryEnd(absl::Now() + kFarewellLimit);
  }
  void TryEnd(absl::Time limit) {
    // Clients who take the last output of a program are not cut off.
    if (AttachServer::retired() > 0) limit = absl::Now() + kFarewellLimit;
    bool idle = AttachServer::retired() == 0 && server_.unsent_bytes() == 0 &&
                (events_.queued() == 0 || events_.stuck());
    if (idle || absl::Now() >= limit) return loop_.Stop();
    loop_.After(absl::Milliseconds(AttachServer::retired() > 0 ? 20 : 2),
                [this, limit] { TryEnd(limit); });
  }

  ServeOptions options_;
  base::EventLoop loop_;
  EventPublisher events_;
  TaskService service_;
  SandboxService sandbox_;
  base::ttrpc::Server server_;
  base::UniqueFd signals_;
  bool ending_ = false;
  bool trim_due_ = false;
};

}  // namespace

void Serve(ServeOptions options) {
  setsid();
  if (!options.bundle.empty() && chdir(options.bundle.c_str()) != 0) {
    // The bundle is removed under a shim that is not needed any longer; Create will say so.
  }
  RedirectStdio();
  prctl(PR_SET_NAME, "gantry-shim");
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGCHLD, SIG_DFL);
  base::SetLogLevel(options.debug ? base::LogLevel::kDebug : base::LogLevel::kInfo);
  RaiseOomScore();
  mallopt(M_ARENA_MAX, 1);  // the logs' threads need no memory of their own
  std::string socket_path = options.socket_path;
  // Never destroyed: the process ends here, and destructors would only touch pages.
  auto* shim = new Shim(std::move(options));
  absl::Status ran = shim->Run();
  if (!ran.ok()) {
    base::LogError("the shim ends", {{"error", ran.ToString()}});
    unlink(socket_path.c_str());
  }
  // A log's thread that hangs in the kernel would keep the process' descriptors open: whoever is
  // connected must see the end all the same.
  syscall(SYS_close_range, 0, ~0u, 0);
  _exit(ran.ok() ? 0 : 1);
}

}  // namespace gantry::shim
