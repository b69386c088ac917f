// Images that are damaged or hostile, and disks that are full: every failure has a clear message,
// leaves nothing behind, and the next good image works.

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/mount.h"
#include "gmock/gmock.h"
#include "tests/integration/docker_registry.h"
#include "tests/integration/gantryd_fixture.h"
#include "tests/integration/image_archive.h"

namespace gantry::tests {
namespace {

using archive::TarType;
using ::testing::AnyOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kRef[] = "docker.io/library/faulty:1";

class FaultsTest : public GantrydTest {
 protected:
  // What `image rm` and a collection leave: nothing.
  void ExpectNothingLeft() {
    for (absl::string_view name :
         absl::StrSplit(CtrOk({"image", "ls", "-q"}), '\n', absl::SkipEmpty())) {
      CtrOk({"image", "rm", "--sync", std::string(name)});
    }
    EXPECT_EQ(CtrOk({"leases", "ls", "-q"}), "");
    // Deleting a lease synchronously is how a client asks for a collection.
    CtrOk({"leases", "create", "--id", "sweep"});
    CtrOk({"leases", "delete", "--sync", "sweep"});
    EXPECT_EQ(CtrOk({"content", "ls", "-q"}), "");
    EXPECT_EQ(Lines(CtrOk({"snapshot", "ls"})), 1u) << CtrOk({"snapshot", "ls"});
    EXPECT_EQ(Lines(CtrOk({"content", "active"})), 1u) << CtrOk({"content", "active"});
    EXPECT_EQ(CtrOk({"container", "ls", "-q"}), "");
  }
  static size_t Lines(const std::string& text) {
    return std::vector<std::string>(absl::StrSplit(text, '\n', absl::SkipEmpty())).size();
  }
  void ExpectAGoodImageWorks() {
    ImportBusybox();
    EXPECT_EQ(CtrOk({"run", "--rm", std::string(kBusybox), "good", "echo", "fine"}), "fine\n");
    GantryctlOk({"rmi", std::string(kBusybox)});
  }
  std::string WriteArchive(const std::string& bytes) {
    std::string path = absl::StrCat(dir(), "/image.tar");
    EXPECT_TRUE(base::WriteFile(path, bytes).ok());
    return path;
  }
};

struct Damage {
  const char* name;
  ImageArchive image;
  std::string wanted;  // in what gantryctl says
  bool ctr_accepts = false;
};

std::vector<TarItem> SomeFiles() {
  return {TarNode("etc/", TarType::kDirectory), TarFile("etc/big", base::RandomHex(40000)),
          TarFile("etc/small", "x")};
}

// Each has one fault; all digests above it are right, unless the digest is the fault.
std::vector<Damage> Damages() {
  std::vector<Damage> all;
  auto add = [&all](const char* name, const char* wanted) -> ImageArchive& {
    all.push_back({name, {kRef, SomeFiles()}, wanted});
    return all.back().image;
  };
  add("layer cut off", "unexpected end").change_layer = [](std::string* layer) {
    layer->resize(layer->size() / 2);
  };
  add("layer with a wrong checksum", "checksum").change_layer = [](std::string* layer) {
    (*layer)[layer->size() - 6] ^= 1;
  };
  add("layer that is no tar", "layer").change_layer = [](std::string* layer) {
    *layer = std::string(5000, 'n');
  };
  add("diff id of another layer", "the image's configuration says").change_config =
      [](std::string* config) {
        size_t at = config->find("sha256:") + 7;
        config->replace(at, 64, std::string(64, 'a'));
      };
  add("config that is not JSON", "config").change_config = [](std::string* config) {
    *config = "not json";
  };
  add("manifest that is not JSON", "manifest").change_manifest = [](std::string* manifest) {
    *manifest = "{\"schemaVersion\": 2, ";
  };
  add("manifest with layers and manifests", "ambiguous").change_manifest =
      [](std::string* manifest) { manifest->insert(1, "\"manifests\":[],"); };
  add("index that is not JSON", "index.json").change_index = [](std::string* index) {
    *index = "hello";
  };
  add("index with manifests and layers", "ambiguous").change_index = [](std::string* index) {
    index->insert(1, "\"layers\":[],\"config\":{},");
  };
  all.back().ctr_accepts = true;
  add("blob of other bytes", "digest").change_members = [](auto* members, const auto& blobs) {
    (*members)[blobs.layer][100] ^= 1;
  };
  add("missing config", "not found").change_members = [](auto* members, const auto& blobs) {
    members->erase(blobs.config);
  };
  add("missing layer", "not found").change_members = [](auto* members, const auto& blobs) {
    members->erase(blobs.layer);
  };
  return all;
}

TEST_F(FaultsTest, DamagedImagesAreRefusedAndLeaveNothing) {
  StartGantryd();
  for (const Damage& damage : Damages()) {
    SCOPED_TRACE(damage.name);
    std::string path = WriteArchive(damage.image.Pack());
    base::RunResult mine = Gantryctl({"import", path});
    EXPECT_EQ(mine.exit.code, 1) << mine.out;
    EXPECT_THAT(mine.err, HasSubstr(damage.wanted));
    EXPECT_EQ(CtrOk({"image", "ls", "-q"}), "") << "half an image is listed";
    ExpectNothingLeft();
    // Where ctr does not look, there is nothing for the daemon to refuse.
    base::RunResult theirs = Ctr({"image", "import", path});
    EXPECT_TRUE(damage.ctr_accepts || theirs.exit.code != 0) << theirs.out;
    ExpectNothingLeft();
  }
  ExpectAGoodImageWorks();
}

TEST_F(FaultsTest, DamagedArchivesAreRefusedAndLeaveNothing) {
  StartGantryd();
  std::string good = ImageArchive{kRef, SomeFiles()}.Pack();
  const std::pair<const char*, std::string> cases[] = {
      {"empty", ""},
      {"no tar", std::string(10000, 'n')},
      {"cut in a blob", good.substr(0, good.size() / 2)},
      {"cut in a header", good.substr(0, 700)},
      {"no image", PackTar({TarFile("hello", "world")})},
  };
  for (const auto& [name, bytes] : cases) {
    SCOPED_TRACE(name);
    std::string path = WriteArchive(bytes);
    base::RunResult mine = Gantryctl({"import", path});
    EXPECT_EQ(mine.exit.code, 1) << mine.out;
    EXPECT_THAT(mine.err, AnyOf(HasSubstr("tar"), HasSubstr("archive"))) << mine.err;
    EXPECT_NE(Ctr({"image", "import", path}).exit.code, 0);
    EXPECT_EQ(CtrOk({"image", "ls", "-q"}), "");
    ExpectNothingLeft();
  }
  ExpectAGoodImageWorks();
}

struct Escape {
  const char* name;
  std::vector<TarItem> items;
};

TarItem Link(absl::string_view name, absl::string_view to) {
  return TarNode(name, TarType::kSymlink, to);
}

std::vector<Escape> Escapes(const std::string& canary) {
  TarItem device = TarNode("l/dev", TarType::kBlockDevice);
  device.entry.dev_major = 8;
  TarItem redirect = TarNode("d/", TarType::kDirectory);
  redirect.entry.xattrs = {{"trusted.overlay.redirect", canary},
                           {"trusted.overlay.opaque", "y"},
                           {"trusted.overlay.metacopy", ""}};
  const std::string up = "../../../../../../../../../../../.." + canary;
  auto hard = [](absl::string_view name, absl::string_view to) {
    return TarNode(name, TarType::kHardLink, to);
  };
  return {
      {"dotdot", {TarFile(up + "/file", "dead"), TarFile(up + "/new", "x")}},
      {"absolute", {TarFile(canary + "/file", "dead"), TarFile(canary + "/new", "x")}},
      {"through a link", {Link("l", canary), TarFile("l/file", "dead"), TarFile("l/new", "x")}},
      {"through a relative link", {Link("l", up), TarFile("l/file", "dead")}},
      {"through /proc", {Link("l", "/proc/1/root" + canary), TarFile("l/file", "dead")}},
      {"onto a link", {Link("l", canary + "/file"), TarFile("l", "dead", 0777)}},
      {"mode through a link", {Link("l", canary), TarNode("l/", TarType::kDirectory)}},
      {"hard link", {hard("h", canary + "/file"), TarFile("h", "dead", 0777)}},
      {"hard link upwards", {hard("h", up + "/file"), TarFile("h", "dead", 0777)}},
      {"hard link through a link",
       {Link("l", canary), hard("h", "l/file"), TarFile("h", "dead", 0777)}},
      {"device through a link", {Link("l", canary), device}},
      {"whiteout through a link", {Link("l", canary), TarFile("l/.wh.file", "")}},
      {"opaque through a link", {Link("l", canary), TarFile("l/.wh..wh..opq", "")}},
      {"whiteout of the parent", {TarFile("a/.wh...", ""), TarFile("a/.wh..", "")}},
      {"overlay's own attributes", {redirect, TarFile("d/mine", "x")}},
  };
}

TEST_F(FaultsTest, HostileLayersDoNotReachTheHost) {
  StartGantryd();
  const std::string canary = dir() + "/canary";
  ASSERT_TRUE(base::MakeDirs(canary, 0700).ok());
  ASSERT_TRUE(base::WriteFile(canary + "/file", "alive", 0600).ok());
  struct stat file_before, dir_before;
  ASSERT_EQ(stat((canary + "/file").c_str(), &file_before), 0);
  ASSERT_EQ(stat(canary.c_str(), &dir_before), 0);
  for (const Escape& escape : Escapes(canary)) {
    for (bool ours : {true, false}) {
      SCOPED_TRACE(absl::StrCat(escape.name, ours ? " by gantryctl" : " by ctr"));
      std::string path = WriteArchive(ImageArchive{kRef, escape.items}.Pack());
      base::RunResult result = ours ? Gantryctl({"import", path}) : Ctr({"image", "import", path});
      // Refused, with the entry's name, or contained.
      if (result.exit.code != 0) {
        EXPECT_THAT(result.err, ContainsRegex("invalid|refused|not|No such file")) << result.err;
      }
      struct stat now;
      ASSERT_EQ(stat((canary + "/file").c_str(), &now), 0);
      EXPECT_EQ(*base::ReadFile(canary + "/file"), "alive");
      EXPECT_EQ(now.st_mode, file_before.st_mode);
      EXPECT_EQ(now.st_nlink, 1u);
      EXPECT_EQ(now.st_ctim.tv_nsec, file_before.st_ctim.tv_nsec);
      ASSERT_EQ(stat(canary.c_str(), &now), 0);
      EXPECT_EQ(now.st_mode, dir_before.st_mode);
      EXPECT_EQ(now.st_ctim.tv_nsec, dir_before.st_ctim.tv_nsec);
      ExpectNothingLeft();
    }
  }
  ExpectAGoodImageWorks();
}

// The same, on a root directory of 64 MB.
class FullDiskTest : public FaultsTest {
 protected:
  void SetUp() override {
    FaultsTest::SetUp();
    ASSERT_TRUE(base::MakeDirs(root()).ok());
    ASSERT_EQ(mount("small", root().c_str(), "tmpfs", 0, "size=64m,mode=0711"), 0);
    StartGantryd();
  }
  void TearDown() override {
    if (running()) StopGantryd();
    EXPECT_TRUE(base::UnmountAll(root()).ok());
    FaultsTest::TearDown();
  }
  // What compresses badly, so that blob and files do not both fit.
  static std::string BigImage() {
    std::string noise(45 << 20, '\0');
    uint64_t state = 88172645463325252ull;
    for (size_t i = 0; i + 8 <= noise.size(); i += 8) {
      state ^= state << 13;
      state ^= state >> 7;
      state ^= state << 17;
      memcpy(&noise[i], &state, 8);
    }
    return ImageArchive{kRef, {TarFile("noise", noise)}}.Pack();
  }
};

TEST_F(FullDiskTest, ImportFailsNamesItAndTheNextWorks) {
  std::string path = WriteArchive(BigImage());
  base::RunResult mine = Gantryctl({"import", path});
  EXPECT_NE(mine.exit.code, 0);
  EXPECT_THAT(mine.err, HasSubstr("No space left on device"));
  ExpectNothingLeft();
  base::RunResult theirs = Ctr({"image", "import", path});
  EXPECT_NE(theirs.exit.code, 0);
  EXPECT_THAT(theirs.err, HasSubstr("No space left on device"));
  ExpectNothingLeft();
  ExpectAGoodImageWorks();
}

TEST_F(FullDiskTest, PullFailsNamesItAndTheNextWorks) {
  ASSERT_TRUE(base::MakeDirs(dir() + "/registry").ok());
  DockerRegistry registry({dir() + "/registry", "", false, false});
  const std::string name = registry.host() + "/big:1";
  std::string path = WriteArchive(BigImage());
  base::RunResult copied =
      tests::Run({"skopeo", "copy", "--dest-tls-verify=false", "--insecure-policy",
                  "oci-archive:" + path, "docker://" + name});
  ASSERT_EQ(copied.exit.code, 0) << copied.err;
  base::RunResult pulled = Gantryctl({"pull", name});
  EXPECT_NE(pulled.exit.code, 0);
  EXPECT_THAT(pulled.err, HasSubstr("No space left on device"));
  EXPECT_EQ(CtrOk({"image", "ls", "-q"}), "");
  ExpectNothingLeft();
  ExpectAGoodImageWorks();
}

TEST_F(FullDiskTest, NothingIsLostWhenNotAByteIsFree) {
  ImportBusybox();
  CtrOk({"run", "-d", std::string(kBusybox), "stays", "sleep", "1000"});
  auto ballast = base::Open(root() + "/ballast", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  ASSERT_TRUE(ballast.ok());
  std::string block(1 << 20, 'b');
  for (size_t size = block.size(); size > 0;) {
    if (write(ballast->get(), block.data(), size) <= 0) size /= 2;
  }
  // Some of these need room and some may not; whichever, gantryd answers and names the reason.
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"run", "--rm", std::string(kBusybox), "more", "dd",
                                              "if=/dev/zero", "of=/x", "bs=1M", "count=1"},
                                             {"image", "label", std::string(kBusybox), "a=b"},
                                             {"snapshot", "prepare", "s"},
                                             {"leases", "create", "--id", "l"}}) {
    base::RunResult result = Ctr(arguments);
    if (result.exit.code != 0) {
      EXPECT_THAT(absl::AsciiStrToLower(result.err), HasSubstr("no space left on device"));
    }
  }
  for (int i = 0; i < 200; ++i) {  // until the log of the metadata has no room either
    base::RunResult result = Ctr({"leases", "create", "--id", absl::StrCat("fill-", i),
                                  absl::StrCat("l=", std::string(3000, 'x'))});
    if (result.exit.code == 0) continue;
    EXPECT_THAT(absl::AsciiStrToLower(result.err), HasSubstr("no space left on device"));
    break;
  }
  EXPECT_THAT(CtrOk({"task", "ls"}), ContainsRegex("stays +[0-9]+ +RUNNING"));
  ASSERT_EQ(unlink((root() + "/ballast").c_str()), 0);
  ballast->Reset();
  EXPECT_THAT(CtrOk({"task", "exec", "--exec-id", "e", "stays", "echo", "here"}), "here\n");
  CtrOk({"image", "label", std::string(kBusybox), "c=d"});
  EXPECT_EQ(CtrOk({"run", "--rm", std::string(kBusybox), "again", "echo", "fine"}), "fine\n");
  KillGantryd();
  StartGantryd();
  EXPECT_THAT(CtrOk({"image", "ls"}), HasSubstr("c=d"));
  EXPECT_THAT(CtrOk({"task", "ls"}), ContainsRegex("stays +[0-9]+ +RUNNING"));
  CtrOk({"task", "rm", "--force", "stays"});
  CtrOk({"container", "rm", "stays"});
}

}  // namespace
}  // namespace gantry::tests
