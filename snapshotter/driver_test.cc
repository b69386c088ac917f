// Each driver, with records in memory, passes the suite; and what only drivers promise.
#include "snapshotter/driver.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/ids.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "snapshotter/directory_driver.h"
#include "snapshotter/registry.h"
#include "snapshotter/testing/suite.h"

namespace gantry::snapshotter {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

testing::Factory DriverFactory(const std::string& name) {
  return [name](const std::string& root) -> absl::StatusOr<std::unique_ptr<testing::Subject>> {
    absl::StatusOr<std::unique_ptr<Driver>> driver = OpenDriver(name, {root});
    if (!driver.ok()) return driver.status();
    return testing::MakeMemorySubject(*std::move(driver));
  };
}

const int registered = testing::RegisterSnapshotterSuite("Overlayfs", DriverFactory("overlayfs")) +
                       testing::RegisterSnapshotterSuite("Native", DriverFactory("native"));

class DriverTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    root_ = absl::StrCat("/tmp/gantry-driver-", getpid(), "-", base::RandomHex(4));
    Reopen();
  }
  void TearDown() override {
    driver_.reset();
    EXPECT_TRUE(base::RemoveTree(root_).ok());
  }
  void Reopen() {
    driver_.reset();
    auto driver = OpenDriver(GetParam(), {root_});
    ASSERT_TRUE(driver.ok()) << driver.status();
    driver_ = *std::move(driver);
  }

  std::string root_;
  std::unique_ptr<Driver> driver_;
};

TEST_P(DriverTest, ListsWhatIsOnDisk) {
  ASSERT_TRUE(driver_->Create({"1"}).ok());
  ASSERT_TRUE(driver_->Create({"2", {"1"}}).ok());
  Reopen();
  EXPECT_THAT(*driver_->List(), UnorderedElementsAre("1", "2"));
  ASSERT_TRUE(driver_->Remove("2").ok());
  ASSERT_TRUE(driver_->Remove("2").ok());
  EXPECT_THAT(*driver_->List(), ElementsAre("1"));
}

TEST_P(DriverTest, RefusesIdsThatAreNotNumbers) {
  for (const char* id : {"", "../1", "1/2", "a", ".", "123456789012345678901"})
    EXPECT_TRUE(absl::IsInvalidArgument(driver_->Create({id}))) << id;
  EXPECT_TRUE(absl::IsInvalidArgument(driver_->Create({"1", {".."}})));
  EXPECT_TRUE(absl::IsInvalidArgument(driver_->Remove("..")));
  EXPECT_THAT(*driver_->List(), ElementsAre());
}

TEST_P(DriverTest, AFailedCreateLeavesNothing) {
  EXPECT_TRUE(absl::IsNotFound(driver_->Create({"5", {"4"}})));
  EXPECT_THAT(*driver_->List(), ElementsAre());
  ASSERT_TRUE(driver_->Create({"5"}).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(driver_->Create({"5"})));
  EXPECT_THAT(*driver_->List(), ElementsAre("5"));
}

TEST_P(DriverTest, TrashIsEmptiedAlsoAfterARestart) {
  ASSERT_TRUE(driver_->Create({"1"}).ok());
  ASSERT_TRUE(driver_->Remove("1").ok());
  driver_->WaitForRemovals();
  EXPECT_THAT(*base::ListDir(root_ + "/trash"), ElementsAre());
  ASSERT_TRUE(base::MakeDirs(root_ + "/trash/left/over").ok());
  Reopen();
  driver_->WaitForRemovals();
  EXPECT_THAT(*base::ListDir(root_ + "/trash"), ElementsAre());
}

TEST_P(DriverTest, RemovesTreesOfAnyDepth) {
  ASSERT_TRUE(driver_->Create({"1"}).ok());
  std::string path = driver_->Mounts({"1"})[0].source;
  int dir = open(path.c_str(), O_RDONLY | O_DIRECTORY);
  for (int depth = 0; depth < 3000; ++depth) {
    ASSERT_EQ(mkdirat(dir, "d", 0700), 0);
    int next = openat(dir, "d", O_RDONLY | O_DIRECTORY);
    ASSERT_GE(next, 0);
    close(dir);
    dir = next;
  }
  close(dir);
  ASSERT_TRUE(driver_->Remove("1").ok());
  driver_->WaitForRemovals();
  EXPECT_THAT(*base::ListDir(root_ + "/trash"), ElementsAre());
}

TEST_P(DriverTest, DeletionStopsAtMounts) {
  ASSERT_TRUE(driver_->Create({"1"}).ok());
  std::string tree = driver_->Mounts({"1"})[0].source;
  std::string precious = root_ + "/precious";
  ASSERT_TRUE(base::MakeDirs(precious).ok());
  ASSERT_TRUE(base::WriteFile(precious + "/file", "x").ok());
  ASSERT_TRUE(base::MakeDirs(tree + "/mnt").ok());
  ASSERT_EQ(mount(precious.c_str(), (tree + "/mnt").c_str(), nullptr, MS_BIND, nullptr), 0);
  ASSERT_TRUE(driver_->Remove("1").ok());
  driver_->WaitForRemovals();
  EXPECT_TRUE(base::Exists(precious + "/file"));
  auto left = base::ListDir(root_ + "/trash");
  ASSERT_EQ(left->size(), 1u);
  std::string inside = GetParam() == std::string("native") ? "/mnt" : "/fs/mnt";
  EXPECT_EQ(umount2((root_ + "/trash/" + left->front() + inside).c_str(), MNT_DETACH), 0);
}

