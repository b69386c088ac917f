#include "client/spec/user.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "client/spec/capabilities.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::client {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Not;

// A root file system with only /etc.
class UserTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/gantry-user-XXXXXX";
    dir_ = mkdtemp(name);
    ASSERT_TRUE(base::MakeDirs(dir_ + "/etc", 0755).ok());
    root_ = *base::Open(dir_, O_PATH | O_DIRECTORY);
  }
  void TearDown() override { EXPECT_TRUE(base::RemoveTree(dir_).ok()); }

  void Write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(base::WriteFile(dir_ + "/etc/" + name, text).ok());
  }
  absl::StatusOr<ResolvedUser> Resolve(absl::string_view text) {
    auto request = ParseUser(text);
    if (!request.ok()) return request.status();
    return ResolveUser(root_.get(), *request);
  }

  std::string dir_;
  base::UniqueFd root_;
};

TEST_F(UserTest, FindsUsersAndGroups) {
  Write("passwd", "root:x:0:0::/:/bin/sh\napp:x:1000:1001::/:/bin/sh\n");
  Write("group", "root:x:0:\nwheel:x:10:root,app\nstaff:x:50:other\napps:x:1001:\n");
  struct Case {
    const char* text;
    uint32_t uid;
    uint32_t gid;
    std::vector<uint32_t> gids;
  };
  const Case kCases[] = {{"", 0, 0, {0, 10}},
                         {"app", 1000, 1001, {1001, 10}},
                         {"1000", 1000, 1001, {1001, 10}},
                         {"4242", 4242, 0, {0}},
                         {"app:staff", 1000, 50, {50}},
                         {"1000:77", 1000, 77, {77}},
                         {"2147483647:0", 2147483647, 0, {0}}};
  for (const Case& c : kCases) {
    auto user = Resolve(c.text);
    ASSERT_TRUE(user.ok()) << c.text << ": " << user.status();
    EXPECT_EQ(user->uid, c.uid) << c.text;
    EXPECT_EQ(user->gid, c.gid) << c.text;
    EXPECT_EQ(user->additional_gids, c.gids) << c.text;
  }
}

TEST_F(UserTest, NumbersOutOfRangeAreNeverNames) {
  // An image that defines such names as root.
  Write("passwd",
        "4294967296:x:0:0::/:/bin/sh\n2147483648:x:0:0::/:/bin/sh\n-1:x:0:0::/:/bin/sh\n");
  for (const char* text : {"2147483648", "4294967295", "4294967296", "99999999999999999999", "-1",
                           "+0", "1000:-1", "0:4294967296", "a:b:c", ":", "1:", " 0", "0\n"}) {
    auto user = Resolve(text);
    EXPECT_TRUE(absl::IsInvalidArgument(user.status())) << text << ": " << user.status();
  }
}

TEST_F(UserTest, UnknownNamesAreNotFound) {
  EXPECT_TRUE(absl::IsNotFound(Resolve("nobody").status()));
  EXPECT_TRUE(absl::IsNotFound(Resolve("0:nogroup").status()));
  EXPECT_TRUE(absl::IsNotFound(Resolve("0x0").status()));
}

TEST_F(UserTest, EntriesOutOfRangeAreSkipped) {
  Write("passwd", "app:x:4294967296:0::/:/bin/sh\napp2:x:1:99999999999:::\n");
  EXPECT_TRUE(absl::IsNotFound(Resolve("app").status()));
  EXPECT_TRUE(absl::IsNotFound(Resolve("app2").status()));
}

TEST_F(UserTest, HostileFilesAreRefusedAtOnce) {
  std::string passwd = dir_ + "/etc/passwd";
  absl::Time start = absl::Now();

  ASSERT_EQ(mkfifo(passwd.c_str(), 0600), 0);
  EXPECT_TRUE(absl::IsFailedPrecondition(Resolve("app").status()));
  unlink(passwd.c_str());

  ASSERT_EQ(mkdir(passwd.c_str(), 0700), 0);
  EXPECT_TRUE(absl::IsFailedPrecondition(Resolve("app").status()));
  rmdir(passwd.c_str());

  Write("passwd", "");
  ASSERT_EQ(truncate(passwd.c_str(), off_t{2} << 30), 0);
  EXPECT_TRUE(absl::IsResourceExhausted(Resolve("app").status()));
  unlink(passwd.c_str());

  // Links stay inside the root: the host's files are not seen.
  ASSERT_EQ(symlink("/etc/../../../../etc/shadow", passwd.c_str()), 0);
  EXPECT_TRUE(absl::IsNotFound(Resolve("daemon").status()));
  unlink(passwd.c_str());
  ASSERT_EQ(symlink("/dev/zero", passwd.c_str()), 0);
  EXPECT_FALSE(Resolve("app").ok());

  EXPECT_LT(absl::Now() - start, absl::Seconds(2));
}

TEST(CapabilitiesTest, AddsAndDrops) {
  EXPECT_EQ(DefaultCapabilities().size(), 14u);
  EXPECT_THAT(*MakeCapabilities({"chown"}, {"ALL"}), ElementsAre("CAP_CHOWN"));
  EXPECT_THAT(*MakeCapabilities({}, {"CAP_KILL"}), Not(Contains("CAP_KILL")));
  EXPECT_THAT(*MakeCapabilities({"SYS_ADMIN"}, {}), Contains("CAP_SYS_ADMIN"));
  EXPECT_THAT(*MakeCapabilities({"ALL"}, {"CHOWN"}), Not(Contains("CAP_CHOWN")));
  EXPECT_TRUE(absl::IsInvalidArgument(MakeCapabilities({"FLY"}, {}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(MakeCapabilities({"ALL"}, {"FLY"}).status()));
}

}  // namespace
}  // namespace gantry::client
