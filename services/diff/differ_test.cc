#include "services/diff/differ.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/archive/collecting_sink.h"
#include "base/archive/decompress.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/content/content_store.h"
#include "services/diff/file_attributes.h"
#include "services/metadata/context.h"
#include "services/metadata/test_db.h"

namespace gantry::services {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

constexpr char kTar[] = "application/vnd.oci.image.layer.v1.tar";

class DifferTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root: makes devices and changes owners";
    std::string path = absl::StrCat(testing::TempDir(), "/differ-XXXXXX");
    box_ = mkdtemp(path.data());
    for (const char* dir : {"lower", "upper", "work", "merged", "out", "tmp"})
      ASSERT_TRUE(base::MakeDirs(absl::StrCat(box_, "/", dir), 0755).ok());
    auto store = ContentStore::Open(box_ + "/store", db_.get());
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    differ_ = std::make_unique<Differ>(store_.get(), box_ + "/tmp");
  }
  void TearDown() override {
    if (box_.empty()) return;
    EXPECT_TRUE(base::UnmountAll(box_ + "/merged").ok());
    EXPECT_TRUE(base::ListDir(box_ + "/tmp")->empty());
    store_.reset();
    EXPECT_TRUE(base::RemoveTree(box_).ok());
  }

  std::string Path(absl::string_view name) const { return absl::StrCat(box_, "/", name); }
  void Write(absl::string_view name, absl::string_view data, int64_t mtime = 1000) {
    std::string path = Path(name);
    ASSERT_TRUE(base::MakeDirs(path.substr(0, path.rfind('/')), 0755).ok());
    ASSERT_TRUE(base::WriteFile(path, data, 0644).ok());
    Touch(name, mtime);
  }
  void Touch(absl::string_view name, int64_t mtime, long nanos = 0) {
    timespec times[2] = {{mtime, nanos}, {mtime, nanos}};
    ASSERT_EQ(utimensat(AT_FDCWD, Path(name).c_str(), times, AT_SYMLINK_NOFOLLOW), 0);
  }
  std::vector<base::Mount> Bind(absl::string_view dir) const {
    return {{"bind", Path(dir), "", {"rbind", "rw"}}};
  }
  base::Mount Overlay() const {
    return {"overlay",
            "overlay",
            "",
            {"workdir=" + Path("work"), "upperdir=" + Path("upper"), "lowerdir=" + Path("lower")}};
  }

  archive::CollectingSink Entries(const Descriptor& layer) {
    auto blob = store_->ReadBlob(ctx_, layer.digest, 64 << 20);
    EXPECT_TRUE(blob.ok()) << blob.status();
    archive::CollectingSink sink;
    archive::TarReader reader(&sink);
    auto stream =
        archive::Decompressor::Detect([&](absl::string_view data) { return reader.Write(data); });
    EXPECT_TRUE(stream->Write(*blob).ok());
    EXPECT_TRUE(stream->Finish().ok());
    EXPECT_TRUE(reader.Finish().ok());
    return sink;
  }
  std::vector<std::string> Names(const Descriptor& layer) {
    std::vector<std::string> names;
    archive::CollectingSink sink = Entries(layer);
    for (const auto& c : sink.entries()) names.push_back(c.entry.name);
    return names;
  }
  absl::StatusOr<Descriptor> Compare(const std::vector<base::Mount>& lower,
                                     const std::vector<base::Mount>& upper,
                                     CompareOptions options = {}) {
    if (options.media_type.empty()) options.media_type = kTar;
    return differ_->Compare(ctx_, lower, upper, options);
  }

  // Everything that a layer carries, by path.
  std::map<std::string, std::string> Snapshot(const std::string& dir) {
    std::map<std::string, std::string> tree;
    std::function<void(const std::string&)> walk = [&](const std::string& path) {
      auto names = base::ListDir(dir + "/" + path);
      ASSERT_TRUE(names.ok());
      for (const std::string& name : *names) {
        std::string child = path.empty() ? name : path + "/" + name;
        std::string full = dir + "/" + child;
        struct stat st;
        ASSERT_EQ(lstat(full.c_str(), &st), 0);
        std::string text = absl::StrCat(st.st_mode, " ", st.st_uid, ":", st.st_gid, " ", st.st_rdev,
                                        " ", st.st_mtim.tv_sec, ".", st.st_mtim.tv_nsec);
        if (!S_ISDIR(st.st_mode)) absl::StrAppend(&text, " links ", st.st_nlink);
        if (S_ISREG(st.st_mode)) absl::StrAppend(&text, " ", *base::ReadFile(full));
        if (S_ISLNK(st.st_mode)) {
          char target[100];
          ssize_t n = readlink(full.c_str(), target, sizeof target);
          absl::StrAppend(&text, " -> ", absl::string_view(target, static_cast<size_t>(n)));
        }
        if (!S_ISLNK(st.st_mode)) {
          auto fd = base::Open(full, O_PATH | O_NOFOLLOW);
          const auto xattrs = ReadXattrs(fd->get());
          for (const auto& [key, value] : *xattrs) absl::StrAppend(&text, " ", key, "=", value);
        }
        tree[child] = text;
        if (S_ISDIR(st.st_mode)) walk(child);
      }
    };
    walk("");
    return tree;
  }
  // Something of every kind.
  void FillTree(const std::string& dir) {
    Write(dir + "/a/file", "content");
    ASSERT_EQ(chmod(Path(dir + "/a/file").c_str(), 04711), 0);
    ASSERT_EQ(link(Path(dir + "/a/file").c_str(), Path(dir + "/b-link").c_str()), 0);
    ASSERT_EQ(symlink("a/file", Path(dir + "/soft").c_str()), 0);
    ASSERT_EQ(mknod(Path(dir + "/null").c_str(), S_IFCHR | 0666, makedev(1, 3)), 0);
    ASSERT_EQ(mkfifo(Path(dir + "/fifo").c_str(), 0600), 0);
    Write(dir + "/deep/er/" + std::string(150, 'n'), std::string(300000, 'z'));
    Write(dir + "/owned", "");
    ASSERT_EQ(chown(Path(dir + "/owned").c_str(), 3000000, 5), 0);
    ASSERT_EQ(setxattr(Path(dir + "/owned").c_str(), "user.k", "v", 1, 0), 0);
    ASSERT_EQ(setxattr(Path(dir + "/deep").c_str(), "user.d", "w", 1, 0), 0);
    Touch(dir + "/owned", 1234567, 987654321);
    Touch(dir + "/deep", 7777, 1);
  }

  TestDb db_;
  std::string box_;
  std::unique_ptr<ContentStore> store_;
  std::unique_ptr<Differ> differ_;
  const Context ctx_{"ns", ""};
};

