#include "snapshotter/dir_pool.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::snapshotter {
namespace {

using ::testing::SizeIs;

class DirPoolTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = absl::StrCat("/tmp/gantry-pool-", getpid(), "-", base::RandomHex(4));
    ASSERT_TRUE(base::MakeDirs(root_ + "/to").ok());
    to_ = *base::Open(root_ + "/to", O_RDONLY | O_DIRECTORY);
  }
  void TearDown() override { EXPECT_TRUE(base::RemoveTree(root_).ok()); }

  std::unique_ptr<DirPool> Open(size_t size) {
    auto pool = DirPool::Open(root_ + "/pool", size,
                              [this](int dir, const std::string& name) -> absl::Status {
                                if (broken_) return absl::ResourceExhaustedError("disk full");
                                ++made_;
                                if (mkdirat(dir, name.c_str(), 0700) != 0)
                                  return base::ErrnoStatus(errno, "mkdir");
                                return absl::OkStatus();
                              });
    EXPECT_TRUE(pool.ok()) << pool.status();
    return *std::move(pool);
  }

  std::string root_;
  base::UniqueFd to_;
  std::atomic<int> made_{0};
  std::atomic<bool> broken_{false};
};

TEST_F(DirPoolTest, HandsOutAndRefills) {
  auto pool = Open(3);
  for (int i = 0; i < 10; ++i) {
    pool->WaitUntilFull();
    auto taken = pool->Take(to_.get(), absl::StrCat(i));
    ASSERT_TRUE(taken.ok()) << taken.status();
    EXPECT_TRUE(*taken);
  }
  EXPECT_THAT(*base::ListDir(root_ + "/to"), SizeIs(10));
}

TEST_F(DirPoolTest, ReplacesNothing) {
  auto pool = Open(1);
  pool->WaitUntilFull();
  ASSERT_TRUE(base::MakeDirs(root_ + "/to/x").ok());
  EXPECT_TRUE(absl::IsAlreadyExists(pool->Take(to_.get(), "x").status()));
  EXPECT_TRUE(*pool->Take(to_.get(), "y"));
}

TEST_F(DirPoolTest, StartsEmptyAfterACrash) {
  ASSERT_TRUE(base::MakeDirs(root_ + "/pool/half/made").ok());
  auto pool = Open(2);
  pool->WaitUntilFull();
  EXPECT_THAT(*base::ListDir(root_ + "/pool"), SizeIs(2));
  EXPECT_FALSE(base::Exists(root_ + "/pool/half"));
}

TEST_F(DirPoolTest, AFailureIsTriedAgainAtTheNextRequest) {
  broken_ = true;
  auto pool = Open(1);
  pool->WaitUntilFull();
  broken_ = false;
  EXPECT_FALSE(*pool->Take(to_.get(), "x"));
  pool->WaitUntilFull();
  EXPECT_TRUE(*pool->Take(to_.get(), "x"));
}

TEST_F(DirPoolTest, ManyTakeAtOnce) {
  auto pool = Open(4);
  std::atomic<int> taken{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        auto got = pool->Take(to_.get(), absl::StrCat(t, "-", i));
        ASSERT_TRUE(got.ok()) << got.status();
        if (*got) ++taken;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(*base::ListDir(root_ + "/to"), SizeIs(taken.load()));
}

}  // namespace
}  // namespace gantry::snapshotter
