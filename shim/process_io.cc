#include "shim/process_io.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "shim/log_daemon.h"

namespace gantry::shim {
namespace {

constexpr absl::Duration kLoggerReadyLimit = absl::Seconds(10);
constexpr size_t kDefaultLogBuffer = 1u << 20;  // Docker's

absl::Status SetNonBlocking(int fd) {
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
    return base::ErrnoStatus(errno, "set O_NONBLOCK");
  return absl::OkStatus();
}

// One target takes both streams of these, whatever the URI of stderr says.
bool IsLog(const StdioUri& uri) {
  return uri.scheme == "file" || uri.scheme == "json-file" || uri.scheme == "cri" ||
         uri.scheme == "syslog" || uri.scheme == "journald";
}

void SetMode(const LogMode& mode, LogWriterOptions* writer) {
  writer->non_blocking = mode.non_blocking;
  if (mode.non_blocking)
    writer->buffer = mode.max_buffer_size > 0 ? mode.max_buffer_size : kDefaultLogBuffer;
}

absl::StatusOr<mode_t> FileType(const std::string& path) {
  struct stat st {};
  if (stat(path.c_str(), &st) != 0) return base::ErrnoStatus(errno, absl::StrCat("stat ", path));
  return st.st_mode & S_IFMT;
}

}  // namespace

struct ProcessIo::Opening {
  std::unique_ptr<ProcessIo> io;
  OpenDone done;
  int steps = 1;  // that have not ended
  absl::Status status;

  void End(const absl::Status& step) {
    if (status.ok()) status = step;
    if (--steps > 0) return;
    if (status.ok()) return done(std::move(io));
    io.reset();
    done(status);
  }
};

void ProcessIo::Open(base::EventLoop* loop, const StdioConfig& config, OpenDone done) {
  auto opening = std::make_shared<Opening>();
  opening->io.reset(new ProcessIo(loop));
  opening->done = std::move(done);
  ProcessIo* io = opening->io.get();
  io->terminal_ = config.terminal;
  absl::Status opened = base::Annotate(io->OpenAttach(config), "open the attach socket");
  if (opened.ok()) opened = base::Annotate(io->OpenInput(config), "open stdin");
  if (opened.ok())
    opened = base::Annotate(io->OpenOutputs(opening, config), "open stdout and stderr");
  opening->End(opened);
}

ProcessIo::~ProcessIo() {
  StopLogger();
  out_pump_.reset();
  err_pump_.reset();
  if (attach_) AttachServer::Retire(std::move(attach_));
}

absl::Status ProcessIo::OpenAttach(const StdioConfig& config) {
  AttachOptions options{.terminal = config.terminal};
  for (const std::string* text : {&config.in, &config.out}) {
    GANTRY_ASSIGN_OR_RETURN(StdioUri uri, ParseStdioUri(*text));
    if (uri.scheme != "attach" && (text == &config.in || !IsLog(uri))) continue;
    GANTRY_RETURN_IF_ERROR(options.Merge(uri));
    (text == &config.in ? attach_in_ : attach_out_) = true;
  }
  if (options.path.empty()) return absl::OkStatus();
  GANTRY_ASSIGN_OR_RETURN(attach_, AttachServer::Listen(loop_, std::move(options)));
  if (!attach_in_) attach_->CloseStdin();
  return absl::OkStatus();
}

absl::Status ProcessIo::OpenInput(const StdioConfig& config) {
  if (config.in.empty()) return absl::OkStatus();
  GANTRY_ASSIGN_OR_RETURN(StdioUri uri, ParseStdioUri(config.in));
  if (uri.scheme == "attach") return config.terminal ? absl::OkStatus() : MakeInputPipe(config);
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
  return config.terminal ? absl::OkStatus() : MakeInputPipe(config);
}

absl::Status ProcessIo::MakeInputPipe(const StdioConfig& config) {
  GANTRY_ASSIGN_OR_RETURN(base::Pipe pipe, base::MakePipe());
  GANTRY_RETURN_IF_ERROR(SetNonBlocking(pipe.write.get()));
  if ((config.uid || config.gid) && fchown(pipe.read.get(), config.uid, config.gid) != 0)
    return base::ErrnoStatus(errno, "chown of the stdin pipe");
  child_in_ = std::move(pipe.read);
  in_target_ = std::move(pipe.write);
  return absl::OkStatus();
}

absl::Status ProcessIo::OpenOutputs(const OpeningPtr& opening, const StdioConfig& config) {
  GANTRY_ASSIGN_OR_RETURN(StdioUri out, ParseStdioUri(config.out));
  if (out.scheme == "binary") return StartLogger(opening, config, out);
  bool has_out = !out.scheme.empty(), has_err = false;
  if (out.scheme == "attach") {
    has_err = true;
  } else if (IsLog(out)) {
    has_err = true;
    LogStreams streams = {{"stdout", &out_sink_}};
    if (!config.terminal) streams.emplace_back("stderr", &err_sink_);
    GANTRY_RETURN_IF_ERROR(OpenLogOf(opening, config, out, std::move(streams)));
  } else {
    GANTRY_RETURN_IF_ERROR(OpenOutput(opening, out, "stdout", &out_sink_));
    if (!config.terminal) {
      GANTRY_ASSIGN_OR_RETURN(StdioUri err, ParseStdioUri(config.err));
      has_err = !err.scheme.empty();
      GANTRY_RETURN_IF_ERROR(OpenOutput(opening, err, "stderr", &err_sink_));
    }
  }
  if (config.terminal) return absl::OkStatus();
  if (has_out) GANTRY_RETURN_IF_ERROR(MakeOutputPipe(config, &child_out_, &out_source_));
  if (has_err) GANTRY_RETURN_IF_ERROR(MakeOutputPipe(config, &child_err_, &err_source_));
  return absl::OkStatus();
}

absl::Status ProcessIo::OpenOutput(const OpeningPtr& opening, const StdioUri& uri, const char* name,
                                   std::shared_ptr<Sink>* sink) {
  if (uri.scheme.empty()) return absl::OkStatus();
  if (uri.scheme != "fifo") {
    GANTRY_ASSIGN_OR_RETURN(LogFile::Options options, LogFile::ParseOptions(uri));
    return OpenLogFile(opening, std::move(options), {{name, sink}});
  }
  GANTRY_ASSIGN_OR_RETURN(mode_t type, FileType(uri.path));
  if (type == S_IFREG) return OpenLogFile(opening, {.path = uri.path}, {{name, sink}});
  if (type != S_IFIFO)
    return absl::InvalidArgumentError(
        absl::StrCat(name, " ", uri.path, " is neither a fifo nor a regular file"));
  base::UniqueFd reader;
  GANTRY_ASSIGN_OR_RETURN(reader, base::Open(uri.path, O_RDONLY | O_NONBLOCK));
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd writer, base::Open(uri.path, O_WRONLY | O_NONBLOCK));
  *sink = std::make_shared<FdSink>(std::move(writer), std::move(reader));
  return absl::OkStatus();
}

