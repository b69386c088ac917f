#include "docker/archive/changes.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <fstream>

#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::docker {

void PrintTo(const FileChange& change, std::ostream* out) {
  *out << "MAD"[change.kind] << " " << change.path;
}

namespace {

using ::testing::ElementsAre;

class ChangesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char dir[] = "/tmp/gantry-diff-XXXXXX";
    ASSERT_NE(mkdtemp(dir), nullptr);
    dir_ = dir;
    for (const char* name : {"/upper", "/near", "/far"}) Dir(name);
  }
  void TearDown() override { EXPECT_TRUE(base::RemoveTree(dir_).ok()); }
  void Dir(const std::string& path, mode_t mode = 0755) {
    ASSERT_EQ(mkdir((dir_ + path).c_str(), mode), 0) << path;
    ASSERT_EQ(chmod((dir_ + path).c_str(), mode), 0);
  }
  void File(const std::string& path, const std::string& text = "x") {
    std::ofstream(dir_ + path) << text;
  }
  void Whiteout(const std::string& path) {
    ASSERT_EQ(mknod((dir_ + path).c_str(), S_IFCHR, makedev(0, 0)), 0);
  }
  std::vector<FileChange> Changes(const std::set<std::string>& points = {}) {
    auto changes = OverlayChanges({{"overlay",
                                    "overlay",
                                    "",
                                    {"workdir=/x", "upperdir=" + dir_ + "/upper",
                                     "lowerdir=" + dir_ + "/near:" + dir_ + "/far"}}},
                                  points);
    EXPECT_TRUE(changes.ok()) << changes.status();
    return changes.ok() ? *changes : std::vector<FileChange>();
  }
  std::string dir_;
};

using K = FileChange;

TEST_F(ChangesTest, TellsAddedFromModifiedFromDeleted) {
  for (const char* layer : {"/far", "/upper"}) Dir(std::string(layer) + "/etc");
  File("/far/etc/old");
  File("/far/etc/gone");
  File("/upper/etc/old", "changed");
  File("/upper/etc/new");
  Whiteout("/upper/etc/gone");
  EXPECT_THAT(Changes(), ElementsAre(K{"/etc", K::kModified}, K{"/etc/gone", K::kDeleted},
                                     K{"/etc/new", K::kAdded}, K{"/etc/old", K::kModified}));
}

TEST_F(ChangesTest, NearerLayersHideFartherOnes) {
  File("/far/a");
  Whiteout("/near/a");
  File("/upper/a");
  Dir("/far/d");
  File("/far/d/f");
  Dir("/near/d");
  ASSERT_EQ(setxattr((dir_ + "/near/d").c_str(), "trusted.overlay.opaque", "y", 1, 0), 0);
  Dir("/upper/d");
  File("/upper/d/f");
  EXPECT_THAT(Changes(),
              ElementsAre(K{"/a", K::kAdded}, K{"/d", K::kModified}, K{"/d/f", K::kAdded}));
}

TEST_F(ChangesTest, AnOpaqueDirectoryIsAddedAnew) {
  Dir("/far/d");
  File("/far/d/f");
  Dir("/upper/d");
  ASSERT_EQ(setxattr((dir_ + "/upper/d").c_str(), "trusted.overlay.opaque", "y", 1, 0), 0);
  File("/upper/d/f");
  EXPECT_THAT(Changes(), ElementsAre(K{"/d", K::kModified}, K{"/d/f", K::kAdded}));
}

TEST_F(ChangesTest, PlacesToMountOnDoNotShow) {
  for (const char* layer : {"/far", "/upper"}) Dir(std::string(layer) + "/etc");
  File("/upper/etc/hosts", "");
  Dir("/upper/proc");
  Dir("/upper/data");
  File("/upper/data/x");
  EXPECT_THAT(Changes({"/etc/hosts", "/proc", "/data"}),
              ElementsAre(K{"/data", K::kAdded}, K{"/data/x", K::kAdded}));
}

TEST_F(ChangesTest, ADirectoryShowsWhenItsModeChanged) {
  Dir("/far/d", 0755);
  Dir("/upper/d", 0700);
  Dir("/far/same");
  Dir("/upper/same");
  EXPECT_THAT(Changes(), ElementsAre(K{"/d", K::kModified}));
}

TEST_F(ChangesTest, LinksInLayersAreNotFollowed) {
  ASSERT_EQ(symlink("/etc", (dir_ + "/far/l").c_str()), 0);
  Dir("/upper/l");
  File("/upper/l/passwd");
  EXPECT_THAT(Changes(), ElementsAre(K{"/l", K::kModified}, K{"/l/passwd", K::kAdded}));
}

TEST(OverlayChangesTest, OthersAreUnimplemented) {
  EXPECT_TRUE(absl::IsUnimplemented(OverlayChanges({{"tmpfs", "", "", {}}}, {}).status()));
}

}  // namespace
}  // namespace gantry::docker
