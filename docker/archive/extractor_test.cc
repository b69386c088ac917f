// The attacks of CVE-2018-15664, CVE-2019-14271, CVE-2021-41089 and their kin on `docker cp`: what
// an archive names must stay in the container.

#include "docker/archive/extractor.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/archive/tar_writer.h"
#include "base/file.h"
#include "base/status.h"
#include "docker/archive/mounted_root.h"
#include "docker/archive/path_stat.h"
#include "docker/archive/tree_reader.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::docker {
namespace {

using archive::TarEntry;
using archive::TarType;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TarEntry Entry(TarType type, const std::string& name, const std::string& link = "",
               mode_t mode = 0644) {
  TarEntry entry;
  entry.type = type;
  entry.name = name;
  entry.link_name = link;
  entry.mode = mode;
  entry.mtime = {1'600'000'000, 5};
  return entry;
}

// A host directory with a container's root in it, and things beside it that must stay as they are.
class ExtractorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char dir[] = "/tmp/gantry-cp-XXXXXX";
    ASSERT_NE(mkdtemp(dir), nullptr);
    dir_ = dir;
    for (const char* path : {"/root", "/root/dest", "/root/etc", "/host"}) {
      ASSERT_EQ(mkdir((dir_ + path).c_str(), 0755), 0);
    }
    Write("/host/secret", "host");
    Write("/root/etc/passwd", "container");
    root_ = *base::Open(dir_ + "/root", O_PATH | O_DIRECTORY);
  }
  void TearDown() override { EXPECT_TRUE(base::RemoveTree(dir_).ok()); }

  void Write(const std::string& path, const std::string& text) {
    std::ofstream(dir_ + path) << text;
  }
  std::string Read(const std::string& path) {
    auto text = base::ReadFile(dir_ + path);
    return text.ok() ? *text : "<" + std::string(text.status().message()) + ">";
  }

  // Extracts one entry after the other; regular files get `content`.
  absl::Status Extract(const std::vector<TarEntry>& entries, const std::string& content = "new",
                       const ExtractOptions& options = {}) {
    Extractor extractor(root_.get(), "/dest", options);
    for (TarEntry entry : entries) {
      if (entry.type == TarType::kRegular) entry.size = static_cast<int64_t>(content.size());
      absl::Status status = extractor.OnEntry(entry);
      if (!status.ok()) return status;
      if (entry.type == TarType::kRegular) {
        status = extractor.OnData(0, content);
        if (!status.ok()) return status;
      }
      status = extractor.OnEntryEnd();
      if (!status.ok()) return status;
    }
    return extractor.Finish();
  }

  std::string dir_;
  base::UniqueFd root_;
};

