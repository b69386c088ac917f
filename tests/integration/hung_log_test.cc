// A log on a disk that hangs (a frozen ext4) must stop neither the shim's API nor, in non-blocking
// mode, the program.

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/integration/gantryd_fixture.h"

namespace gantry::tests {
namespace {

using ::testing::HasSubstr;

class HungLogTest : public GantrydTest {
 protected:
  void SetUp() override {
    GantrydTest::SetUp();
    disk_ = dir() + "/disk";
    ASSERT_TRUE(base::MakeDirs(disk_).ok());
    std::string image = dir() + "/disk.img";
    auto made = tests::Run({"/bin/sh", "-c",
                            absl::StrCat("truncate -s 16M ", image, " && mkfs.ext4 -q ", image,
                                         " && mount -o loop ", image, " ", disk_)});
    if (made.exit.code != 0) GTEST_SKIP() << "no loop device with ext4: " << made.err;
    mounted_ = true;
    StartGantryd();
    ImportBusybox();
  }
  void TearDown() override {
    Freeze(false);
    // The last writer leaves when the disk works again.
    if (mounted_) {
      EXPECT_EQ(umount2(disk_.c_str(), MNT_DETACH), 0) << strerror(errno);
    }
    if (running()) GantrydTest::TearDown();
  }
  void Freeze(bool on) {
    if (!mounted_ || frozen_ == on) return;
    base::UniqueFd fd(open(disk_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ASSERT_EQ(ioctl(fd.get(), on ? FIFREEZE : FITHAW, 0), 0) << strerror(errno);
    frozen_ = on;
  }
  std::string Status(const std::string& id) {
    std::string listed = CtrOk({"task", "ls"});
    for (const char* state : {"RUNNING", "STOPPED"}) {
      if (absl::StrContains(listed, id) && absl::StrContains(listed, state)) return state;
    }
    return "";
  }
  bool Becomes(const std::string& id, const std::string& state) {
    for (int i = 0; i < 100; ++i) {
      if (Status(id) == state) return true;
      absl::SleepFor(absl::Milliseconds(50));
    }
    return false;
  }
  void RunTicking(const std::string& query) {
    CtrOk({"run", "-d", "--log-uri", absl::StrCat("json-file://", disk_, "/t.log", query),
           std::string(kBusybox), "t", "sh", "-c",
           "p=$(head -c 4000 /dev/zero | tr '\\0' x); i=0; "
           "while :; do i=$((i+1)); echo $p; echo $i >/count; done"});
    for (int i = 0; i < 100 && !Logged(); ++i) absl::SleepFor(absl::Milliseconds(50));
    ASSERT_TRUE(Logged());
  }
  bool Logged() {
    std::error_code error;
    return std::filesystem::file_size(disk_ + "/t.log", error) > 0 && !error;
  }
  // How far the program is; its file is empty for moments.
  int Count() {
    int count = 0;
    for (int i = 0; i < 50 && count == 0; ++i)
      count = atoi(CtrOk({"task", "exec", "--exec-id", "look", "t", "cat", "/count"}).c_str());
    return count;
  }
  // Everything that a client may ask for, each within a few seconds.
  void ExpectTheApiAnswers() {
    absl::Time before = absl::Now();
    EXPECT_EQ(Status("t"), "RUNNING");
    CtrOk({"task", "kill", "-s", "KILL", "t"});
    EXPECT_TRUE(Becomes("t", "STOPPED"));
    CtrOk({"task", "rm", "t"});
    CtrOk({"container", "rm", "t"});
    EXPECT_LT(absl::Now() - before, absl::Seconds(12));
  }

  std::string disk_;
  bool mounted_ = false, frozen_ = false;
};

TEST_F(HungLogTest, BlockingStopsTheProgramAndNobodyElse) {
  RunTicking("");
  Freeze(true);
  absl::SleepFor(absl::Seconds(1));
  int at = Count();
  absl::SleepFor(absl::Milliseconds(500));
  EXPECT_EQ(Count(), at) << "the program waits for its log";
  Freeze(false);
  bool goes_on = false;
  for (int i = 0; i < 50 && !goes_on; ++i) {
    absl::SleepFor(absl::Milliseconds(50));
    goes_on = Count() > at;
  }
  EXPECT_TRUE(goes_on);
  Freeze(true);
  ExpectTheApiAnswers();
}

TEST_F(HungLogTest, NonBlockingStopsNobody) {
  RunTicking("?mode=non-blocking&max-buffer-size=64k&max-size=1m");
  Freeze(true);
  absl::SleepFor(absl::Seconds(1));
  int at = Count();
  absl::SleepFor(absl::Milliseconds(500));
  EXPECT_GT(Count(), at) << "the program goes on";
  ExpectTheApiAnswers();
}

}  // namespace
}  // namespace gantry::tests
