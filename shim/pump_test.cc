#include "shim/pump.h"

#include <fcntl.h>
#include <unistd.h>

#include <string>

#include "base/event_loop.h"
#include "base/file.h"
#include "gtest/gtest.h"

namespace gantry::shim {
namespace {

struct Collect final : Sink {
  void Write(absl::string_view data) override { got.append(data.data(), data.size()); }
  void Finish() override { finished = true; }
  std::string got;
  bool finished = false;
};

std::string Noise(size_t size) {
  std::string text(size, '\0');
  for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>((i * 2654435761u) >> 13);
  return text;
}

class PumpTest : public ::testing::Test {
 protected:
  void SetUp() override {
    loop_.After(absl::Seconds(20), [this] {
      ADD_FAILURE() << "timed out";
      loop_.Stop();
    });
  }
  // Writes all of `data` into a non-blocking pipe from the loop, then closes it.
  void Feed(base::UniqueFd* to, const std::string* data, size_t at = 0) {
    while (at < data->size()) {
      ssize_t n = write(to->get(), data->data() + at, std::min<size_t>(data->size() - at, 50000));
      if (n < 0) {
        loop_.After(absl::Milliseconds(1), [this, to, data, at] { Feed(to, data, at); });
        return;
      }
      at += n;
    }
    to->Reset();
  }
  base::EventLoop loop_;
};

TEST_F(PumpTest, CopiesIntoAFunctionToTheEnd) {
  base::Pipe pipe = *base::MakePipe(O_NONBLOCK);
  auto sink = std::make_shared<Collect>();
  std::string data = Noise(1u << 20);
  Pump pump(&loop_, std::move(pipe.read), sink, [this] { loop_.Stop(); });
  Feed(&pipe.write, &data);
  ASSERT_TRUE(loop_.Run().ok());
  EXPECT_TRUE(sink->finished);
  EXPECT_TRUE(sink->got == data);
}

// The reader is slow: nothing is lost, nothing is read ahead, and the loop does not spin.
TEST_F(PumpTest, WaitsForASlowReader) {
  base::Pipe in = *base::MakePipe(O_NONBLOCK), out = *base::MakePipe(O_NONBLOCK);
  std::string data = Noise(1u << 20), got;
  bool done = false;
  Pump pump(&loop_, std::move(in.read), std::make_shared<FdSink>(std::move(out.write)),
            [&] { done = true; });
  Feed(&in.write, &data);
  std::function<void()> sip = [&] {
    char chunk[30000];
    ssize_t n = read(out.read.get(), chunk, sizeof chunk);
    if (n > 0) got.append(chunk, n);
    if (n == 0) return loop_.Stop();
    loop_.After(absl::Milliseconds(1), sip);
  };
  sip();
  clock_t before = clock();
  ASSERT_TRUE(loop_.Run().ok());
  EXPECT_TRUE(done);
  EXPECT_TRUE(got == data);
  EXPECT_LT(clock() - before, CLOCKS_PER_SEC);
}

// The writer has gone and the sink is full: EPOLLHUP of the source must not make the loop spin.
TEST_F(PumpTest, SleepsWhileTheSinkIsFullAndTheSourceHungUp) {
  base::Pipe in = *base::MakePipe(O_NONBLOCK), out = *base::MakePipe(O_NONBLOCK);
  while (write(out.write.get(), "full", 4) == 4) {
  }
  ASSERT_TRUE(base::WriteAll(in.write.get(), "more").ok());
  in.write.Reset();
  bool done = false;
  Pump pump(&loop_, std::move(in.read), std::make_shared<FdSink>(std::move(out.write)),
            [&] { done = true; });
  loop_.After(absl::Milliseconds(300), [&] { loop_.Stop(); });
  clock_t before = clock();
  ASSERT_TRUE(loop_.Run().ok());
  EXPECT_LT(clock() - before, CLOCKS_PER_SEC / 10);
  EXPECT_FALSE(done);
}

TEST_F(PumpTest, EndsWhenTheSinkIsBroken) {
  signal(SIGPIPE, SIG_IGN);
  base::Pipe in = *base::MakePipe(O_NONBLOCK), out = *base::MakePipe(O_NONBLOCK);
  out.read.Reset();
  ASSERT_TRUE(base::WriteAll(in.write.get(), "for nobody").ok());
  Pump pump(&loop_, std::move(in.read), std::make_shared<FdSink>(std::move(out.write)),
            [this] { loop_.Stop(); });
  ASSERT_TRUE(loop_.Run().ok());
}

TEST_F(PumpTest, CopiesToWhatCannotBeSpliced) {
  base::Pipe in = *base::MakePipe(O_NONBLOCK);
  base::UniqueFd master(posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
  ASSERT_TRUE(master.valid());
  ASSERT_EQ(unlockpt(master.get()), 0);
  base::UniqueFd slave(open(ptsname(master.get()), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
  ASSERT_TRUE(slave.valid());
  base::UniqueFd copy(fcntl(master.get(), F_DUPFD_CLOEXEC, 0));
  Pump pump(&loop_, std::move(in.read), std::make_shared<FdSink>(std::move(copy)),
            [this] { loop_.Stop(); });
  ASSERT_TRUE(base::WriteAll(in.write.get(), "typed\n").ok());
  in.write.Reset();
  ASSERT_TRUE(loop_.Run().ok());
  char line[64];
  ssize_t n = read(slave.get(), line, sizeof line);
  EXPECT_EQ(std::string(line, n > 0 ? n : 0), "typed\n");
}

}  // namespace
}  // namespace gantry::shim