TEST_F(DifferTest, WhatIsComparedCanBeApplied) {
  FillTree("upper");
  for (const char* suffix : {"", "+gzip", "+zstd"}) {
    CompareOptions options;
    options.media_type = absl::StrCat(kTar, suffix);
    auto layer = Compare({}, Bind("upper"), options);
    ASSERT_TRUE(layer.ok()) << layer.status();
    EXPECT_EQ(layer->media_type, options.media_type);
    ASSERT_TRUE(base::RemoveTree(Path("out")).ok());
    ASSERT_TRUE(base::MakeDirs(Path("out"), 0755).ok());
    auto applied = differ_->Apply(ctx_, *layer, Bind("out"), true);
    ASSERT_TRUE(applied.ok()) << applied.status();
    EXPECT_EQ(applied->media_type, kTar);
    auto info = store_->GetInfo(ctx_, layer->digest);
    EXPECT_EQ(info->labels.at("containerd.io/uncompressed"), applied->digest.str());
    EXPECT_EQ(info->size, layer->size);
    EXPECT_EQ(Snapshot(Path("out")), Snapshot(Path("upper")));
  }
}

TEST_F(DifferTest, ChangesOfTwoTrees) {
  for (const char* tree : {"lower", "upper"}) {
    std::string dir = tree;
    Write(dir + "/same", "1");
    Write(dir + "/same-time/other-content", dir);
    Write(dir + "/mode", "1");
    Write(dir + "/d/unchanged", "1");
    Write(dir + "/d/touched", "1", dir == "lower" ? 1000 : 2000);
    Touch(dir + "/d", 5);
    Touch(dir + "/same-time", 5);
  }
  ASSERT_EQ(chmod(Path("upper/mode").c_str(), 0600), 0);
  Write("lower/gone/a", "");
  Write("lower/gone/b", "");
  Write("lower/d/removed", "");
  Write("lower/becomes-file/x", "");
  Write("upper/becomes-file", "now a file");
  Write("upper/new/n", "");
  auto layer = Compare(Bind("lower"), Bind("upper"));
  ASSERT_TRUE(layer.ok()) << layer.status();
  EXPECT_THAT(Names(*layer), UnorderedElementsAre("becomes-file", "d/", "d/.wh.removed",
                                                  "d/touched", ".wh.gone", "mode", "new/", "new/n",
                                                  "same-time/", "same-time/other-content"));
  // And what comes out of it is the upper tree.
  Descriptor base_layer = *Compare({}, Bind("lower"));
  ASSERT_TRUE(differ_->Apply(ctx_, base_layer, Bind("out")).ok());
  ASSERT_TRUE(differ_->Apply(ctx_, *layer, Bind("out")).ok());
  auto got = Snapshot(Path("out")), want = Snapshot(Path("upper"));
  EXPECT_EQ(got, want);
}