absl::Status ProcessIo::OpenLogFile(const OpeningPtr& opening, LogFile::Options options,
                                    LogStreams streams) {
  LogWriterOptions writer{
      .path = options.path, .format = options.format, .attributes = options.attributes};
  SetMode(options.mode, &writer);
  return OpenLog(
      opening, std::move(writer),
      [options = std::move(options)]() -> absl::StatusOr<std::unique_ptr<LogTarget>> {
        return LogFile::Open(options);
      },
      std::move(streams));
}

// Any of those that IsLog() names.
absl::Status ProcessIo::OpenLogOf(const OpeningPtr& opening, const StdioConfig& config,
                                  const StdioUri& uri, LogStreams streams) {
  if (uri.scheme != "syslog" && uri.scheme != "journald") {
    GANTRY_ASSIGN_OR_RETURN(LogFile::Options options, LogFile::ParseOptions(uri));
    return OpenLogFile(opening, std::move(options), std::move(streams));
  }
  LogWriterOptions writer{.path = uri.scheme, .format = LogFormat::kFramed};
  GANTRY_ASSIGN_OR_RETURN(LogMode mode, LogMode::Parse(uri));
  SetMode(mode, &writer);
  LogWriter::Opener open;
  if (uri.scheme == "syslog") {
    GANTRY_ASSIGN_OR_RETURN(SyslogOptions options, ParseSyslogOptions(uri, config.container_id));
    open = [options = std::move(options)] { return OpenSyslog(options); };
  } else {
    GANTRY_ASSIGN_OR_RETURN(JournaldOptions options,
                            ParseJournaldOptions(uri, config.container_id));
    open = [options = std::move(options)] { return OpenJournald(options); };
  }
  return OpenLog(opening, std::move(writer), std::move(open), std::move(streams));
}