TEST_P(DriverTest, MappingLabelsOwnTheRoot) {
  Spec spec{"1",
            {},
            Kind::kActive,
            {{"containerd.io/snapshot/uidmapping", "0:100000:65536"},
             {"containerd.io/snapshot/gidmapping", "0:200000:65536"}}};
  ASSERT_TRUE(driver_->Create(spec).ok());
  struct stat st;
  ASSERT_EQ(stat(driver_->Mounts(spec)[0].source.c_str(), &st), 0);
  EXPECT_EQ(st.st_uid, 100000u);
  EXPECT_EQ(st.st_gid, 200000u);
  spec.id = "2";
  spec.labels["containerd.io/snapshot/uidmapping"] = "0:x:1";
  EXPECT_TRUE(absl::IsInvalidArgument(driver_->Create(spec)));
}

TEST_P(DriverTest, CommitCountsOrBelieves) {
  ASSERT_TRUE(driver_->Create({"1"}).ok());
  EXPECT_EQ(driver_->Commit("1", std::nullopt)->inodes, 1);
  EXPECT_TRUE(absl::IsNotFound(driver_->Commit("9", Usage{1, 2}).status()));
  if (GetParam() == std::string("overlayfs")) {
    EXPECT_TRUE((*driver_->Commit("1", Usage{10, 20}) == Usage{10, 20}));
    EXPECT_TRUE(driver_->LayerDir("1").ok());
  } else {
    EXPECT_EQ(driver_->Commit("1", Usage{10, 20})->inodes, 1);
    EXPECT_TRUE(absl::IsUnimplemented(driver_->LayerDir("1").status()));
  }
}

INSTANTIATE_TEST_SUITE_P(All, DriverTest, ::testing::Values("overlayfs", "native"));

TEST(Registry, KnowsItsNames) {
  EXPECT_THAT(DriverNames(), ElementsAre("native", "overlayfs"));
  EXPECT_THAT(OpenDriver("zfs", {"/tmp/x"}).status().message(), HasSubstr("native, overlayfs"));
  for (const char* root : {"relative", "/tmp/a,b", "/tmp/a:b"})
    EXPECT_TRUE(absl::IsFailedPrecondition(OpenDriver("native", {root}).status())) << root;
}

TEST(OverlayMounts, AreThoseOfContainerd) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  std::string root = absl::StrCat("/tmp/gantry-driver-", getpid(), "-", base::RandomHex(4));
  {
    auto opened = OpenDriver("overlayfs", {root, {"volatile"}});
    ASSERT_TRUE(opened.ok()) << opened.status();
    Driver& driver = **opened;
    std::string s = root + "/snapshots/";
    auto bind = [](const std::string& source, const char* mode) {
      return base::Mount{"bind", source, "", {mode, "rbind"}};
    };
    EXPECT_THAT(driver.Mounts({"1"}), ElementsAre(bind(s + "1/fs", "rw")));
    EXPECT_THAT(driver.Mounts({"1", {}, Kind::kView}), ElementsAre(bind(s + "1/fs", "ro")));
    EXPECT_THAT(driver.Mounts({"2", {"1"}, Kind::kView}), ElementsAre(bind(s + "1/fs", "ro")));
    std::vector<std::string> index;
    if (base::Exists("/sys/module/overlay/parameters/index")) index = {"index=off"};
    base::Mount view{"overlay", "overlay", "", index};
    view.options.push_back("lowerdir=" + s + "2/fs:" + s + "1/fs");
    EXPECT_THAT(driver.Mounts({"3", {"2", "1"}, Kind::kView}), ElementsAre(view));
    base::Mount active{"overlay", "overlay", "", index};
    for (const std::string& option :
         {"workdir=" + s + "3/work", "upperdir=" + s + "3/fs",
          "lowerdir=" + s + "2/fs:" + s + "1/fs", std::string("volatile")})
      active.options.push_back(option);
    EXPECT_THAT(driver.Mounts({"3", {"2", "1"}}), ElementsAre(active));
  }
  EXPECT_TRUE(base::RemoveTree(root).ok());
}

TEST(MapRootId, FindsWhereZeroGoes) {
  EXPECT_EQ(*MapRootId("0:1000:1"), 1000u);
  EXPECT_EQ(*MapRootId("1:5:10,0:7:1"), 7u);
  for (const char* bad : {"", "0:1", "1:5:10", "0:-1:1", "0:4294967295:1", "0:1:0", "0:1:1:1"})
    EXPECT_TRUE(absl::IsInvalidArgument(MapRootId(bad).status())) << bad;
}

}  // namespace
}  // namespace gantry::snapshotter
