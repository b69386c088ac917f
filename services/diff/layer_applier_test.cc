#include "services/diff/layer_applier.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <random>

#include "absl/strings/str_cat.h"
#include "base/archive/compress.h"
#include "base/archive/tar_writer.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/diff/apply_target.h"
#include "services/diff/dir_cache.h"
#include "services/diff/disk_usage.h"

namespace gantry::services {
namespace {

using archive::TarEntry;
using archive::TarType;

struct Item {
  TarEntry entry;
  std::string content;
};

Item File(absl::string_view name, absl::string_view content, mode_t mode = 0644) {
  Item item;
  item.entry.name = std::string(name);
  item.entry.mode = mode;
  item.entry.size = static_cast<int64_t>(content.size());
  item.entry.mtime = {1600000000, 123456789};
  item.content = std::string(content);
  return item;
}
Item Special(absl::string_view name, TarType type, absl::string_view link = "") {
  Item item = File(name, "", 0755);
  item.entry.type = type;
  item.entry.link_name = std::string(link);
  return item;
}
Item Dir(absl::string_view name, mode_t mode = 0755) {
  Item item = Special(name, TarType::kDirectory);
  item.entry.mode = mode;
  return item;
}
Item Symlink(absl::string_view name, absl::string_view to) {
  return Special(name, TarType::kSymlink, to);
}
Item HardLink(absl::string_view name, absl::string_view to) {
  return Special(name, TarType::kHardLink, to);
}

std::string Pack(const std::vector<Item>& items,
                 archive::Compression kind = archive::Compression::kNone) {
  std::string out;
  auto compressor = archive::Compressor::Create(kind, [&out](absl::string_view data) {
    out.append(data.data(), data.size());
    return absl::OkStatus();
  });
  archive::TarWriter tar([&](absl::string_view data) { return compressor->Write(data); });
  for (const Item& item : items) {
    EXPECT_TRUE(tar.AddEntry(item.entry).ok());
    EXPECT_TRUE(tar.Write(item.content).ok());
  }
  EXPECT_TRUE(tar.Finish().ok());
  EXPECT_TRUE(compressor->Finish().ok());
  return out;
}

// box_/root is where layers go; whatever else changes in box_ has escaped.
class LayerApplierTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root: makes devices and changes owners";
    std::string path = absl::StrCat(testing::TempDir(), "/layer-XXXXXX");
    box_ = mkdtemp(path.data());
    root_ = box_ + "/root";
    ASSERT_TRUE(base::MakeDirs(root_, 0755).ok());
    ASSERT_TRUE(base::MakeDirs(box_ + "/canary", 0755).ok());
    ASSERT_TRUE(base::WriteFile(box_ + "/canary/file", "alive", 0600).ok());
    canary_ = Stat(box_ + "/canary/file");
    canary_dir_ = Stat(box_ + "/canary");
  }
  void TearDown() override {
    if (box_.empty()) return;
    EXPECT_EQ(*base::ReadFile(box_ + "/canary/file"), "alive");
    struct stat now = Stat(box_ + "/canary/file");
    EXPECT_EQ(now.st_mode, canary_.st_mode);
    EXPECT_EQ(now.st_nlink, 1u);
    EXPECT_EQ(now.st_ctim.tv_nsec, canary_.st_ctim.tv_nsec);
    EXPECT_EQ(base::ListDir(box_ + "/canary")->size(), 1u);
    EXPECT_EQ(base::ListDir(box_)->size(), 2u);
    EXPECT_EQ(Stat(box_ + "/canary").st_mode, canary_dir_.st_mode);
    EXPECT_EQ(Stat(box_ + "/canary").st_ctim.tv_nsec, canary_dir_.st_ctim.tv_nsec);
    EXPECT_TRUE(base::RemoveTree(box_).ok());
  }

