#include "services/tasks/bundle.h"

#include <sys/stat.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/mount.h"
#include "gtest/gtest.h"

namespace gantry::services {
namespace {

namespace fs = std::filesystem;

class BundleTest : public ::testing::Test {
 protected:
  BundleTest() : dir_(absl::StrCat(::testing::TempDir(), "gantry-bundle-", base::RandomHex(6))) {}
  ~BundleTest() override {
    base::UnmountAll(state() + "/ns/a/rootfs").IgnoreError();
    fs::remove_all(dir_);
  }
  std::string root() const { return dir_ + "/root"; }
  std::string state() const { return dir_ + "/state"; }
  absl::StatusOr<Bundle> Make(const std::string& id, const std::string& spec) {
    google::protobuf::Any any;
    any.set_value(spec);
    return Bundle::Create(root(), state(), "ns", id, any);
  }
  static mode_t ModeOf(const std::string& path) {
    struct stat st = {};
    EXPECT_EQ(stat(path.c_str(), &st), 0) << path;
    return st.st_mode & 07777;
  }
  const std::string dir_;
};

TEST_F(BundleTest, HasWhatAShimExpects) {
  auto bundle = Make("a", R"({"ociVersion":"1.0.2"})");
  ASSERT_TRUE(bundle.ok()) << bundle.status();
  EXPECT_EQ(bundle->path(), state() + "/ns/a");
  EXPECT_EQ(ModeOf(bundle->path()), 0700u);
  EXPECT_TRUE(fs::is_directory(bundle->File("rootfs")));
  ASSERT_TRUE(bundle->MakeWork().ok());
  EXPECT_EQ(fs::read_symlink(bundle->File("work")), root() + "/ns/a");
  EXPECT_EQ(*base::ReadFile(bundle->File("config.json")), R"({"ociVersion":"1.0.2"})");
  EXPECT_EQ(Make("a", "{}").status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(fs::exists(bundle->File("config.json"))) << "the second attempt removed the first";
}

TEST_F(BundleTest, RefusesIdsThatAreNone) {
  for (const char* id : {"", "..", "a/b", "../x", ".hidden"}) {
    EXPECT_EQ(Make(id, "{}").status().code(), absl::StatusCode::kInvalidArgument) << id;
  }
}

TEST_F(BundleTest, OpensToTheRootOfAUserNamespace) {
  auto bundle = Make("a", R"({"linux":{"gidMappings":[{"containerID":5,"hostID":7,"size":1},
                                       {"containerID":0,"hostID":100000,"size":65536}]}})");
  ASSERT_TRUE(bundle.ok()) << bundle.status();
  struct stat st = {};
  ASSERT_EQ(stat(bundle->path().c_str(), &st), 0);
  EXPECT_EQ(st.st_gid, 100000u);
  EXPECT_EQ(st.st_mode & 07777, 0710u);
}

TEST_F(BundleTest, ReplacesAWorkDirectoryOfAnEarlierBoot) {
  fs::create_directories(root() + "/ns/a/old");
  auto bundle = Make("a", "{}");
  ASSERT_TRUE(bundle.ok());
  ASSERT_TRUE(bundle->MakeWork().ok());
  EXPECT_FALSE(fs::exists(root() + "/ns/a/old"));
}

TEST_F(BundleTest, DeleteUnmountsAndLeavesNothing) {
  auto bundle = Make("a", "{}");
  ASSERT_TRUE(bundle.ok());
  ASSERT_TRUE(bundle->MakeWork().ok());
  ASSERT_TRUE(base::MountAll({{"tmpfs", "tmpfs", "", {}}}, bundle->File("rootfs")).ok());
  std::string inside = bundle->File("rootfs/file");
  ASSERT_TRUE(base::WriteFile(inside, "x").ok());
  absl::Status deleted = bundle->Delete();
  EXPECT_TRUE(deleted.ok()) << deleted;
  EXPECT_TRUE(fs::is_empty(state() + "/ns"));
  EXPECT_TRUE(fs::is_empty(root() + "/ns"));
  EXPECT_TRUE(bundle->Delete().ok());
}

}  // namespace
}  // namespace gantry::services