TEST_F(DifferTest, EqualTreesGiveAnEmptyLayer) {
  FillTree("lower");
  ASSERT_TRUE(differ_->Apply(ctx_, *Compare({}, Bind("lower")), Bind("out")).ok());
  auto layer = Compare(Bind("lower"), Bind("out"));
  ASSERT_TRUE(layer.ok()) << layer.status();
  EXPECT_THAT(Names(*layer), ElementsAre());
  EXPECT_EQ(layer->size, 1024);
}

TEST_F(DifferTest, LinksToUnchangedFilesAreKept) {
  Write("lower/z", "data");
  ASSERT_TRUE(differ_->Apply(ctx_, *Compare({}, Bind("lower")), Bind("upper")).ok());
  ASSERT_EQ(link(Path("upper/z").c_str(), Path("upper/a").c_str()), 0);
  auto layer = Compare(Bind("lower"), Bind("upper"));
  ASSERT_TRUE(layer.ok()) << layer.status();
  auto entries = Entries(*layer);
  ASSERT_EQ(entries.entries().size(), 2u);
  EXPECT_EQ(entries.Find("a")->content, "data");
  EXPECT_EQ(entries.Find("z")->entry.type, archive::TarType::kHardLink);
  EXPECT_EQ(entries.Find("z")->entry.link_name, "a");
}

TEST_F(DifferTest, OverlayUpperDirectoryIsTheDiff) {
  FillTree("lower");
  Write("lower/o/old", "");
  if (!base::MountAll({Overlay()}, Path("merged")).ok()) GTEST_SKIP() << "no overlay here";
  Write("merged/a/new", "n");
  ASSERT_EQ(unlink(Path("merged/soft").c_str()), 0);
  ASSERT_TRUE(base::RemoveTree(Path("merged/o")).ok());
  Write("merged/o/fresh", "f");
  auto want = Snapshot(Path("merged"));
  ASSERT_TRUE(base::UnmountAll(Path("merged")).ok());
  std::vector<base::Mount> view = {{"bind", Path("lower"), "", {"ro", "rbind"}}};
  auto fast = Compare(view, {Overlay()});
  ASSERT_TRUE(fast.ok()) << fast.status();
  EXPECT_THAT(Names(*fast),
              UnorderedElementsAre("a/", "a/new", ".wh.soft", "o/", "o/.wh..wh..opq", "o/fresh"));
  // Without knowing that the one stands on the other the walk of both must give an equal tree.
  ASSERT_TRUE(differ_->Apply(ctx_, *Compare({}, Bind("lower")), Bind("out")).ok());
  auto slow = Compare(Bind("out"), {Overlay()});
  ASSERT_TRUE(slow.ok()) << slow.status();
  EXPECT_THAT(Names(*slow), testing::IsSupersetOf({"a/new", ".wh.soft", "o/.wh.old", "o/fresh"}));
  ASSERT_TRUE(differ_->Apply(ctx_, *slow, Bind("out")).ok());
  auto got = Snapshot(Path("out"));
  EXPECT_EQ(got, want);
}

