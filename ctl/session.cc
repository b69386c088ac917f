#include "ctl/session.h"

#include <poll.h>
#include <unistd.h>

#include <csignal>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "containerd/services/tasks/v1/tasks.methods.h"
#include "ctl/output.h"
#include "ctl/terminal.h"

namespace gantry::ctl {
namespace {

namespace tasks = containerd::services::tasks::v1;

// Ctrl-C as often as this means it.
constexpr absl::Duration kOutputGrace = absl::Seconds(2);
class Session {
 public:
  Session(const client::Connection& connection, const SessionOptions& options, client::Fifos fifos)
      : connection_(connection), options_(options), pump_(std::move(fifos), PumpOptions()) {}

  absl::StatusOr<SessionResult> Run(const std::function<absl::Status()>& start) {
    GANTRY_RETURN_IF_ERROR(Prepare());
    tasks::WaitRequest request;
    request.set_container_id(options_.container_id);
    request.set_exec_id(options_.exec_id);
    // Before the start: the exit cannot be missed then.
    client::rpc::Call wait = connection_.Start(tasks::TasksMethods::kWait.path, &request);
    if (start) GANTRY_RETURN_IF_ERROR(start());
    if (options_.terminal) Resize();
    pump_.Run({{[&] { return wait.descriptor(); }, [&] { wait.Process(); }},
               {[&] {
                  return pollfd{signals_.get(), POLLIN, 0};
                },
                [&] { OnSignal(NextSignal(signals_.get())); }}},
              [&] { return detached_ || wait.finished(); });
    if (detached_) {
      pump_.fifos().Keep();
      return SessionResult{true, 0};
    }
    tasks::WaitResponse exit;
    GANTRY_RETURN_IF_ERROR(base::Annotate(wait.FinishUnary(&exit), "wait for the program"));
    pump_.Finish(kOutputGrace);
    return SessionResult{false, static_cast<int>(exit.exit_status())};
  }

 private:
  client::StdioPump::Options PumpOptions() {
    client::StdioPump::Options pump;
    if (options_.interactive) pump.in = STDIN_FILENO;
    pump.detach_keys = options_.terminal ? options_.detach_keys : "";
    pump.on_stdin_end = [this] { CloseInput(); };
    pump.on_detach = [this] { detached_ = true; };
    return pump;
  }

  absl::StatusOr<base::UniqueFd> Watch() {
    if (options_.forward_signals) {
      return WatchSignals({SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH});
    }
    return WatchSignals({SIGWINCH});
  }

  absl::Status Prepare() {
    if (options_.terminal && options_.interactive) {
      GANTRY_RETURN_IF_ERROR(raw_.Enter(STDIN_FILENO));
    }
    GANTRY_ASSIGN_OR_RETURN(signals_, Watch());
    return absl::OkStatus();
  }

  void CloseInput() {
    tasks::CloseIORequest request;
    request.set_container_id(options_.container_id);
    request.set_exec_id(options_.exec_id);
    request.set_stdin(true);
    google::protobuf::Empty nothing;
    // The process may have ended meanwhile: nothing to close then.
    (void)connection_.Call(tasks::TasksMethods::kCloseIO, request, &nothing);
  }

  void Resize() {
    WindowSize size = GetWindowSize(STDOUT_FILENO);
    if (size.width == 0) size = GetWindowSize(STDIN_FILENO);
    if (size.width == 0) return;
    tasks::ResizePtyRequest request;
    request.set_container_id(options_.container_id);
    request.set_exec_id(options_.exec_id);
    request.set_width(size.width);
    request.set_height(size.height);
    google::protobuf::Empty nothing;
    (void)connection_.Call(tasks::TasksMethods::kResizePty, request, &nothing);
  }

  void OnSignal(int number) {
    if (number == 0) return;
    if (number == SIGWINCH) {
      if (options_.terminal) Resize();
      return;
    }
    if (number == SIGINT && ++interrupts_ == kInterruptsToKill) {
      PrintNote("gantryctl: the program does not stop; killing it\n");
      number = SIGKILL;
    }
    tasks::KillRequest request;
    request.set_container_id(options_.container_id);
    request.set_exec_id(options_.exec_id);
    request.set_signal(static_cast<uint32_t>(number));
    google::protobuf::Empty nothing;
    // A process that has ended needs no signal; any other failure shows when it does not stop.
    (void)connection_.Call(tasks::TasksMethods::kKill, request, &nothing);
  }

  client::Connection connection_;
  SessionOptions options_;
  base::UniqueFd signals_;
  int interrupts_ = 0;
  bool detached_ = false;
  RawTerminal raw_;
  client::StdioPump pump_;
};

}  // namespace

int StartFailureCode(const absl::Status& status) {
  absl::string_view text = status.message();
  if (absl::StrContains(text, "executable file not found") ||
      absl::StrContains(text, "no such file or directory")) {
    return 127;
  }
  if (absl::StrContains(text, "permission denied") ||
      absl::StrContains(text, "exec format error") || absl::StrContains(text, "is a directory")) {
    return 126;
  }
  return 125;
}

absl::StatusOr<SessionResult> RunSession(const client::Connection& connection,
                                         const SessionOptions& options, client::Fifos fifos,
                                         const std::function<absl::Status()>& start) {
  return Session(connection, options, std::move(fifos)).Run(start);
}

}  // namespace gantry::ctl