  absl::StatusOr<LayerResult> ApplyBytes(absl::string_view bytes, LayerApplierOptions options,
                                         size_t piece = 1 << 20) {
    auto fd = base::Open(root_, O_RDONLY | O_DIRECTORY);
    if (!fd.ok()) return fd.status();
    auto applier = LayerApplier::Create(*std::move(fd), options);
    if (!applier.ok()) return applier.status();
    for (size_t at = 0; at < bytes.size(); at += piece) {
      absl::Status status = (*applier)->Write(bytes.substr(at, piece));
      if (!status.ok()) return status;
    }
    return (*applier)->Finish();
  }
  absl::StatusOr<LayerResult> Apply(const std::vector<Item>& items,
                                    Whiteouts whiteouts = Whiteouts::kOverlay) {
    LayerApplierOptions options;
    options.whiteouts = whiteouts;
    return ApplyBytes(Pack(items), options);
  }
  static struct stat Stat(const std::string& path) {
    struct stat st = {};
    EXPECT_EQ(lstat(path.c_str(), &st), 0) << path;
    return st;
  }
  std::string Path(absl::string_view name) const { return absl::StrCat(root_, "/", name); }
  std::string Read(absl::string_view name) const {
    auto data = base::ReadFile(Path(name));
    return data.ok() ? *data : data.status().ToString();
  }
  bool Exists(absl::string_view name) const { return base::Exists(Path(name)); }
  static std::string Xattr(const std::string& path, const char* name) {
    char value[100];
    ssize_t n = lgetxattr(path.c_str(), name, value, sizeof value);
    return n < 0 ? "none" : std::string(value, static_cast<size_t>(n));
  }

  std::string box_, root_;
  struct stat canary_, canary_dir_;
};

TEST_F(LayerApplierTest, RestoresEveryKindOfFile) {
  Item file = File("dir/file", "content", 04755);
  file.entry.uid = 1000;
  file.entry.gid = 2000;
  file.entry.xattrs = {{"user.note", "x"}, {"trusted.overlay.redirect", "/etc"}};
  Item capable = File("dir/capable", "");
  std::string capability(
      "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 20);
  capable.entry.xattrs = {{"security.capability", capability}};
  Item null = Special("dir/null", TarType::kCharDevice);
  null.entry.dev_major = 1;
  null.entry.dev_minor = 3;
  null.entry.mode = 0666;
  auto result = Apply({Dir("dir/", 01777), file, capable, null, Special("dir/fifo", TarType::kFifo),
                       Symlink("dir/soft", "/etc/passwd"), HardLink("dir/hard", "dir/file")});
  ASSERT_TRUE(result.ok()) << result.status();
  struct stat st = Stat(Path("dir/file"));
  EXPECT_EQ(st.st_mode, S_IFREG | 04755u);
  EXPECT_EQ(st.st_uid, 1000u);
  EXPECT_EQ(st.st_gid, 2000u);
  EXPECT_EQ(st.st_mtim.tv_sec, 1600000000);
  EXPECT_EQ(st.st_mtim.tv_nsec, 123456789);
  EXPECT_EQ(st.st_nlink, 2u);
  EXPECT_EQ(Read("dir/file"), "content");
  EXPECT_EQ(Stat(Path("dir/hard")).st_ino, st.st_ino);
  EXPECT_EQ(Stat(Path("dir")).st_mode, S_IFDIR | 01777u);
  EXPECT_EQ(Stat(Path("dir")).st_mtim.tv_nsec, 123456789);
  EXPECT_EQ(Stat(Path("dir/null")).st_mode, S_IFCHR | 0666u);
  EXPECT_EQ(Stat(Path("dir/null")).st_rdev, makedev(1, 3));
  EXPECT_EQ(Stat(Path("dir/fifo")).st_mode, S_IFIFO | 0755u);
  EXPECT_EQ(Stat(Path("dir/soft")).st_mtim.tv_nsec, 123456789);
  EXPECT_EQ(Xattr(Path("dir/file"), "user.note"), "x");
  EXPECT_EQ(Xattr(Path("dir/file"), "trusted.overlay.redirect"), "none");
  EXPECT_EQ(Xattr(Path("dir/capable"), "security.capability"), capability);
}

TEST_F(LayerApplierTest, DoesNotDependOnTheUmask) {
  mode_t old = umask(077);
  auto result = Apply({File("implicit/a", "", 0666), Dir("d/", 0777)});
  umask(old);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(Stat(Path("implicit/a")).st_mode & 0777, 0666u);
  EXPECT_EQ(Stat(Path("implicit")).st_mode & 0777, 0755u);
  EXPECT_EQ(Stat(Path("d")).st_mode & 0777, 0777u);
}

TEST_F(LayerApplierTest, CountsDigestsSizeAndUsage) {
  std::vector<Item> items = {Dir("a/"),
                             File("a/big", std::string(300000, 'x')),
                             HardLink("a/link", "a/big"),
                             Symlink("s", "a"),
                             File("implicit/dir/f", "y"),
                             Special("p", TarType::kFifo)};
  std::string tar = Pack(items);
  for (auto kind :
       {archive::Compression::kNone, archive::Compression::kGzip, archive::Compression::kZstd}) {
    ASSERT_TRUE(base::RemoveTree(root_).ok());
    ASSERT_TRUE(base::MakeDirs(root_, 0755).ok());
    std::string blob = Pack(items, kind);
    auto result = ApplyBytes(blob, {}, 1000);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->diff_id, base::DigestOf(tar));
    EXPECT_EQ(result->size, static_cast<int64_t>(tar.size()));
    EXPECT_EQ(result->blob_digest, base::DigestOf(blob));
    EXPECT_EQ(result->blob_size, static_cast<int64_t>(blob.size()));
    auto fd = base::Open(root_, O_RDONLY | O_DIRECTORY);
    auto usage = MeasureTree(fd->get());
    EXPECT_EQ(result->usage_inodes, usage->inodes);
    EXPECT_EQ(result->usage_bytes, usage->bytes);
  }
}