absl::Status ProcessIo::OpenLog(const OpeningPtr& opening, LogWriterOptions writer,
                                LogWriter::Opener open, LogStreams streams) {
  ++opening->steps;
  LogWriter::Open(loop_, std::move(writer), std::move(open),
                  [this, opening,
                   streams = std::move(streams)](absl::StatusOr<std::shared_ptr<LogWriter>> log) {
                    if (log.ok()) {
                      for (const auto& [name, sink] : streams)
                        *sink = LogWriter::Stream(*log, name);
                      logs_.push_back(*std::move(log));
                    }
                    opening->End(log.status());
                  });
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

absl::Status ProcessIo::StartLogger(const OpeningPtr& opening, const StdioConfig& config,
                                    const StdioUri& uri) {
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
  WatchLogger(*std::move(logger));
  ready.write.Reset();
  AwaitLogger(opening, std::move(ready.read), uri.path);
  if (config.terminal) {
    // The terminal's output is copied; the program finds its second stream at the end.
    GANTRY_RETURN_IF_ERROR(SetNonBlocking(out.write.get()));
    out_sink_ = std::make_shared<FdSink>(std::move(out.write));
    return absl::OkStatus();
  }
  if (uid_t uid = config.uid; uid || config.gid) {
    if (fchown(out.write.get(), uid, config.gid) != 0 ||
        fchown(err.write.get(), uid, config.gid) != 0)
      return base::ErrnoStatus(errno, "chown of an output pipe");
  }
  child_out_ = std::move(out.write);
  child_err_ = std::move(err.write);
  return absl::OkStatus();
}

// It says that it is ready by closing the pipe or by writing one byte (binary-v2).
void ProcessIo::AwaitLogger(const OpeningPtr& opening, base::UniqueFd ready,
                            const std::string& program) {
  struct Wait {
    base::UniqueFd ready;
    base::EventLoop::TimerId timer = 0;
  };
  auto wait = std::make_shared<Wait>();
  wait->ready = std::move(ready);
  ++opening->steps;
  auto end = [loop = loop_, opening, wait](const absl::Status& status) {
    loop->Remove(wait->ready.get());
    wait->ready.Reset();
    loop->Cancel(wait->timer);
    opening->End(status);
  };
  wait->timer = loop_->After(kLoggerReadyLimit, [end, program] {
    end(absl::DeadlineExceededError(
        absl::StrCat("logging program ", program, " did not get ready within 10 seconds")));
  });
  absl::Status added =
      loop_->Add(wait->ready.get(), EPOLLIN, [end](uint32_t) { end(absl::OkStatus()); });
  if (!added.ok()) end(added);
}

// By its descriptor, which stays true whoever reaps it.
void ProcessIo::WatchLogger(base::Process logger) {
  logger_ = std::move(logger);
  absl::Status added = loop_->Add(logger_->pidfd(), EPOLLIN, [this](uint32_t) {
    loop_->Remove(logger_->pidfd());
    logger_.reset();
    CheckDrained();
  });
  if (!added.ok()) base::LogWarn("logging program is not watched", {{"error", added.ToString()}});
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
    if (in_source_ || attach_in_) in_target_.Reset(fcntl(console_.get(), F_DUPFD_CLOEXEC, 0));
    // Nobody asked for the output: it is read all the same, or the program would stop.
    if (!out_sink_) out_sink_ = std::make_shared<Sink>();
  }
  AddAttached(&out_sink_, 1);
  if (!terminal_) AddAttached(&err_sink_, 2);
  StartPump(&out_source_, &out_sink_, &out_pump_);
  StartPump(&err_source_, &err_sink_, &err_pump_);
  StartInput();
}

void ProcessIo::StartInput() {
  if (attach_in_) return attach_->OpenStdin(std::move(in_target_));
  if (in_source_ && in_target_)
    in_pump_ = std::make_unique<Pump>(loop_, std::move(in_source_),
                                      std::make_shared<FdSink>(std::move(in_target_)),
                                      [this] { in_pump_.reset(); });
}

void ProcessIo::AddAttached(std::shared_ptr<Sink>* sink, int stream) {
  if (!attach_ || !attach_out_) return;
  std::shared_ptr<Sink> clients = AttachServer::Stream(attach_, stream);
  *sink = *sink ? std::make_shared<TeeSink>(std::move(*sink), std::move(clients)) : clients;
}

