#include "base/event_loop.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "base/file.h"
#include "gtest/gtest.h"

namespace gantry::base {
namespace {

TEST(EventLoopTest, TimersRunInOrderOfDueTimeAndNotEarly) {
  EventLoop loop;
  std::vector<int> order;
  absl::Time start = absl::Now();
  absl::Duration last;
  loop.After(absl::Milliseconds(30), [&] {
    order.push_back(2);
    last = absl::Now() - start;
    loop.Stop();
  });
  loop.After(absl::Milliseconds(10), [&] { order.push_back(1); });
  EventLoop::TimerId cancelled = loop.After(absl::Milliseconds(5), [&] { order.push_back(9); });
  loop.Cancel(cancelled);
  loop.Cancel(cancelled);
  loop.Cancel(12345);
  ASSERT_TRUE(loop.Run().ok());
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
  EXPECT_GE(last, absl::Milliseconds(29));
}

TEST(EventLoopTest, PostedFunctionsRunInOrderOnTheLoopsThread) {
  EventLoop loop;
  std::vector<int> seen;
  std::thread::id loop_thread;
  std::thread other([&] {
    for (int i = 0; i < 100; ++i) loop.Post([&seen, i] { seen.push_back(i); });
    loop.Post([&] {
      loop_thread = std::this_thread::get_id();
      loop.Stop();
    });
  });
  ASSERT_TRUE(loop.Run().ok());
  other.join();
  ASSERT_EQ(seen.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(seen[i], i);
  EXPECT_EQ(loop_thread, std::this_thread::get_id());
}

TEST(EventLoopTest, FunctionsPostedBeforeStopRunInTheNextRun) {
  EventLoop loop;
  int ran = 0;
  loop.Post([&] { loop.Stop(); });
  loop.Post([&] {
    ++ran;
    loop.Stop();
  });
  ASSERT_TRUE(loop.Run().ok());
  EXPECT_EQ(ran, 0);
  ASSERT_TRUE(loop.Run().ok());
  EXPECT_EQ(ran, 1);
}

// An event that is in the batch already must not reach a descriptor which was closed and whose
// number was given out again by an earlier callback of the same batch.
TEST(EventLoopTest, StaleEventsDoNotReachAReusedNumber) {
  EventLoop loop;
  Pipe a = *MakePipe(), b = *MakePipe(), fresh;
  ASSERT_TRUE(WriteAll(a.write.get(), "x").ok());
  ASSERT_TRUE(WriteAll(b.write.get(), "x").ok());
  int wrong = 0, calls = 0;
  // Whichever comes first closes the other and watches an empty pipe under its number.
  auto replace = [&](UniqueFd* victim) {
    ++calls;
    int number = victim->get();
    loop.Remove(number);
    victim->Reset();
    fresh = *MakePipe();
    UniqueFd moved(dup2(fresh.read.get(), number));
    ASSERT_TRUE(loop.Add(number, EPOLLIN, [&](uint32_t) { ++wrong; }).ok());
    moved.Release();
    loop.After(absl::Milliseconds(10), [&] { loop.Stop(); });
  };
  auto on_a = [&](uint32_t) {
    loop.Remove(a.read.get());
    replace(&b.read);
  };
  auto on_b = [&](uint32_t) {
    loop.Remove(b.read.get());
    replace(&a.read);
  };
  ASSERT_TRUE(loop.Add(a.read.get(), EPOLLIN, on_a).ok());
  ASSERT_TRUE(loop.Add(b.read.get(), EPOLLIN, on_b).ok());
  ASSERT_TRUE(loop.Run().ok());
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(wrong, 0);
}

TEST(EventLoopTest, AddingABadDescriptorFails) {
  EventLoop loop;
  EXPECT_FALSE(loop.Add(-1, EPOLLIN, [](uint32_t) {}).ok());
  EXPECT_FALSE(loop.Modify(4242, EPOLLIN).ok());
  loop.Remove(4242);
}

}  // namespace
}  // namespace gantry::base
