#include "shim/log_writer.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/log.h"

namespace gantry::shim {
namespace {

constexpr size_t kMaxLine = 16 * 1024;
constexpr auto kIdleLimit = std::chrono::seconds(1);
constexpr size_t kStackSize = 128 * 1024;

class RawStream final : public Sink {
 public:
  explicit RawStream(std::shared_ptr<LogWriter> log) : log_(std::move(log)) {}
  void Write(absl::string_view data) override { log_->Append(data); }
  bool full() const override { return log_ && log_->full(); }
  void WhenRoom(std::function<void()> function) override { log_->WhenRoom(std::move(function)); }
  void Finish() override { log_.reset(); }

 private:
  std::shared_ptr<LogWriter> log_;
};

class LineStream final : public Sink {
 public:
  LineStream(std::shared_ptr<LogWriter> log, std::string name)
      : log_(std::move(log)), name_(std::move(name)) {}

  void Write(absl::string_view data) override {
    while (!data.empty()) {
      size_t newline = data.find('\n');
      absl::string_view piece = data.substr(0, newline);
      size_t room = kMaxLine - partial_.size();
      if (piece.size() > room) {
        partial_.append(piece.data(), room);
        data.remove_prefix(room);
        Emit(/*partial=*/true);
        continue;
      }
      partial_.append(piece.data(), piece.size());
      data.remove_prefix(std::min(data.size(), piece.size() + 1));
      if (newline != absl::string_view::npos) Emit(/*partial=*/false);
    }
  }
  bool full() const override { return log_ && log_->full(); }
  void WhenRoom(std::function<void()> function) override { log_->WhenRoom(std::move(function)); }
  void Finish() override {
    if (!partial_.empty()) Emit(/*partial=*/true);
    log_.reset();
  }

 private:
  void Emit(bool partial) {
    log_->AppendLine(name_, partial_, partial);
    std::string().swap(partial_);
  }

  std::shared_ptr<LogWriter> log_;
  std::string name_;
  std::string partial_;
};

}  // namespace

// What the loop's thread and the log's share.
struct LogWriter::Core {
  std::mutex mutex;
  std::condition_variable changed;
  // All guarded by mutex but for `target`, which belongs to the thread while that works.
  Opener open;  // to be done first
  absl::Status opened;
  std::string queue;
  size_t writing = 0;  // bytes the target has been given and not yet taken
  bool running = false;
  bool report = false;              // the loop wants to hear of the next step
  base::EventLoop* loop = nullptr;  // null: the log was given up
  std::weak_ptr<LogWriter> owner;
  std::unique_ptr<LogTarget> target;