TEST_F(ExtractorTest, UnpacksEveryKindWithItsAttributes) {
  TarEntry file = Entry(TarType::kRegular, "d/f", "", 04755);
  file.uid = 1234;
  file.gid = 4321;
  ASSERT_TRUE(Extract({Entry(TarType::kDirectory, "d", "", 0700), file,
                       Entry(TarType::kHardLink, "hard", "d/f"),
                       Entry(TarType::kSymlink, "soft", "d/f"), Entry(TarType::kFifo, "pipe")})
                  .ok());
  EXPECT_EQ(Read("/root/dest/hard"), "new");
  EXPECT_EQ(Read("/root/dest/soft"), "new");
  struct stat st = {};
  ASSERT_EQ(stat((dir_ + "/root/dest/d/f").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 04755u);
  EXPECT_EQ(st.st_uid, 1234u);
  EXPECT_EQ(st.st_gid, 4321u);
  EXPECT_EQ(st.st_nlink, 2u);
  EXPECT_EQ(st.st_mtim.tv_sec, 1'600'000'000);
  ASSERT_EQ(stat((dir_ + "/root/dest/d").c_str(), &st), 0);
  EXPECT_EQ(st.st_mtim.tv_sec, 1'600'000'000);
  ASSERT_EQ(lstat((dir_ + "/root/dest/pipe").c_str(), &st), 0);
  EXPECT_TRUE(S_ISFIFO(st.st_mode));
}

TEST_F(ExtractorTest, AnOwnerCanBeGiven) {
  ASSERT_TRUE(
      Extract({Entry(TarType::kRegular, "a/b")}, "x", {.owner = std::make_pair(7u, 8u)}).ok());
  struct stat st = {};
  ASSERT_EQ(stat((dir_ + "/root/dest/a/b").c_str(), &st), 0);
  EXPECT_EQ(st.st_uid, 7u);
  ASSERT_EQ(stat((dir_ + "/root/dest/a").c_str(), &st), 0);
  EXPECT_EQ(st.st_gid, 8u);
}

TEST_F(ExtractorTest, NamesDoNotClimb) {
  for (const char* name : {"../x", "a/../../x", "../../host/secret", "/../x"}) {
    absl::Status status = Extract({Entry(TarType::kRegular, name)});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(status.message(), HasSubstr("is outside of")) << name;
  }
  EXPECT_EQ(Read("/host/secret"), "host");
  EXPECT_FALSE(base::Exists(dir_ + "/root/x"));
}

TEST_F(ExtractorTest, LinksInTheArchiveLeadIntoTheContainer) {
  // An absolute link is one of the container; ".." ends at its root.
  ASSERT_TRUE(
      Extract({Entry(TarType::kSymlink, "abs", "/etc"), Entry(TarType::kRegular, "abs/passwd"),
               Entry(TarType::kSymlink, "up", "../../../../../.." + dir_ + "/host"),
               Entry(TarType::kRegular, "up/secret")})
          .ok());
  EXPECT_EQ(Read("/root/etc/passwd"), "new");
  EXPECT_EQ(Read("/host/secret"), "host");
  EXPECT_EQ(Read("/root" + dir_ + "/host/secret"), "new");
}

TEST_F(ExtractorTest, TheLastComponentIsReplacedAndNotFollowed) {
  ASSERT_EQ(symlink((dir_ + "/host/secret").c_str(), (dir_ + "/root/dest/f").c_str()), 0);
  ASSERT_TRUE(Extract({Entry(TarType::kRegular, "f")}).ok());
  EXPECT_EQ(Read("/host/secret"), "host");
  EXPECT_EQ(Read("/root/dest/f"), "new");
}

TEST_F(ExtractorTest, HardLinksStayInside) {
  for (const std::string& target :
       {std::string("../../host/secret"), "../etc/passwd" + std::string()}) {
    EXPECT_FALSE(Extract({Entry(TarType::kHardLink, "h", target)}).ok()) << target;
  }
  // Through a link it is the container's own, which is not there.
  ASSERT_EQ(symlink((dir_ + "/host").c_str(), (dir_ + "/root/dest/l").c_str()), 0);
  (void)Extract({Entry(TarType::kHardLink, "h", "l/secret")});
  struct stat st = {};
  ASSERT_EQ(stat((dir_ + "/host/secret").c_str(), &st), 0);
  EXPECT_EQ(st.st_nlink, 1u);
}

TEST_F(ExtractorTest, DirectoriesAndOthersAreKeptApartWhenAsked) {
  const ExtractOptions careful{.no_overwrite_dir_non_dir = true};
  ASSERT_EQ(mkdir((dir_ + "/root/dest/d").c_str(), 0755), 0);
  Write("/root/dest/f", "old");
  EXPECT_THAT(Extract({Entry(TarType::kRegular, "d")}, "x", careful).message(),
              HasSubstr("cannot overwrite directory"));
  EXPECT_THAT(Extract({Entry(TarType::kDirectory, "f")}, "x", careful).message(),
              HasSubstr("cannot overwrite non-directory"));
  EXPECT_EQ(Read("/root/dest/f"), "old");
  EXPECT_TRUE(Extract({Entry(TarType::kRegular, "d")}).ok());
  EXPECT_EQ(Read("/root/dest/d"), "new");
}

TEST_F(ExtractorTest, NothingGoesIntoTheKernelsFileSystems) {
  ASSERT_EQ(mkdir((dir_ + "/root/proc").c_str(), 0755), 0);
  ASSERT_EQ(mount("proc", (dir_ + "/root/proc").c_str(), "proc", 0, nullptr), 0);
  absl::Status status = Extract(
      {Entry(TarType::kSymlink, "p", "/proc/self"), Entry(TarType::kRegular, "p/oom_score_adj")});
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << status;
  // Magic links are not followed at all.
  status = Extract(
      {Entry(TarType::kSymlink, "q", "/proc/self/root"), Entry(TarType::kRegular, "q/tmp/x")});
  EXPECT_FALSE(status.ok());
  umount2((dir_ + "/root/proc").c_str(), MNT_DETACH);
}

// CVE-2018-15664: somebody in the container swaps a directory for a link while the host writes.
TEST_F(ExtractorTest, ASwappedParentRedirectsOnlyInside) {
  ASSERT_EQ(mkdir((dir_ + "/root/dest/real").c_str(), 0755), 0);
  ASSERT_EQ(symlink((dir_ + "/host").c_str(), (dir_ + "/root/dest/link").c_str()), 0);
  ASSERT_EQ(mkdir((dir_ + "/root/dest/a").c_str(), 0755), 0);
  std::atomic<bool> stop = false;
  std::thread swapper([&] {
    const std::string a = dir_ + "/root/dest/a", link = dir_ + "/root/dest/link";
    while (!stop) renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, link.c_str(), RENAME_EXCHANGE);
  });
  for (int i = 0; i < 2000; ++i) (void)Extract({Entry(TarType::kRegular, "a/secret")}, "evil");
  stop = true;
  swapper.join();
  EXPECT_EQ(Read("/host/secret"), "host");
}

class CollectNames : public archive::TarSink {
 public:
  absl::Status OnEntry(const TarEntry& entry) override {
    names.push_back(entry.name);
    last = entry;
    return absl::OkStatus();
  }
  absl::Status OnData(int64_t, absl::string_view data) override {
    content.append(data.data(), data.size());
    return absl::OkStatus();
  }
  absl::Status OnEntryEnd() override { return absl::OkStatus(); }
  std::vector<std::string> names;
  std::string content;
  TarEntry last;
};

CollectNames Pack(int root, const std::string& path) {
  CollectNames sink;
  auto opened = OpenPath(root, path);
  if (!opened.ok()) {
    sink.names = {std::string(opened.status().message())};
    return sink;
  }
  archive::TarReader reader(&sink);
  absl::Status status = WriteTree(opened->fd.get(), {.name = opened->stat.name},
                                  [&](absl::string_view data) { return reader.Write(data); });
  if (status.ok()) status = reader.Finish();
  if (!status.ok()) sink.names.push_back(std::string(status.message()));
  return sink;
}

TEST_F(ExtractorTest, PacksWithTheNamesThatClientsExpect) {
  EXPECT_THAT(Pack(root_.get(), "/etc").names, ElementsAre("etc/", "etc/passwd"));
  EXPECT_THAT(Pack(root_.get(), "/etc/").names, ElementsAre("etc/", "etc/passwd"));
  EXPECT_THAT(Pack(root_.get(), "/etc/.").names, ElementsAre("./", "./passwd"));
  EXPECT_THAT(Pack(root_.get(), "/etc/passwd").names, ElementsAre("passwd"));
  EXPECT_THAT(Pack(root_.get(), "/").names, ElementsAre("/", "/dest/", "/etc/", "/etc/passwd"));
}

TEST_F(ExtractorTest, ReadsNothingOfTheHost) {
  const std::string host = dir_ + "/host";
  ASSERT_EQ(symlink(host.c_str(), (dir_ + "/root/out").c_str()), 0);
  ASSERT_EQ(symlink("../../host", (dir_ + "/root/up").c_str()), 0);
  // The links themselves can be copied; what they lead to is looked for in the container.
  EXPECT_EQ(Pack(root_.get(), "/out").last.link_name, host);
  for (const char* path :
       {"/out/secret", "/up/secret", "/out/", "/../host/secret", "/etc/../../host/secret"}) {
    EXPECT_EQ(Pack(root_.get(), path).content, "") << path;
    EXPECT_FALSE(OpenPath(root_.get(), path).ok()) << path;
  }
}

TEST_F(ExtractorTest, StatTellsWhereLinksLead) {
  ASSERT_EQ(symlink("etc", (dir_ + "/root/l1").c_str()), 0);
  ASSERT_EQ(symlink("/l1/passwd", (dir_ + "/root/l2").c_str()), 0);
  ASSERT_EQ(symlink("/loop", (dir_ + "/root/loop").c_str()), 0);
  EXPECT_EQ(OpenPath(root_.get(), "/l2")->stat.link_target, "/etc/passwd");
  EXPECT_EQ(OpenPath(root_.get(), "/l1")->stat.link_target, "/etc");
  EXPECT_EQ(OpenPath(root_.get(), "/l1/")->stat.name, "l1");
  EXPECT_TRUE(S_ISDIR(OpenPath(root_.get(), "/l1/")->stat.st.st_mode));
  EXPECT_TRUE(OpenPath(root_.get(), "/loop").ok());
  EXPECT_FALSE(OpenPath(root_.get(), "/loop/").ok());
  EXPECT_EQ(GoFileMode(S_IFDIR | 0755), 1u << 31 | 0755u);
  EXPECT_EQ(GoFileMode(S_IFREG | 04755), 1u << 23 | 0755u);
  EXPECT_EQ(GoFileMode(S_IFLNK | 0777), 1u << 27 | 0777u);
}

TEST_F(ExtractorTest, AMountNamespaceOfItsOwnLeavesNothing) {
  auto before = *base::ReadFile("/proc/self/mountinfo");
  std::string seen;
  absl::Status status =
      WithMounts({{"bind", dir_ + "/root", "", {"bind", "rw"}}},
                 {{dir_ + "/host", "/vol/data", true},
                  {dir_ + "/host/secret", "/etc/one", false},
                  {dir_ + "/gone", "/nowhere", false}},
                 false, [&](int root) {
                   auto file = base::OpenUnder(root, "/vol/data/secret", O_RDONLY);
                   if (!file.ok()) return file.status();
                   seen = *base::ReadFd(file->get());
                   // Read-only, and told so.
                   Extractor extractor(root, "/vol/data", {});
                   absl::Status refused = extractor.OnEntry(Entry(TarType::kRegular, "x"));
                   EXPECT_EQ(refused.message(), "mounted volume is marked read-only");
                   return absl::OkStatus();
                 });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(seen, "host");
  EXPECT_EQ(*base::ReadFile("/proc/self/mountinfo"), before);
  status = WithMounts({{"bind", dir_ + "/root", "", {"bind", "rw"}}}, {}, true, [&](int root) {
    Extractor extractor(root, "/dest", {});
    return extractor.OnEntry(Entry(TarType::kRegular, "x"));
  });
  EXPECT_EQ(status.message(), "container rootfs is marked read-only");
}

TEST_F(ExtractorTest, AProcessThatIsAnotherByNowIsRefused) {
  EXPECT_TRUE(OpenProcessRoot(getpid(), [] { return true; }).ok());
  EXPECT_FALSE(OpenProcessRoot(getpid(), [] { return false; }).ok());
  EXPECT_FALSE(OpenProcessRoot(0, [] { return true; }).ok());
}

}  // namespace
}  // namespace gantry::docker