TEST_F(LayerApplierTest, TwoThreadsDoTheSame) {
  std::mt19937 random(5);
  std::vector<Item> items;
  for (int i = 0; i < 200; ++i) {
    std::string data(random() % 200000, '\0');
    for (char& c : data) c = static_cast<char>(random() % 50);
    items.push_back(File(absl::StrCat("d", i % 7, "/f", i), data));
  }
  std::string blob = Pack(items, archive::Compression::kGzip);
  base::Digest diff_id;
  for (auto threads : {LayerApplierOptions::Threads::kOne, LayerApplierOptions::Threads::kTwo,
                       LayerApplierOptions::Threads::kAuto}) {
    ASSERT_TRUE(base::RemoveTree(root_).ok());
    ASSERT_TRUE(base::MakeDirs(root_, 0755).ok());
    LayerApplierOptions options;
    options.threads = threads;
    auto result = ApplyBytes(blob, options, 70000);
    ASSERT_TRUE(result.ok()) << result.status();
    if (!diff_id.empty()) {
      EXPECT_EQ(result->diff_id, diff_id);
    }
    diff_id = result->diff_id;
    for (const Item& item : items) ASSERT_TRUE(Read(item.entry.name) == item.content);
  }
}

TEST_F(LayerApplierTest, KeepsHoles) {
  // pax 0.1 as GNU tar writes it: 1 MiB with four bytes in the middle.
  Item item = File("holes", "data");
  std::string tar = Pack({item});
  std::string records =
      "22 GNU.sparse.major=0\n22 GNU.sparse.minor=1\n27 GNU.sparse.size=1048576\n"
      "27 GNU.sparse.map=524288,4\n";
  Item pax = File("pax", records);
  pax.entry.mtime = {};
  std::string header = Pack({pax});
  header[156] = 'x';
  unsigned sum = 0;
  for (int i = 0; i < 512; ++i)
    sum += i >= 148 && i < 156 ? ' ' : static_cast<unsigned char>(header[static_cast<size_t>(i)]);
  snprintf(&header[148], 7, "%06o", sum);
  auto result = ApplyBytes(header.substr(0, 1024) + tar, {});
  ASSERT_TRUE(result.ok()) << result.status();
  struct stat st = Stat(Path("holes"));
  EXPECT_EQ(st.st_size, 1048576);
  EXPECT_LT(st.st_blocks * 512, 100000);
  EXPECT_EQ(Read("holes").substr(524288, 4), "data");
}

TEST_F(LayerApplierTest, LaterEntriesReplaceEarlierOnes) {
  auto result = Apply({File("a", "1"), File("a", "2"), Dir("b/"), File("b/x", ""),
                       File("b", "file"), Symlink("c", "b"), Dir("c/"), File("c/y", "in c"),
                       File("d", ""), Symlink("d", "a"), HardLink("e", "a"), HardLink("e", "a")});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(Read("a"), "2");
  EXPECT_EQ(Read("b"), "file");
  EXPECT_EQ(Read("c/y"), "in c");
  EXPECT_TRUE(S_ISLNK(Stat(Path("d")).st_mode));
  EXPECT_EQ(Stat(Path("a")).st_nlink, 2u);
  auto fd = base::Open(root_, O_RDONLY | O_DIRECTORY);
  EXPECT_EQ(result->usage_inodes, MeasureTree(fd->get())->inodes);
  EXPECT_EQ(result->usage_bytes, MeasureTree(fd->get())->bytes);
}

