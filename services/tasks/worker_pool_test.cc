#include "services/tasks/worker_pool.h"

#include <atomic>

#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"

namespace gantry::services {
namespace {

TEST(WorkerPool, BlockedWorkDelaysNoOther) {
  absl::Notification release;
  absl::BlockingCounter quick(50);
  WorkerPool pool;
  for (int i = 0; i < 20; ++i) pool.Run([&release] { release.WaitForNotification(); });
  for (int i = 0; i < 50; ++i) pool.Run([&quick] { quick.DecrementCount(); });
  quick.Wait();
  release.Notify();
}

TEST(WorkerPool, RunsAllBeforeItEnds) {
  std::atomic<int> ran = 0;
  {
    WorkerPool pool(2, absl::Milliseconds(1));
    for (int i = 0; i < 200; ++i) pool.Run([&ran] { ++ran; });
  }
  EXPECT_EQ(ran, 200);
}

TEST(WorkerPool, ThreadsThatWentAwayComeBack) {
  std::atomic<int> ran = 0;
  WorkerPool pool(4, absl::Milliseconds(1));
  for (int i = 0; i < 20; ++i) {
    absl::Notification done;
    pool.Run([&] {
      ++ran;
      done.Notify();
    });
    done.WaitForNotification();
    absl::SleepFor(absl::Milliseconds(2));
  }
  EXPECT_EQ(ran, 20);
}

}  // namespace
}  // namespace gantry::services