  size_t buffered() const { return queue.size() + writing; }
  bool busy() const { return open != nullptr || buffered() > 0; }
  void Report() {
    if (!report || loop == nullptr) return;
    report = false;
    loop->Post([weak = owner] {
      if (auto log = weak.lock()) log->OnProgress();
    });
  }
};

LogWriter::LogWriter(base::EventLoop* loop, LogWriterOptions options)
    : options_(std::move(options)), core_(std::make_shared<Core>()) {
  core_->loop = loop;
}

LogWriter::~LogWriter() {
  if (dropped_ > 0)
    base::LogWarn("log is incomplete",
                  {{"path", options_.path}, {"dropped", absl::StrCat(dropped_)}});
  std::lock_guard lock(core_->mutex);
  core_->loop = nullptr;
  core_->changed.notify_one();
}

void LogWriter::Open(base::EventLoop* loop, LogWriterOptions options, Opener open, OpenDone done) {
  std::shared_ptr<LogWriter> log(new LogWriter(loop, std::move(options)));
  log->core_->owner = log;
  log->core_->open = std::move(open);
  LogWriter* self = log.get();
  self->WhenIdle([log = std::move(log), done = std::move(done)] {
    absl::Status opened;
    {
      std::lock_guard lock(log->core_->mutex);
      opened = log->core_->opened;
    }
    if (opened.ok()) return done(log);
    done(opened);
  });
  self->WakeThread();
}

std::shared_ptr<Sink> LogWriter::Stream(std::shared_ptr<LogWriter> log, std::string name) {
  if (log->options_.format == LogFormat::kRaw) return std::make_shared<RawStream>(std::move(log));
  return std::make_shared<LineStream>(std::move(log), std::move(name));
}

void LogWriter::AppendLine(absl::string_view stream, absl::string_view text, bool partial) {
  Append(FormatLogRecord(options_.format, stream, text, partial, absl::Now(), options_.attributes));
}

void LogWriter::Append(absl::string_view record) {
  {
    std::lock_guard lock(core_->mutex);
    size_t buffered = core_->buffered();
    // As in Docker the newest is dropped, and one record fits always.
    if (options_.non_blocking && buffered > 0 && buffered + record.size() > options_.buffer) {
      if (dropped_++ == 0)
        base::LogWarn("log lines are dropped: the disk or the log daemon does not keep up",
                      {{"path", options_.path}});
      return;
    }
    core_->queue.append(record.data(), record.size());
  }
  WakeThread();
}

bool LogWriter::full() const {
  if (options_.non_blocking) return false;
  std::lock_guard lock(core_->mutex);
  return core_->buffered() >= options_.buffer;
}

bool LogWriter::idle() const {
  std::lock_guard lock(core_->mutex);
  return !core_->busy();
}

void LogWriter::WhenRoom(std::function<void()> function) {
  room_waiters_.push_back(std::move(function));
  OnProgress();
}

void LogWriter::WhenIdle(std::function<void()> function) {
  idle_waiters_.push_back(std::move(function));
  OnProgress();
}

// Calls whoever waited for what is the case now; never from within WhenRoom() or WhenIdle().
void LogWriter::OnProgress() {
  base::EventLoop* loop = core_->loop;
  auto fire = [loop](std::vector<std::function<void()>>* waiters) {
    for (auto& waiter : std::exchange(*waiters, {})) loop->Post(std::move(waiter));
  };
  if (!full()) fire(&room_waiters_);
  std::lock_guard lock(core_->mutex);
  if (!core_->busy()) fire(&idle_waiters_);
  core_->report = !room_waiters_.empty() || !idle_waiters_.empty();
}

void LogWriter::WakeThread() {
  {
    std::lock_guard lock(core_->mutex);
    if (core_->running) return core_->changed.notify_one();
    core_->running = true;
  }
  auto* argument = new std::shared_ptr<Core>(core_);
  auto run = [](void* given) -> void* {
    std::unique_ptr<std::shared_ptr<Core>> core(static_cast<std::shared_ptr<Core>*>(given));
    Work(*core, /*wait=*/true);
    return nullptr;
  };
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, kStackSize);
  pthread_t thread;
  int error = pthread_create(&thread, &attributes, run, argument);
  pthread_attr_destroy(&attributes);
  if (error == 0) return;
  // The machine has no room for a thread: better slow than silent.
  base::LogWarn("log is written without a thread", {{"path", options_.path}});
  delete argument;
  Work(core_, /*wait=*/false);
}

void LogWriter::Work(std::shared_ptr<Core> core, bool wait) {
  std::unique_lock lock(core->mutex);
  while (true) {
    if (core->open) {
      Opener open = core->open;
      lock.unlock();
      auto target = open();
      lock.lock();
      core->open = nullptr;
      core->opened = target.status();
      if (target.ok()) core->target = *std::move(target);
      core->Report();
    } else if (!core->queue.empty()) {
      std::string records = std::exchange(core->queue, {});
      core->writing = records.size();
      lock.unlock();
      if (core->target) core->target->Write(records);
      lock.lock();
      core->writing = 0;
      core->Report();
    } else {
      if (wait && core->loop != nullptr &&
          core->changed.wait_for(lock, kIdleLimit) == std::cv_status::no_timeout)
        continue;
      if (core->busy()) continue;
      core->running = false;
      return;
    }
  }
}

}  // namespace gantry::shim