void ProcessIo::StartPump(base::UniqueFd* source, std::shared_ptr<Sink>* sink,
                          std::unique_ptr<Pump>* pump) {
  if (!*source || !*sink) return;
  *pump = std::make_unique<Pump>(loop_, std::move(*source), std::move(*sink),
                                 [this, pump] { OnOutputEnd(pump); });
}

void ProcessIo::OnOutputEnd(std::unique_ptr<Pump>* pump) {
  pump->reset();
  // A logging program that is gone must not stop a program whose terminal nobody reads any more.
  if (console_ && !exited_ && !discarding_) {
    discarding_ = true;
    out_source_.Reset(fcntl(console_.get(), F_DUPFD_CLOEXEC, 0));
    out_sink_ = std::make_shared<Sink>();
    StartPump(&out_source_, &out_sink_, &out_pump_);
  }
  FinishAttached();
  CheckDrained();
}

// Without output clients stay for as long as the program runs.
void ProcessIo::FinishAttached() {
  if (attach_ && !err_pump_ && (!out_pump_ || discarding_)) attach_->Finish();
}

void ProcessIo::CloseStdin() {
  in_writer_.Reset();
  if (attach_in_ && attach_) attach_->CloseStdin();
}

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
  exited_ = true;
  in_pump_.reset();
  in_source_.Reset();
  in_writer_.Reset();
  if (attach_) attach_->ProcessExited();
  // What is in the pipes now goes out before anybody hears of the exit.
  if (out_pump_) out_pump_->Poke();
  if (err_pump_) err_pump_->Poke();
  FinishAttached();
}

void ProcessIo::WhenDrained(std::function<void()> function) {
  when_drained_ = std::move(function);
  CheckDrained();
}

bool ProcessIo::drained() const {
  if (out_pump_ || err_pump_ || logger_ || (attach_ && !attach_->idle())) return false;
  return std::all_of(logs_.begin(), logs_.end(), [](const auto& log) { return log->idle(); });
}

void ProcessIo::CheckDrained() {
  if (!when_drained_) return;
  if (drained()) {
    // Not from here: the function may destroy us, and the caller is one of our pumps.
    loop_->After(absl::ZeroDuration(),
                 [function = std::exchange(when_drained_, nullptr)] { function(); });
    return;
  }
  if (out_pump_ || err_pump_ || logger_) return;  // they will come by
  auto again = [weak = std::weak_ptr<ProcessIo*>(self_)] {
    if (auto self = weak.lock()) (*self)->CheckDrained();
  };
  if (attach_ && !attach_->idle()) return attach_->WhenIdle(again);
  for (const auto& log : logs_) {
    if (!log->idle()) return log->WhenIdle(again);
  }
}

void ProcessIo::WhenFlushed(absl::Duration limit, std::function<void()> function) {
  auto shared = std::make_shared<std::function<void()>>(std::move(function));
  CheckFlushed(shared);
  if (!*shared) return;
  loop_->After(limit, [shared, weak = std::weak_ptr<ProcessIo*>(self_)] {
    if (auto run = std::exchange(*shared, nullptr); run && !weak.expired()) run();
  });
}

// What is in the pipes is read as far as the log takes it, then waits for the log, until the log
// has taken all.
void ProcessIo::CheckFlushed(const std::shared_ptr<std::function<void()>>& function) {
  if (!*function) return;
  if (!logs_.empty() && out_pump_) out_pump_->Poke();
  if (!logs_.empty() && err_pump_) err_pump_->Poke();
  for (const auto& log : logs_) {
    if (log->idle()) continue;
    return log->WhenIdle([function, weak = std::weak_ptr<ProcessIo*>(self_)] {
      if (auto self = weak.lock()) (*self)->CheckFlushed(function);
    });
  }
  std::exchange(*function, nullptr)();
}

uint64_t ProcessIo::dropped_records() const {
  uint64_t sum = 0;
  for (const auto& log : logs_) sum += log->dropped();
  return sum;
}

// The logging program sees the end of its streams when the process has gone. One that does not end
// then is told to, and killed later.
void ProcessIo::StopLogger() {
  if (!logger_) return;
  loop_->Remove(logger_->pidfd());
  (void)logger_->Signal(SIGTERM);
  loop_->After(absl::Seconds(10), [logger = std::make_shared<base::Process>(*std::exchange(
                                       logger_, std::nullopt))] { (void)logger->Signal(SIGKILL); });
}

}  // namespace gantry::shim
