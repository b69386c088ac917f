#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::base {
namespace {

using ::testing::UnorderedElementsAre;

class FileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/gantry-file-test-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
  }
  void TearDown() override { EXPECT_TRUE(RemoveTree(dir_).ok()); }

  std::string Path(const std::string& name) const { return dir_ + "/" + name; }
  std::string dir_;
};

TEST_F(FileTest, ReplaceIsAllOrNothing) {
  ASSERT_TRUE(ReplaceFile(Path("f"), "one", 0640, Durability::kSync).ok());
  ASSERT_TRUE(ReplaceFile(Path("f"), "two", 0640).ok());
  EXPECT_EQ(*ReadFile(Path("f")), "two");
  struct stat st;
  ASSERT_EQ(stat(Path("f").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0640u);
  EXPECT_FALSE(ReplaceFile(Path("missing/f"), "x").ok());
  EXPECT_THAT(*ListDir(dir_), UnorderedElementsAre("f"));
}

TEST_F(FileTest, ReadIsCappedAndRefusesFifos) {
  ASSERT_TRUE(WriteFile(Path("big"), std::string(1000, 'x')).ok());
  EXPECT_EQ(ReadFile(Path("big"), 999).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(ReadFile(Path("big"), 1000).ok());
  ASSERT_EQ(mkfifo(Path("fifo").c_str(), 0600), 0);
  EXPECT_EQ(ReadFile(Path("fifo")).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReadFile(dir_).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(FileTest, OpenUnderStaysInside) {
  ASSERT_TRUE(MakeDirs(Path("root/etc")).ok());
  ASSERT_TRUE(WriteFile(Path("secret"), "host").ok());
  ASSERT_TRUE(WriteFile(Path("root/etc/secret"), "inside").ok());
  ASSERT_EQ(symlink("../../secret", Path("root/etc/up").c_str()), 0);
  ASSERT_EQ(symlink("/etc/secret", Path("root/abs").c_str()), 0);
  ASSERT_EQ(symlink("/proc/self/root", Path("root/magic").c_str()), 0);
  UniqueFd root = *Open(Path("root"), O_PATH | O_DIRECTORY);

  auto read = [&](const char* path, Resolve how) -> std::string {
    auto fd = OpenUnder(root.get(), path, O_RDONLY, 0, how);
    return fd.ok() ? *ReadFd(fd->get()) : std::string(absl::StatusCodeToString(fd.status().code()));
  };
  EXPECT_EQ(read("/etc/secret", Resolve::kInRoot), "inside");
  EXPECT_EQ(read("abs", Resolve::kInRoot), "inside");
  EXPECT_EQ(read("../../etc/secret", Resolve::kInRoot), "inside");
  EXPECT_EQ(read("etc/up", Resolve::kInRoot),
            "NOT_FOUND");  // "/secret" of the root, which is not there
  EXPECT_EQ(read("etc/up", Resolve::kBeneath), "INVALID_ARGUMENT");
  EXPECT_EQ(read("/etc/secret", Resolve::kBeneath), "INVALID_ARGUMENT");
  EXPECT_EQ(read("abs", Resolve::kNoSymlinks), "INVALID_ARGUMENT");
  EXPECT_EQ(read(std::string("etc/secret\0x", 12).c_str(), Resolve::kInRoot), "inside");
  EXPECT_FALSE(OpenUnder(root.get(), std::string("etc/\0secret", 11), O_RDONLY).ok());
}

TEST_F(FileTest, MakeDirsUnderFollowsLinksOnlyInside) {
  ASSERT_TRUE(MakeDirs(Path("root/real")).ok());
  ASSERT_TRUE(MakeDirs(Path("outside")).ok());
  ASSERT_EQ(symlink("../outside", Path("root/out").c_str()), 0);
  ASSERT_EQ(symlink("/real", Path("root/in").c_str()), 0);
  UniqueFd root = *Open(Path("root"), O_PATH | O_DIRECTORY);
  EXPECT_TRUE(MakeDirsUnder(root.get(), "/in/a/b", 0755).ok());
  EXPECT_TRUE(Exists(Path("root/real/a/b")));
  // The link leads to "/outside" of the root, which does not exist: nothing is made on the host.
  EXPECT_FALSE(MakeDirsUnder(root.get(), "out/x", 0755).ok());
  EXPECT_THAT(*ListDir(Path("outside")), UnorderedElementsAre());
}

TEST_F(FileTest, RemoveTreeFollowsNoLink) {
  ASSERT_TRUE(MakeDirs(Path("tree/a/b")).ok());
  ASSERT_TRUE(MakeDirs(Path("keep")).ok());
  ASSERT_TRUE(WriteFile(Path("keep/file"), "x").ok());
  ASSERT_EQ(symlink(Path("keep").c_str(), Path("tree/a/link").c_str()), 0);
  EXPECT_TRUE(RemoveTree(Path("tree/")).ok());
  EXPECT_FALSE(Exists(Path("tree")));
  EXPECT_TRUE(Exists(Path("keep/file")));
  EXPECT_TRUE(RemoveTree(Path("tree")).ok()) << "a missing tree is fine";
  EXPECT_FALSE(RemoveTree("/").ok());
}

TEST_F(FileTest, EnsurePrivateDirTightens) {
  ASSERT_TRUE(MakeDirs(Path("d"), 0777).ok());
  ASSERT_EQ(chmod(Path("d").c_str(), 0777), 0);
  ASSERT_TRUE(EnsurePrivateDir(Path("d"), 0711).ok());
  struct stat st;
  ASSERT_EQ(stat(Path("d").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0711u);
}

TEST_F(FileTest, OpenChildTakesSingleNamesOnly) {
  UniqueFd dir = *Open(dir_, O_PATH | O_DIRECTORY);
  for (const char* name : {"", ".", "..", "a/b", "/etc"}) {
    EXPECT_EQ(OpenChild(dir.get(), name, O_RDONLY).status().code(),
              absl::StatusCode::kInvalidArgument)
        << name;
  }
  ASSERT_EQ(symlink("/etc/passwd", Path("l").c_str()), 0);
  EXPECT_FALSE(OpenChild(dir.get(), "l", O_RDONLY).ok());
}

}  // namespace
}  // namespace gantry::base
