#include "shim/oci/mounts.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>

#include "base/file.h"
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

// A part of a volume, in which somebody makes links.
class VolumePartTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "clones of mounts need root";
    char name[] = "/tmp/gantry-part-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
    volume_ = dir_ + "/volume";
    for (const char* sub : {"/volume/a/b", "/secret"}) ASSERT_TRUE(base::MakeDirs(dir_ + sub).ok());
    ASSERT_EQ(symlink("a", (volume_ + "/inside").c_str()), 0);
    ASSERT_EQ(symlink((dir_ + "/secret").c_str(), (volume_ + "/absolute").c_str()), 0);
    ASSERT_EQ(symlink("../secret", (volume_ + "/relative").c_str()), 0);
  }
  void TearDown() override {
    if (!dir_.empty()) {
      EXPECT_TRUE(base::RemoveTree(dir_).ok());
    }
  }
  static ino_t InodeOf(const std::string& path) {
    struct stat st = {};
    EXPECT_EQ(stat(path.c_str(), &st), 0) << path;
    return st.st_ino;
  }
  static ino_t InodeOf(const base::UniqueFd& fd) {
    struct stat st = {};
    EXPECT_EQ(fstat(fd.get(), &st), 0);
    return st.st_ino;
  }

  std::string dir_, volume_;
};

TEST_F(VolumePartTest, IsOpenedBeneathTheVolume) {
  for (const char* good : {"a/b", "inside/b", "a/../a/b", "a/./b"}) {
    auto tree = CloneTree(volume_ + "/./" + good, false);
    ASSERT_TRUE(tree.ok()) << good << ": " << tree.status();
    EXPECT_EQ(InodeOf(*tree), InodeOf(volume_ + "/a/b"));
  }
  for (const char* bad : {"absolute", "relative", "../secret", "a/../../secret", "/secret"})
    EXPECT_EQ(CloneTree(volume_ + "/./" + bad, false).status().code(),
              absl::StatusCode::kPermissionDenied)
        << bad;
  EXPECT_EQ(CloneTree(volume_ + "/./none", false).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(VolumePartTest, ARaceLeadsNowhere) {
  std::atomic<bool> stop{false};
  std::thread swapper([&] {
    std::string a = volume_ + "/a", link = volume_ + "/absolute";
    while (!stop) renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, link.c_str(), RENAME_EXCHANGE);
  });
  ino_t secret = InodeOf(dir_ + "/secret");
  int opened = 0, refused = 0;
  for (int i = 0; i < 20000; ++i) {
    auto tree = CloneTree(volume_ + "/./a", false);
    (tree.ok() ? opened : refused)++;
    if (tree.ok() && InodeOf(*tree) == secret) ADD_FAILURE() << "escaped";
  }
  stop = true;
  swapper.join();
  EXPECT_GT(opened, 0);
  EXPECT_GT(refused, 0);
}

}  // namespace
}  // namespace gantry::oci