// Every way out that layers have tried (escape-cves: CVE-2021-32760, CVE-2025-47290,
// CVE-2026-17106 and older ones of the same kind). The fixture looks at the canary.
TEST_F(LayerApplierTest, NothingEscapes) {
  std::string canary = box_ + "/canary";
  std::string up = "../../../../../../../../../.." + canary;
  struct Case {
    const char* name;
    std::vector<Item> items;
  } cases[] = {
      {"dotdot", {File("../canary/file", "dead"), File("../../x", "x"), Dir("../canary/", 0777)}},
      {"absolute", {File(canary + "/file", "dead")}},
      {"inner dotdot", {Dir("a/"), File("a/../../canary/file", "dead")}},
      {"absolute link", {Symlink("l", canary), File("l/file", "dead"), File("l/new", "x")}},
      {"relative link", {Symlink("l", "../canary"), File("l/file", "dead"), File("l/new", "x")}},
      {"long way", {Symlink("l", up), File("l/file", "dead")}},
      {"chain", {Symlink("a", ".."), Symlink("b", "a/canary"), File("b/file", "dead")}},
      {"link to /proc", {Symlink("l", "/proc/self/root" + canary), File("l/file", "dead")}},
      {"final link", {Symlink("l", canary + "/file"), File("l", "dead", 0777)}},
      {"chmod by link", {Symlink("l", canary), Dir("l/", 0777)}},
      {"hard link out", {HardLink("h", "../canary/file"), File("h", "dead")}},
      {"hard link absolute", {HardLink("h", canary + "/file"), File("h", "dead")}},
      {"hard link by link", {Symlink("l", canary), HardLink("h", "l/file"), File("h", "dead")}},
      {"hard link to link",
       {Symlink("l", canary + "/file"), HardLink("h", "l"), File("h", "dead", 0777)}},
      {"whiteout by link", {Symlink("l", canary), File("l/.wh.file", "")}},
      {"whiteout of parent", {Dir("a/"), File("a/.wh..", ""), File("a/.wh...", "")}},
      {"opaque by link", {Symlink("l", canary), File("l/.wh..wh..opq", "")}},
      {"device by link", {Symlink("l", canary), Special("l/dev", TarType::kCharDevice)}},
      {"swap directory",
       {Dir("d/"), File("d/a", ""), File("d", ""), Symlink("d", canary), File("d/file", "dead"),
        File("d/b", "")}},
      {"swap link",
       {Dir("real/"), Symlink("d", "real"), File("d/a", ""), Symlink("d", canary),
        File("d/file", "dead")}},
      {"backslash", {File("..\\canary\\file", "dead"), File("a\\..\\..\\b", "x")}},
      {"redirect",
       [&] {
         Item dir = Dir("d/");
         dir.entry.xattrs = {{"trusted.overlay.redirect", canary}, {"trusted.overlay.opaque", "y"}};
         return std::vector<Item>{dir};
       }()},
  };
  for (const Case& c : cases) {
    for (Whiteouts whiteouts : {Whiteouts::kOverlay, Whiteouts::kRemove}) {
      SCOPED_TRACE(c.name);
      auto result = Apply(c.items, whiteouts);
      // Either is fine, a refusal or something inside; but not a failure of ours.
      if (!result.ok()) {
        EXPECT_TRUE(absl::IsInvalidArgument(result.status())) << result.status();
      }
      EXPECT_EQ(*base::ReadFile(canary + "/file"), "alive");
      EXPECT_EQ(Stat(canary + "/file").st_mode, canary_.st_mode);
      EXPECT_EQ(base::ListDir(canary)->size(), 1u);
      EXPECT_EQ(base::ListDir(box_)->size(), 2u);
      if (Exists("d")) {
        EXPECT_EQ(Xattr(Path("d"), "trusted.overlay.redirect"), "none");
        EXPECT_EQ(Xattr(Path("d"), "trusted.overlay.opaque"), "none");
      }
      ASSERT_TRUE(base::RemoveTree(root_).ok());
      ASSERT_TRUE(base::MakeDirs(root_, 0755).ok());
    }
  }
}

