#include "shim/log_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "gtest/gtest.h"

namespace gantry::shim {
namespace {

// A disk that hangs until it is told to work.
struct Disk {
  std::mutex mutex;
  std::condition_variable changed;
  bool hangs = false;
  std::string got;

  void Hang(bool on) {
    std::lock_guard lock(mutex);
    hangs = on;
    changed.notify_all();
  }
  void Wait(std::unique_lock<std::mutex>* lock) {
    changed.wait(*lock, [this] { return !hangs; });
  }
  std::string Got() {
    std::lock_guard lock(mutex);
    return got;
  }
};

class DiskTarget final : public LogTarget {
 public:
  explicit DiskTarget(std::shared_ptr<Disk> disk) : disk_(std::move(disk)) {}
  void Write(absl::string_view records) override {
    std::unique_lock lock(disk_->mutex);
    disk_->Wait(&lock);
    disk_->got.append(records.data(), records.size());
  }

 private:
  std::shared_ptr<Disk> disk_;
};

class LogWriterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    loop_.After(absl::Seconds(20), [this] {
      ADD_FAILURE() << "timed out";
      loop_.Stop();
    });
  }
  void TearDown() override { disk_->Hang(false); }

  std::shared_ptr<LogWriter> Open(LogWriterOptions options) {
    std::shared_ptr<LogWriter> opened;
    LogWriter::Open(
        &loop_, std::move(options),
        [disk = disk_]() -> absl::StatusOr<std::unique_ptr<LogTarget>> {
          std::unique_lock lock(disk->mutex);
          disk->Wait(&lock);
          return std::make_unique<DiskTarget>(disk);
        },
        [&](absl::StatusOr<std::shared_ptr<LogWriter>> log) {
          EXPECT_TRUE(log.ok()) << log.status();
          opened = *log;
          loop_.Stop();
        });
    EXPECT_TRUE(loop_.Run().ok());
    return opened;
  }
  void Settle(LogWriter* log) {
    log->WhenIdle([this] { loop_.Stop(); });
    ASSERT_TRUE(loop_.Run().ok());
  }

  base::EventLoop loop_;
  std::shared_ptr<Disk> disk_ = std::make_shared<Disk>();
};

TEST_F(LogWriterTest, NonBlockingDropsTheNewestAndCounts) {
  auto log = Open({.path = "x", .format = LogFormat::kRaw, .buffer = 100, .non_blocking = true});
  disk_->Hang(true);
  std::string kept;
  for (int i = 10; i < 60; ++i) {
    std::string record = absl::StrCat("record ", i, "\n");  // ten bytes
    log->Append(record);
    if (i < 20) kept += record;
  }
  EXPECT_FALSE(log->full());
  EXPECT_EQ(log->dropped(), 40u);
  disk_->Hang(false);
  Settle(log.get());
  EXPECT_EQ(disk_->Got(), kept);
  log->Append("again\n");
  log->Append(std::string(1000, 'x'));  // too large, but only behind others
  Settle(log.get());
  EXPECT_GE(log->dropped(), 40u);
  EXPECT_EQ(disk_->Got().substr(kept.size(), 6), "again\n");
}

TEST_F(LogWriterTest, BlockingStopsTheStreamAndLosesNothing) {
  auto log = Open({.path = "x", .format = LogFormat::kRaw, .buffer = 64 * 1024});
  disk_->Hang(true);
  base::Pipe pipe = *base::MakePipe(O_NONBLOCK);
  bool ended = false;
  Pump pump(&loop_, std::move(pipe.read), LogWriter::Stream(log, "stdout"), [&] { ended = true; });
  std::string data(1u << 20, 'x');
  size_t fed = 0;
  std::function<void()> feed = [&] {
    while (fed < data.size()) {
      ssize_t n =
          write(pipe.write.get(), data.data() + fed, std::min<size_t>(4096, data.size() - fed));
      if (n < 0) break;
      fed += static_cast<size_t>(n);
    }
    if (fed < data.size()) {
      loop_.After(absl::Milliseconds(1), feed);
    } else {
      pipe.write.Reset();
    }
  };
  feed();
  // The loop goes on while the disk hangs; the program would wait at its pipe.
  size_t at_rest = 0;
  loop_.After(absl::Milliseconds(200), [&] {
    at_rest = fed;
    EXPECT_TRUE(log->full());
    EXPECT_TRUE(pump.stalled());
  });
  loop_.After(absl::Milliseconds(300), [&] {
    EXPECT_EQ(fed, at_rest);
    EXPECT_LT(fed, 256u * 1024);
    disk_->Hang(false);
  });
  std::function<void()> look = [&] {
    if (ended && log->idle()) return loop_.Stop();
    loop_.After(absl::Milliseconds(2), look);
  };
  look();
  ASSERT_TRUE(loop_.Run().ok());
  EXPECT_TRUE(disk_->Got() == data);
}

TEST_F(LogWriterTest, OpeningMayHangAsWell) {
  disk_->Hang(true);
  bool ticked = false;
  loop_.After(absl::Milliseconds(50), [&] {
    ticked = true;
    disk_->Hang(false);
  });
  auto log = Open({.path = "x", .format = LogFormat::kCri});
  EXPECT_TRUE(ticked);
  log->AppendLine("stdout", "line", false);
  Settle(log.get());
  std::vector<std::string> words = absl::StrSplit(disk_->Got(), ' ');
  ASSERT_EQ(words.size(), 4u);
  EXPECT_EQ(words[1], "stdout");
  EXPECT_EQ(words[2], "F");
  EXPECT_EQ(words[3], "line\n");
}

TEST_F(LogWriterTest, WhatWaitsIsWrittenAfterTheLogWasGivenUp) {
  auto log = Open({.path = "x", .format = LogFormat::kRaw});
  disk_->Hang(true);
  log->Append("last words\n");
  log.reset();
  disk_->Hang(false);
  for (int i = 0; i < 1000 && disk_->Got().empty(); ++i) usleep(1000);
  EXPECT_EQ(disk_->Got(), "last words\n");
}

// Idle shims are single-threaded again.
TEST_F(LogWriterTest, TheThreadEndsWhenThereIsNothingToDo) {
  auto threads = [] { return base::ListDir("/proc/self/task")->size(); };
  size_t before = threads();
  auto log = Open({.path = "x", .format = LogFormat::kRaw});
  EXPECT_GT(threads(), before);
  for (int i = 0; i < 300 && threads() > before; ++i) usleep(10'000);
  EXPECT_EQ(threads(), before);
  log->Append("more\n");
  Settle(log.get());
  EXPECT_EQ(disk_->Got(), "more\n");
}

}  // namespace
}  // namespace gantry::shim
