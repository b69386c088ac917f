#include "shim/oci/mounts.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::oci {
namespace {

using ::testing::ElementsAre;

TEST(MountFlagsTest, SplitsFlagsPropagationAndData) {
  MountFlags flags =
      ParseMountFlags({"nosuid", "ro", "rbind", "rslave", "size=1k", "mode=755", "defaults", ""});
  EXPECT_EQ(flags.set, static_cast<unsigned long>(MS_NOSUID | MS_RDONLY | MS_BIND | MS_REC));
  EXPECT_THAT(flags.propagation, ElementsAre(MS_SLAVE | MS_REC));
  EXPECT_EQ(flags.data, "size=1k,mode=755");
}

TEST(MountFlagsTest, TheLastOfOppositesWins) {
  MountFlags flags = ParseMountFlags({"ro", "rw", "nodev", "exec", "noexec"});
  EXPECT_EQ(flags.set, static_cast<unsigned long>(MS_NODEV | MS_NOEXEC));
  EXPECT_EQ(flags.cleared, static_cast<unsigned long>(MS_RDONLY));
}

TEST(MountFlagsTest, RecursiveOptionsAreAttributes) {
  MountFlags flags = ParseMountFlags({"rro", "rnosuid", "rsuid", "rnoatime", "ridmap"});
  EXPECT_EQ(flags.recursive_set, uint64_t{MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOATIME});
  EXPECT_EQ(flags.recursive_cleared, uint64_t{MOUNT_ATTR_NOSUID | MOUNT_ATTR__ATIME});
  EXPECT_TRUE(flags.idmap);
  EXPECT_EQ(flags.data, "");
}

TEST(MountFlagsTest, PropagationWords) {
  EXPECT_EQ(*ParsePropagation(""), 0ul);
  EXPECT_EQ(*ParsePropagation("rshared"), static_cast<unsigned long>(MS_SHARED | MS_REC));
  EXPECT_FALSE(ParsePropagation("sharedd").ok());
}

}  // namespace
}  // namespace gantry::oci