TEST_F(DifferTest, AppliesToOverlayWithoutMounting) {
  Write("lower/gone", "");
  Write("tmp2/.keep", "");
  Write("src/d/f", "x");
  auto layer = Compare(Bind("lower"), Bind("src"));
  ASSERT_TRUE(layer.ok());
  ASSERT_TRUE(differ_->Apply(ctx_, *layer, {Overlay()}).ok());
  struct stat st;
  ASSERT_EQ(lstat(Path("upper/gone").c_str(), &st), 0);
  EXPECT_TRUE(S_ISCHR(st.st_mode));
  EXPECT_EQ(*base::ReadFile(Path("upper/d/f")), "x");
}

TEST_F(DifferTest, SourceDateEpochMakesLayersEqual) {
  Write("upper/f", "x", 5000);
  Touch("upper", 6000);
  CompareOptions options;
  options.source_date_epoch = absl::FromUnixSeconds(3000);
  auto first = Compare({}, Bind("upper"), options);
  Touch("upper/f", 9000, 5);
  auto second = Compare({}, Bind("upper"), options);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(first->digest, second->digest);
  EXPECT_EQ(Entries(*first).Find("f")->entry.mtime.tv_sec, 3000);
}

TEST_F(DifferTest, ExistingDiffIsReturnedWithItsLabel) {
  Write("upper/f", "x");
  auto first = Compare({}, Bind("upper"));
  ContentInfo info;
  info.digest = first->digest;
  ASSERT_TRUE(store_->UpdateInfo(ctx_, info, {}).ok());
  auto again = Compare({}, Bind("upper"));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->digest, first->digest);
  EXPECT_EQ(store_->GetInfo(ctx_, first->digest)->labels.count("containerd.io/uncompressed"), 1u);
  EXPECT_TRUE(store_->ListStatuses(ctx_, {})->empty());
}

TEST_F(DifferTest, SaysWhatItCannotDo) {
  Write("upper/f", "x");
  CompareOptions options;
  options.media_type = "application/x-unknown";
  EXPECT_TRUE(absl::IsUnimplemented(Compare({}, Bind("upper"), options).status()));
  Descriptor layer = *Compare({}, Bind("upper"));
  layer.media_type = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";
  EXPECT_TRUE(absl::IsUnimplemented(differ_->Apply(ctx_, layer, Bind("out")).status()));
  layer.media_type = kTar;
  EXPECT_TRUE(absl::IsInvalidArgument(differ_->Apply(ctx_, layer, {}).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(
      differ_->Apply(ctx_, layer, {{"bind", Path("out"), "", {"ro", "bind"}}}).status()));
  layer.digest = base::DigestOf("none");
  EXPECT_TRUE(absl::IsNotFound(differ_->Apply(ctx_, layer, Bind("out")).status()));
  EXPECT_TRUE(store_->ListStatuses(ctx_, {})->empty());
}

TEST_F(DifferTest, DamagedBlobIsNoticed) {
  Write("upper/f", std::string(1000, 'x'));
  Descriptor layer = *Compare({}, Bind("upper"));
  std::string path = absl::StrCat(Path("store"), "/io.containerd.content.v1.content/blobs/sha256/",
                                  layer.digest.hex());
  std::string data = *base::ReadFile(path);
  data[700] = 'y';
  ASSERT_TRUE(base::WriteFile(path, data).ok());
  absl::Status status = differ_->Apply(ctx_, layer, Bind("out")).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
}

}  // namespace
}  // namespace gantry::services