TEST_F(LayerApplierTest, LinksStayInsideTheRoot) {
  // As the program in the container will see it: "/etc" is the root's own.
  auto result =
      Apply({Dir("etc/"), Symlink("abs", "/etc"), File("abs/a", "1"), Symlink("up", "../../../etc"),
             File("up/b", "2"), Symlink("dangling", "/not/yet"), File("dangling/c", "3")});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(Read("etc/a"), "1");
  EXPECT_EQ(Read("etc/b"), "2");
  EXPECT_EQ(Read("not/yet/c"), "3");
  EXPECT_TRUE(absl::IsInvalidArgument(
      Apply({Symlink("x", "y"), Symlink("y", "x"), File("x/f", "")}).status()));
}

TEST_F(LayerApplierTest, HardLinksNeverChangeTheirTarget) {
  Item link = HardLink("h", "f");
  link.entry.mode = 0777;
  link.entry.uid = 1234;
  auto result = Apply({File("f", "x", 0600), link, Symlink("s", "f"), HardLink("hs", "s")});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(Stat(Path("f")).st_mode & 07777, 0600u);
  EXPECT_EQ(Stat(Path("f")).st_uid, 0u);
  EXPECT_TRUE(S_ISLNK(Stat(Path("hs")).st_mode));
  EXPECT_TRUE(absl::IsInvalidArgument(Apply({HardLink("n", "missing")}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Apply({Dir("d/"), HardLink("n", "d")}).status()));
}

TEST_F(LayerApplierTest, OverlayWhiteouts) {
  auto result =
      Apply({Dir("d/"), File("d/.wh.gone", ""), Dir("o/"), File("o/.wh..wh..opq", ""),
             File("o/new", ""), File(".wh..wh.plnk", ""), File(".wh..wh.aufs/x", ""),
             // A whiteout beside what replaces it, in both orders.
             File("d/.wh.f1", ""), File("d/f1", "kept"), File("d/f2", "kept"), File("d/.wh.f2", ""),
             File("d/.wh.d1", ""), Dir("d/d1/"), Dir("d/d2/"), File("d/.wh.d2", "")});
  ASSERT_TRUE(result.ok()) << result.status();
  struct stat st = Stat(Path("d/gone"));
  EXPECT_TRUE(S_ISCHR(st.st_mode));
  EXPECT_EQ(st.st_rdev, 0u);
  EXPECT_EQ(Xattr(Path("o"), "trusted.overlay.opaque"), "y");
  EXPECT_TRUE(Exists("o/new"));
  EXPECT_FALSE(Exists(".wh..wh.plnk"));
  EXPECT_FALSE(Exists(".wh..wh.aufs"));
  EXPECT_EQ(Read("d/f1"), "kept");
  EXPECT_EQ(Read("d/f2"), "kept");
  EXPECT_EQ(Xattr(Path("d/d1"), "trusted.overlay.opaque"), "y");
  EXPECT_EQ(Xattr(Path("d/d2"), "trusted.overlay.opaque"), "y");
  for (const char* bad : {".wh.", ".wh..", ".wh..."})
    EXPECT_TRUE(absl::IsInvalidArgument(Apply({File(bad, "")}).status())) << bad;
}

TEST_F(LayerApplierTest, NativeWhiteoutsRemoveLowerFilesOnly) {
  ASSERT_TRUE(Apply({Dir("a/"), File("a/gone", ""), File("a/kept", ""), Dir("a/tree/"),
                     File("a/tree/x", ""), Dir("o/"), File("o/old", ""), Dir("o/sub/"),
                     File("o/sub/old", "")},
                    Whiteouts::kRemove)
                  .ok());
  auto result = Apply({File("a/.wh.gone", ""), File("a/.wh.tree", ""), File("a/.wh.missing", ""),
                       File("a/new", "n"), File("a/.wh.new", ""), File("o/sub/new", ""),
                       File("o/.wh..wh..opq", ""), File("o/late", "")},
                      Whiteouts::kRemove);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_FALSE(Exists("a/gone"));
  EXPECT_FALSE(Exists("a/tree"));
  EXPECT_TRUE(Exists("a/kept"));
  EXPECT_EQ(Read("a/new"), "n");
  EXPECT_FALSE(Exists("o/old"));
  EXPECT_TRUE(Exists("o/late"));
}

TEST_F(LayerApplierTest, ImplicitParentsAreLikeThoseBelow) {
  std::string lower = root_ + "/lower";
  ASSERT_TRUE(base::MakeDirs(lower + "/usr/special", 0755).ok());
  ASSERT_EQ(chmod((lower + "/usr/special").c_str(), 02750), 0);
  ASSERT_EQ(chown((lower + "/usr/special").c_str(), 7, 8), 0);
  ASSERT_EQ(setxattr((lower + "/usr/special").c_str(), "user.k", "v", 1, 0), 0);
  ASSERT_EQ(chmod((lower + "/usr/special").c_str(), 02750), 0);
  LayerApplierOptions options;
  options.lower_dirs = {lower};
  auto result = ApplyBytes(Pack({File("usr/special/f", ""), File("other/f", "")}), options);
  ASSERT_TRUE(result.ok()) << result.status();
  struct stat st = Stat(Path("usr/special"));
  EXPECT_EQ(st.st_mode & 07777, 02750u);
  EXPECT_EQ(st.st_uid, 7u);
  EXPECT_EQ(st.st_gid, 8u);
  EXPECT_EQ(st.st_mtim.tv_nsec, Stat(lower + "/usr/special").st_mtim.tv_nsec);
  EXPECT_EQ(Xattr(Path("usr/special"), "user.k"), "v");
  EXPECT_EQ(Stat(Path("other")).st_mode & 07777, 0755u);
}

TEST_F(LayerApplierTest, DamagedLayersAreRefused) {
  std::string blob =
      Pack({Dir("d/"), File("d/f", std::string(100000, 'x'))}, archive::Compression::kGzip);
  struct Case {
    const char* name;
    std::string blob;
  } cases[] = {
      {"cut", blob.substr(0, blob.size() / 2)},
      {"cut trailer", blob.substr(0, blob.size() - 3)},
      {"wrong crc", blob.substr(0, blob.size() - 8) + std::string(8, '\0')},
      {"no tar", std::string(2000, 'n')},
      {"cut tar", Pack({File("f", std::string(2000, 'y'))}).substr(0, 1500)},
      {"entry through a file", Pack({File("f", ""), File("f/g", "")})},
      {"uid",
       [] {
         Item item = File("f", "");
         item.entry.uid = UINT32_MAX;
         return Pack({item});
       }()},
      {"name too long", Pack({File(std::string(300, 'n'), "")})},
  };
  for (const Case& c : cases) {
    auto result = ApplyBytes(c.blob, {});
    EXPECT_TRUE(absl::IsInvalidArgument(result.status())) << c.name << ": " << result.status();
  }
}

TEST_F(LayerApplierTest, LimitsAreKept) {
  LayerApplierOptions options;
  options.max_bytes = 1 << 20;
  // A small blob that becomes a large tar.
  std::string bomb =
      Pack({File("zeros", std::string(64 << 20, '\0'))}, archive::Compression::kGzip);
  ASSERT_LT(bomb.size(), size_t{1} << 20);
  EXPECT_TRUE(absl::IsResourceExhausted(ApplyBytes(bomb, options).status()));
  options = {};
  options.max_entries = 2;
  EXPECT_TRUE(absl::IsResourceExhausted(
      ApplyBytes(Pack({File("a", ""), File("b", ""), File("c", "")}), options).status()));
}

TEST_F(LayerApplierTest, WriteErrorsOfTheThreadComeBack) {
  std::vector<Item> items;
  for (int i = 0; i < 40; ++i)
    items.push_back(File(absl::StrCat("f", i), std::string(1 << 20, 'x')));
  items.insert(items.begin() + 3, File(".wh..", ""));
  LayerApplierOptions options;
  options.threads = LayerApplierOptions::Threads::kTwo;
  EXPECT_TRUE(absl::IsInvalidArgument(ApplyBytes(Pack(items), options, 100000).status()));
}

TEST_F(LayerApplierTest, CanBeGivenUpHalfWay) {
  LayerApplierOptions options;
  options.threads = LayerApplierOptions::Threads::kTwo;
  auto fd = base::Open(root_, O_RDONLY | O_DIRECTORY);
  auto applier = LayerApplier::Create(*std::move(fd), options);
  ASSERT_TRUE(applier.ok());
  std::string tar = Pack({File("f", std::string(8 << 20, 'x'))});
  ASSERT_TRUE((*applier)->Write(absl::string_view(tar).substr(0, 5 << 20)).ok());
}

TEST_F(LayerApplierTest, OverlayShowsWhatTheLayersSay) {
  std::string lower = root_ + "/lower", upper = root_ + "/upper", work = root_ + "/work",
              merged = root_ + "/merged";
  for (const std::string& dir : {lower, upper, work, merged})
    ASSERT_TRUE(base::MakeDirs(dir, 0755).ok());
  for (const char* name : {"a/gone", "a/kept", "o/old", "r/old"}) {
    std::string path = absl::StrCat(lower, "/", name);
    ASSERT_TRUE(base::MakeDirs(path.substr(0, path.rfind('/')), 0755).ok());
    ASSERT_TRUE(base::WriteFile(path, "lower").ok());
  }
  base::Mount mount{
      "overlay", "overlay", "", {"workdir=" + work, "upperdir=" + upper, "lowerdir=" + lower}};
  auto target = OpenApplyTarget({mount}, root_);
  ASSERT_TRUE(target.ok()) << target.status();
  EXPECT_FALSE(target->mounted.has_value());
  LayerApplierOptions options;
  options.whiteouts = target->whiteouts;
  options.lower_dirs = target->lower_dirs;
  auto applier = LayerApplier::Create(std::move(target->root), options);
  ASSERT_TRUE(applier.ok());
  ASSERT_TRUE(
      (*applier)
          ->Write(Pack({File("a/.wh.gone", ""), File("o/.wh..wh..opq", ""), File("o/new", "upper"),
                        File(".wh.r", ""), Dir("r/"), File("r/new", "upper")}))
          .ok());
  ASSERT_TRUE((*applier)->Finish().ok());
  absl::Status mounted = base::MountAll({mount}, merged);
  if (!mounted.ok()) GTEST_SKIP() << "no overlay on this file system: " << mounted;
  EXPECT_FALSE(Exists("merged/a/gone"));
  EXPECT_EQ(Read("merged/a/kept"), "lower");
  EXPECT_FALSE(Exists("merged/o/old"));
  EXPECT_EQ(Read("merged/o/new"), "upper");
  EXPECT_FALSE(Exists("merged/r/old"));
  EXPECT_EQ(Read("merged/r/new"), "upper");
  EXPECT_TRUE(base::UnmountAll(merged).ok());
}

TEST_F(LayerApplierTest, TargetsOfMounts) {
  auto bind = OpenApplyTarget({{"bind", root_, "", {"rbind", "rw"}}}, root_);
  ASSERT_TRUE(bind.ok()) << bind.status();
  EXPECT_EQ(bind->whiteouts, Whiteouts::kRemove);
  EXPECT_FALSE(bind->mounted.has_value());
  EXPECT_TRUE(absl::IsFailedPrecondition(
      OpenApplyTarget({{"bind", root_, "", {"rbind", "ro"}}}, root_).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(OpenApplyTarget({}, root_).status()));
  {
    auto tmpfs = OpenApplyTarget({{"tmpfs", "tmpfs", "", {}}}, root_);
    ASSERT_TRUE(tmpfs.ok()) << tmpfs.status();
    EXPECT_TRUE(tmpfs->mounted.has_value());
  }
  EXPECT_TRUE(base::ListDir(root_)->empty());
}

TEST(CleanArchivePathTest, Cleans) {
  struct Case {
    const char* in;
    const char* out;
  } cases[] = {{"", ""},          {"/", ""},          {"./", ""},    {"a", "a"},
               {"a/", "a"},       {"./a//b/", "a/b"}, {"../a", "a"}, {"a/../../b", "b"},
               {"/a/./b", "a/b"}, {"a/..", ""},       {"...", "..."}};
  for (const Case& c : cases) EXPECT_EQ(CleanArchivePath(c.in), c.out) << c.in;
}

}  // namespace
}  // namespace gantry::services
