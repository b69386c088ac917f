#include "shim/process_io.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/file.h"
#include "base/log.h"
#include "base/process.h"
#include "base/status.h"
#include "shim/log_file.h"

namespace gantry::shim {
namespace {

constexpr absl::Duration kLoggerReadyLimit = absl::Seconds(10);

absl::Status SetNonBlocking(int fd) {
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
    return base::ErrnoStatus(errno, "set O_NONBLOCK");
  return absl::OkStatus();
}

absl::StatusOr<mode_t> FileType(const std::string& path) {
  struct stat st {};
  if (stat(path.c_str(), &st) != 0) return base::ErrnoStatus(errno, absl::StrCat("stat ", path));
  return st.st_mode & S_IFMT;
}

// Waits until the logging program closes the pipe or writes one byte (binary-v2).
absl::Status AwaitReady(int ready, const std::string& program) {
  absl::Time end = absl::Now() + kLoggerReadyLimit;
  while (true) {
    absl::Duration left = end - absl::Now();
    if (left <= absl::ZeroDuration())
      return absl::DeadlineExceededError(
          absl::StrCat("logging program ", program, " did not get ready within 10 seconds"));
    pollfd entry{ready, POLLIN, 0};
    int n = poll(&entry, 1, static_cast<int>(absl::ToInt64Milliseconds(left)) + 1);
    if (n > 0) return absl::OkStatus();
    if (n < 0 && errno != EINTR) return base::ErrnoStatus(errno, "poll");
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<ProcessIo>> ProcessIo::Open(base::EventLoop* loop,
                                                           const StdioConfig& config) {
  std::unique_ptr<ProcessIo> io(new ProcessIo(loop));
  io->terminal_ = config.terminal;
  if (absl::Status opened = io->OpenInput(config); !opened.ok())
    return base::Annotate(opened, "open stdin");
  if (absl::Status opened = io->OpenOutputs(config); !opened.ok())
    return base::Annotate(opened, "open stdout and stderr");
  return io;
}

ProcessIo::~ProcessIo() { StopLogger(); }

absl::Status ProcessIo::OpenInput(const StdioConfig& config) {
  if (config.in.empty()) return absl::OkStatus();
  GANTRY_ASSIGN_OR_RETURN(StdioUri uri, ParseStdioUri(config.in));
  if (uri.scheme != "fifo" && uri.scheme != "file")
    return absl::InvalidArgumentError(absl::StrCat("scheme ", uri.scheme, " cannot be read"));
  GANTRY_ASSIGN_OR_RETURN(mode_t type, FileType(uri.path));
  if (type != S_IFIFO && !config.terminal) {
    GANTRY_ASSIGN_OR_RETURN(child_in_, base::Open(uri.path, O_RDONLY));
    return absl::OkStatus();
  }
  GANTRY_ASSIGN_OR_RETURN(in_source_, base::Open(uri.path, O_RDONLY | O_NONBLOCK));
  if (type == S_IFIFO) {
    GANTRY_ASSIGN_OR_RETURN(in_writer_, base::Open(uri.path, O_WRONLY | O_NONBLOCK));
  }
  if (config.terminal) return absl::OkStatus();
  GANTRY_ASSIGN_OR_RETURN(base::Pipe pipe, base::MakePipe());
  GANTRY_RETURN_IF_ERROR(SetNonBlocking(pipe.write.get()));
  if ((config.uid || config.gid) && fchown(pipe.read.get(), config.uid, config.gid) != 0)
    return base::ErrnoStatus(errno, "chown of the stdin pipe");
  child_in_ = std::move(pipe.read);
  in_target_ = std::move(pipe.write);
  return absl::OkStatus();
}

absl::Status ProcessIo::OpenOutputs(const StdioConfig& config) {
  GANTRY_ASSIGN_OR_RETURN(StdioUri out, ParseStdioUri(config.out));
  if (out.scheme == "binary") return StartLogger(config, out);
  if (out.scheme == "file" || out.scheme == "json-file" || out.scheme == "cri") {
    // One file takes both streams, whatever stderr says.
    GANTRY_ASSIGN_OR_RETURN(LogFile::Options options, LogFile::ParseOptions(out));
    GANTRY_ASSIGN_OR_RETURN(std::shared_ptr<LogFile> file, LogFile::Open(std::move(options)));
    out_sink_ = LogFile::Stream(file, "stdout");
    if (!config.terminal) err_sink_ = LogFile::Stream(file, "stderr");
  } else {
    GANTRY_RETURN_IF_ERROR(OpenOutput(config, out, "stdout", &out_sink_));
    if (!config.terminal) {
      GANTRY_ASSIGN_OR_RETURN(StdioUri err, ParseStdioUri(config.err));
      GANTRY_RETURN_IF_ERROR(OpenOutput(config, err, "stderr", &err_sink_));
    }
  }
  if (config.terminal) return absl::OkStatus();
  if (out_sink_) GANTRY_RETURN_IF_ERROR(MakeOutputPipe(config, &child_out_, &out_source_));
  if (err_sink_) GANTRY_RETURN_IF_ERROR(MakeOutputPipe(config, &child_err_, &err_source_));
  return absl::OkStatus();
}

absl::Status ProcessIo::OpenOutput(const StdioConfig& /*config*/, const StdioUri& uri,
                                   const char* name, std::shared_ptr<Sink>* sink) {
  if (uri.scheme.empty()) return absl::OkStatus();
  if (uri.scheme != "fifo") {
    GANTRY_ASSIGN_OR_RETURN(LogFile::Options options, LogFile::ParseOptions(uri));
    GANTRY_ASSIGN_OR_RETURN(std::shared_ptr<LogFile> file, LogFile::Open(std::move(options)));
    *sink = LogFile::Stream(std::move(file), name);
    return absl::OkStatus();
  }
  GANTRY_ASSIGN_OR_RETURN(mode_t type, FileType(uri.path));
  if (type == S_IFREG) {
    GANTRY_ASSIGN_OR_RETURN(std::shared_ptr<LogFile> file, LogFile::Open({.path = uri.path}));
    *sink = LogFile::Stream(std::move(file), name);
    return absl::OkStatus();
  }
  if (type != S_IFIFO)
    return absl::InvalidArgumentError(
        absl::StrCat(name, " ", uri.path, " is neither a fifo nor a regular file"));
  base::UniqueFd reader;
  GANTRY_ASSIGN_OR_RETURN(reader, base::Open(uri.path, O_RDONLY | O_NONBLOCK));
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd writer, base::Open(uri.path, O_WRONLY | O_NONBLOCK));
  *sink = std::make_shared<FdSink>(std::move(writer), std::move(reader));
  return absl::OkStatus();
}

absl::Status ProcessIo::MakeOutputPipe(const StdioConfig& config, base::UniqueFd* child,
                                       base::UniqueFd* source) {
  GANTRY_ASSIGN_OR_RETURN(base::Pipe pipe, base::MakePipe());
  GANTRY_RETURN_IF_ERROR(SetNonBlocking(pipe.read.get()));
  if ((config.uid || config.gid) && fchown(pipe.write.get(), config.uid, config.gid) != 0)
    return base::ErrnoStatus(errno, "chown of an output pipe");
  *child = std::move(pipe.write);
  *source = std::move(pipe.read);
  return absl::OkStatus();
}

absl::Status ProcessIo::StartLogger(const StdioConfig& config, const StdioUri& uri) {
  if (config.terminal)
    return absl::UnimplementedError("a terminal cannot be logged by a program (binary://)");
  GANTRY_ASSIGN_OR_RETURN(base::Pipe out, base::MakePipe());
  GANTRY_ASSIGN_OR_RETURN(base::Pipe err, base::MakePipe());
  GANTRY_ASSIGN_OR_RETURN(base::Pipe ready, base::MakePipe());
  base::SpawnOptions options;
  options.argv = {uri.path};
  for (const auto& [key, value] : uri.query) {
    options.argv.push_back(key);
    options.argv.push_back(value);
  }
  options.inherit_env = false;
  options.env = {absl::StrCat("CONTAINER_ID=", config.container_id),
                 absl::StrCat("CONTAINER_NAMESPACE=", config.ns)};
  options.fds = {{3, out.read.get()}, {4, err.read.get()}, {5, ready.write.get()}};
  options.new_process_group = true;
  absl::StatusOr<base::Process> logger = base::Process::Spawn(options);
  if (!logger.ok()) return base::Annotate(logger.status(), "start the logging program");
  logger_pid_ = logger->pid();
  ready.write.Reset();
  GANTRY_RETURN_IF_ERROR(AwaitReady(ready.read.get(), uri.path));
  if (uid_t uid = config.uid; uid || config.gid) {
    if (fchown(out.write.get(), uid, config.gid) != 0 ||
        fchown(err.write.get(), uid, config.gid) != 0)
      return base::ErrnoStatus(errno, "chown of an output pipe");
  }
  child_out_ = std::move(out.write);
  child_err_ = std::move(err.write);
  return absl::OkStatus();
}

oci::ProcessIo ProcessIo::child_fds() const {
  return {child_in_.get(), child_out_.get(), child_err_.get()};
}

void ProcessIo::Attach(base::UniqueFd console) {
  child_in_.Reset();
  child_out_.Reset();
  child_err_.Reset();
  console_ = std::move(console);
  if (console_) {
    (void)SetNonBlocking(console_.get());
    out_source_.Reset(fcntl(console_.get(), F_DUPFD_CLOEXEC, 0));
    if (in_source_) in_target_.Reset(fcntl(console_.get(), F_DUPFD_CLOEXEC, 0));
    // Nobody asked for the output: it is read all the same, or the program would stop.
    if (!out_sink_) out_sink_ = std::make_shared<Sink>();
  }
  auto start = [this](base::UniqueFd* source, std::shared_ptr<Sink>* sink,
                      std::unique_ptr<Pump>* pump) {
    if (!*source || !*sink) return;
    *pump = std::make_unique<Pump>(loop_, std::move(*source), std::move(*sink), [this, pump] {
      pump->reset();
      CheckDrained();
    });
  };
  start(&out_source_, &out_sink_, &out_pump_);
  start(&err_source_, &err_sink_, &err_pump_);
  if (in_source_ && in_target_)
    in_pump_ = std::make_unique<Pump>(loop_, std::move(in_source_),
                                      std::make_shared<FdSink>(std::move(in_target_)),
                                      [this] { in_pump_.reset(); });
}

void ProcessIo::CloseStdin() { in_writer_.Reset(); }

absl::Status ProcessIo::Resize(uint32_t width, uint32_t height) {
  if (!console_) return absl::OkStatus();
  if (width > 0xffff || height > 0xffff)
    return absl::InvalidArgumentError("terminal size does not fit 16 bits");
  winsize size{static_cast<unsigned short>(height), static_cast<unsigned short>(width), 0, 0};
  if (ioctl(console_.get(), TIOCSWINSZ, &size) != 0)
    return base::ErrnoStatus(errno, "resize the terminal");
  return absl::OkStatus();
}

void ProcessIo::ProcessExited() {
  in_pump_.reset();
  in_source_.Reset();
  in_writer_.Reset();
  // What is in the pipes now goes out before anybody hears of the exit.
  if (out_pump_) out_pump_->Poke();
  if (err_pump_) err_pump_->Poke();
}

void ProcessIo::WhenDrained(std::function<void()> function) {
  when_drained_ = std::move(function);
  CheckDrained();
}

void ProcessIo::CheckDrained() {
  if (!when_drained_ || !drained()) return;
  // Not from here: the function may destroy us, and the caller is one of our pumps.
  loop_->After(absl::ZeroDuration(),
               [function = std::exchange(when_drained_, nullptr)] { function(); });
}

bool ProcessIo::OnChildExit(pid_t pid) {
  if (pid != logger_pid_) return false;
  logger_pid_ = 0;
  CheckDrained();
  return true;
}

// The logging program sees the end of its streams when the process has gone. One that does not end
// then is told to, and killed later; it is a child of ours, so the number is its own until reaped.
void ProcessIo::StopLogger() {
  if (!logger_alive()) return;
  pid_t pid = std::exchange(logger_pid_, 0);
  kill(pid, SIGTERM);
  base::UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) return;
  loop_->After(absl::Seconds(10), [fd = std::make_shared<base::UniqueFd>(std::move(pidfd))] {
    syscall(SYS_pidfd_send_signal, fd->get(), SIGKILL, nullptr, 0);
  });
}

}  // namespace gantry::shim
