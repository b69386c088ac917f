// A database on a file system that fills up and is freed again. Needs root, for a mount of its own.

#include <sched.h>
#include <sys/mount.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/ids.h"
#include "gtest/gtest.h"
#include "services/metadata/db.h"

namespace gantry::services {
namespace {

class FullDiskTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(dir_);
    ASSERT_EQ(unshare(CLONE_NEWNS), 0) << strerror(errno);
    ASSERT_EQ(mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0) << strerror(errno);
    ASSERT_EQ(mount("gantry-test", dir_.c_str(), "tmpfs", 0, "size=8m"), 0) << strerror(errno);
  }
  void TearDown() override {
    umount2(dir_.c_str(), MNT_DETACH);
    std::filesystem::remove_all(dir_);
  }

  const std::string dir_ = absl::StrCat("/tmp/gantry-full-", base::RandomHex(6));
};

TEST_F(FullDiskTest, TakesChangesAgainWhenThereIsRoom) {
  absl::StatusOr<std::unique_ptr<Db>> db = Db::Open(dir_ + "/db");
  ASSERT_TRUE(db.ok()) << db.status();
  const auto put = [&](int i) {
    return (*db)->Update(Durability::kSync, [&](Tx& tx) {
      tx.Put(absl::StrCat("k", i), std::string(4000, 'x'));
      return absl::OkStatus();
    });
  };
  ASSERT_TRUE(put(0).ok());
  {
    std::ofstream filler(dir_ + "/filler", std::ios::binary);
    const std::string block(64 << 10, 'f');
    while (filler.write(block.data(), static_cast<std::streamsize>(block.size())).flush()) {
    }
  }
  int written = 1;
  absl::Status status;
  while (written < 2000 && (status = put(written)).ok()) ++written;
  ASSERT_FALSE(status.ok()) << "the disk never filled up";
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  // Opening anew may have freed enough for a few more; then it is full again.
  for (int i = 0; i < 5; ++i) {
    status = put(3000 + i);
    EXPECT_TRUE(status.ok() || absl::IsResourceExhausted(status) || absl::IsUnavailable(status))
        << status;
    absl::SleepFor(absl::Milliseconds(250));
  }

  std::filesystem::remove(dir_ + "/filler");
  for (int i = 0; i < 50 && !(status = put(5000)).ok(); ++i)
    absl::SleepFor(absl::Milliseconds(100));
  EXPECT_TRUE(status.ok()) << status;
  db->reset();
  db = Db::Open(dir_ + "/db");
  ASSERT_TRUE(db.ok()) << db.status();
  EXPECT_TRUE((*db)
                  ->View([&](const ReadView& view) -> absl::Status {
                    for (int i = 0; i < written; ++i) {
                      EXPECT_TRUE(*view.Exists(absl::StrCat("k", i))) << i;
                    }
                    EXPECT_TRUE(*view.Exists("k5000"));
                    return absl::OkStatus();
                  })
                  .ok());
}

}  // namespace
}  // namespace gantry::services
