#include "shim/oci/intel_rdt.h"

#include <sys/stat.h>

#include <cstdlib>

#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::oci {
namespace {

using ::testing::HasSubstr;

// A directory in place of resctrl: it takes the same calls, but makes no files by itself.
class IntelRdtTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char dir[] = "/tmp/gantry-resctrl-XXXXXX";
    ASSERT_NE(mkdtemp(dir), nullptr);
    root_ = dir;
  }
  void TearDown() override { EXPECT_TRUE(base::RemoveTree(root_).ok()); }
  std::string root_;
};

TEST_F(IntelRdtTest, SaysThatTheKernelLacksIt) {
  absl::Status status = JoinIntelRdt(IntelRdt(), "c", 1, root_);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("mount -t resctrl"));
}

TEST_F(IntelRdtTest, MakesAndRemovesAGroup) {
  ASSERT_TRUE(base::WriteFile(root_ + "/schemata", "").ok());
  IntelRdt rdt;
  rdt.schemata = {"L3:0=ff", "MB:0=50"};
  rdt.enable_monitoring = true;
  ASSERT_EQ(mkdir((root_ + "/c").c_str(), 0755), 0);
  ASSERT_EQ(mkdir((root_ + "/c/mon_groups").c_str(), 0755), 0);
  ASSERT_TRUE(JoinIntelRdt(rdt, "c", 42, root_).ok());
  // The kernel takes line by line; a plain file keeps the last.
  EXPECT_THAT(base::ReadFile(root_ + "/c/schemata").value_or(""), HasSubstr("MB:0=50\n"));
  EXPECT_EQ(base::ReadFile(root_ + "/c/tasks").value_or(""), "42");
  EXPECT_EQ(base::ReadFile(root_ + "/c/mon_groups/c/tasks").value_or(""), "42");
  // Only rmdir: files of the real one vanish with their directory, these do not.
  EXPECT_FALSE(RemoveIntelRdt(rdt, "c", root_).ok());
  ASSERT_TRUE(base::RemoveTree(root_ + "/c").ok());
  EXPECT_TRUE(RemoveIntelRdt(rdt, "c", root_).ok());
}

TEST_F(IntelRdtTest, KeepsAGroupThatIsNamed) {
  ASSERT_TRUE(base::WriteFile(root_ + "/schemata", "").ok());
  IntelRdt rdt;
  rdt.clos_id = "shared";
  ASSERT_TRUE(JoinIntelRdt(rdt, "c", 42, root_).ok());
  EXPECT_TRUE(RemoveIntelRdt(rdt, "c", root_).ok());
  EXPECT_TRUE(base::Exists(root_ + "/shared/tasks"));
}

}  // namespace
}  // namespace gantry::oci
