// The diff service: layers unpacked into snapshots, and layers made of the difference of two. Blobs
// may differ between servers; the trees of files may not.

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <regex>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/mount.h"
#include "containerd/services/content/v1/content.grpc.pb.h"
#include "containerd/services/diff/v1/diff.grpc.pb.h"
#include "containerd/services/leases/v1/leases.grpc.pb.h"
#include "containerd/services/snapshots/v1/snapshots.grpc.pb.h"
#include "gmock/gmock.h"
#include "tests/conformance/target.h"
#include "tests/integration/image_archive.h"

namespace gantry::tests {
namespace {

namespace content = containerd::services::content::v1;
namespace diff = containerd::services::diff::v1;
namespace leases = containerd::services::leases::v1;
namespace snapshots = containerd::services::snapshots::v1;

using archive::Compression;
using archive::TarType;
using containerd::types::Descriptor;
using containerd::types::Mount;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Mounts = google::protobuf::RepeatedPtrField<Mount>;

constexpr char kTar[] = "application/vnd.oci.image.layer.v1.tar";
constexpr char kGzip[] = "application/vnd.oci.image.layer.v1.tar+gzip";
constexpr char kZstd[] = "application/vnd.oci.image.layer.v1.tar+zstd";

// One line a file: what of it a layer carries. Files with the same inode are "=" the first of them.
std::map<std::string, std::string> Tree(const std::string& root) {
  std::map<std::string, std::string> out;
  std::map<ino_t, std::string> first;
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
    paths.push_back(entry.path().string().substr(root.size()));
  }
  std::sort(paths.begin(), paths.end());
  for (const std::string& name : paths) {
    const std::string path = root + name;
    struct stat st;
    EXPECT_EQ(lstat(path.c_str(), &st), 0) << path;
    std::string line = absl::StrCat(absl::Hex(st.st_mode), " ", st.st_uid, ":", st.st_gid);
    if (S_ISREG(st.st_mode)) {
      absl::StrAppend(&line, " ", st.st_size, " ", st.st_mtim.tv_sec, ".", st.st_mtim.tv_nsec, " ",
                      base::DigestOf(*base::ReadFile(path)).str().substr(7, 12));
    }
    if (S_ISLNK(st.st_mode)) {
      absl::StrAppend(&line, " -> ", std::filesystem::read_symlink(path).string());
    }
    if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) {
      absl::StrAppend(&line, " ", major(st.st_rdev), ",", minor(st.st_rdev));
    }
    char value[256];
    ssize_t size = lgetxattr(path.c_str(), "user.test", value, sizeof value);
    if (size >= 0)
      absl::StrAppend(&line, " user.test=", std::string(value, static_cast<size_t>(size)));
    if (!S_ISDIR(st.st_mode) && st.st_nlink > 1) {
      auto [it, is_new] = first.emplace(st.st_ino, name);
      if (!is_new) absl::StrAppend(&line, " =", it->second);
    }
    out[name] = line;
  }
  return out;
}

class DiffTest : public ConformanceTest {
 protected:
  void SetUp() override {
    ConformanceTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    content_ = content::Content::NewStub(channel());
    diff_ = diff::Diff::NewStub(channel());
    leases_ = leases::Leases::NewStub(channel());
    snapshots_ = snapshots::Snapshots::NewStub(channel());
    dir_ = absl::StrCat("/tmp/", ns());
    ASSERT_TRUE(base::MakeDirs(dir_).ok());
    leases::CreateRequest request;
    request.set_id("diff-test");
    leases::CreateResponse response;
    ASSERT_EQ(Text(leases_->Create(Call().get(), request, &response)), "OK");
  }
  void TearDown() override {
    if (leases_ == nullptr) return;
    for (auto it = keys_.rbegin(); it != keys_.rend(); ++it) {
      snapshots::RemoveSnapshotRequest request;
      request.set_snapshotter("overlayfs");
      request.set_key(*it);
      google::protobuf::Empty empty;
      EXPECT_EQ(Text(snapshots_->Remove(Call().get(), request, &empty)), "OK") << *it;
    }
    leases::DeleteRequest request;
    request.set_id("diff-test");
    request.set_sync(true);
    google::protobuf::Empty empty;
    leases_->Delete(Call().get(), request, &empty);
    EXPECT_TRUE(base::RemoveTree(dir_).ok());
  }

  Descriptor Put(const std::string& bytes, const std::string& media_type) {
    Descriptor out;
    out.set_media_type(media_type);
    out.set_digest(base::DigestOf(bytes).str());
    out.set_size(static_cast<int64_t>(bytes.size()));
    auto context = Call("diff-test");
    auto stream = content_->Write(context.get());
    content::WriteContentRequest request;
    request.set_action(content::COMMIT);
    request.set_ref(out.digest());
    request.set_expected(out.digest());
    request.set_total(out.size());
    request.set_data(bytes);
    stream->Write(request);
    stream->WritesDone();
    content::WriteContentResponse response;
    while (stream->Read(&response)) {
    }
    grpc::Status status = stream->Finish();
    EXPECT_TRUE(status.ok() || status.error_code() == grpc::StatusCode::ALREADY_EXISTS)
        << Text(status);
    return out;
  }
  std::string Read(const Descriptor& blob) {
    content::ReadContentRequest request;
    request.set_digest(blob.digest());
    auto context = Call();
    auto stream = content_->Read(context.get(), request);
    content::ReadContentResponse response;
    std::string out;
    while (stream->Read(&response)) out += response.data();
    EXPECT_EQ(Text(stream->Finish()), "OK");
    return out;
  }
  Mounts Prepare(const std::string& key, const std::string& parent = "") {
    snapshots::PrepareSnapshotRequest request;
    request.set_snapshotter("overlayfs");
    request.set_key(key);
    request.set_parent(parent);
    snapshots::PrepareSnapshotResponse response;
    EXPECT_EQ(Text(snapshots_->Prepare(Call("diff-test").get(), request, &response)), "OK");
    keys_.push_back(key);
    return response.mounts();
  }
  Mounts View(const std::string& key, const std::string& parent) {
    snapshots::ViewSnapshotRequest request;
    request.set_snapshotter("overlayfs");
    request.set_key(key);
    request.set_parent(parent);
    snapshots::ViewSnapshotResponse response;
    EXPECT_EQ(Text(snapshots_->View(Call("diff-test").get(), request, &response)), "OK");
    keys_.push_back(key);
    return response.mounts();
  }
  void Commit(const std::string& name, const std::string& key) {
    snapshots::CommitSnapshotRequest request;
    request.set_snapshotter("overlayfs");
    request.set_name(name);
    request.set_key(key);
    google::protobuf::Empty empty;
    EXPECT_EQ(Text(snapshots_->Commit(Call("diff-test").get(), request, &empty)), "OK");
    std::replace(keys_.begin(), keys_.end(), key, name);
  }
  grpc::Status Apply(const Descriptor& blob, const Mounts& mounts, Descriptor* applied = nullptr) {
    diff::ApplyRequest request;
    *request.mutable_diff() = blob;
    *request.mutable_mounts() = mounts;
    diff::ApplyResponse response;
    grpc::Status status = diff_->Apply(Call("diff-test").get(), request, &response);
    if (applied != nullptr) *applied = response.applied();
    return status;
  }
  grpc::Status Compare(const Mounts& left, const Mounts& right, const std::string& media_type,
                       Descriptor* made) {
    diff::DiffRequest request;
    *request.mutable_left() = left;
    *request.mutable_right() = right;
    request.set_media_type(media_type);
    request.set_ref(absl::StrCat("ref-", base::RandomHex(6)));
    (*request.mutable_labels())["test/label"] = "kept";
    diff::DiffResponse response;
    grpc::Status status = diff_->Diff(Call("diff-test").get(), request, &response);
    *made = response.diff();
    return status;
  }
  // Calls `use` with the directory where the snapshot is mounted.
  void Mounted(const Mounts& mounts, const std::function<void(const std::string&)>& use) {
    std::vector<base::Mount> all;
    for (const Mount& m : mounts) {
      all.push_back({m.type(), m.source(), m.target(), {m.options().begin(), m.options().end()}});
    }
    const std::string at = dir_ + "/mounted";
    ASSERT_TRUE(base::MakeDirs(at).ok());
    absl::Status status = base::MountAll(all, at);
    ASSERT_TRUE(status.ok()) << status;
    use(at);
    ASSERT_TRUE(base::UnmountAll(at).ok());
  }
  std::map<std::string, std::string> TreeOf(const Mounts& mounts) {
    std::map<std::string, std::string> tree;
    Mounted(mounts, [&](const std::string& at) { tree = Tree(at); });
    return tree;
  }

  // What Diff() carries of a tree: containerd leaves out parts of seconds and attributes of users.
  std::map<std::string, std::string> Carried(std::map<std::string, std::string> tree) {
    if (containerd_major() == 0) return tree;
    for (auto& [name, line] : tree) {
      line = std::regex_replace(line, std::regex("( [0-9]{10})\\.[0-9]+| user.test=[a-z]+"), "$1");
    }
    return tree;
  }

  std::unique_ptr<content::Content::Stub> content_;
  std::unique_ptr<diff::Diff::Stub> diff_;
  std::unique_ptr<leases::Leases::Stub> leases_;
  std::unique_ptr<snapshots::Snapshots::Stub> snapshots_;
  std::vector<std::string> keys_;  // of snapshots, in the order of their making
  std::string dir_;
};

std::vector<TarItem> BaseLayer() {
  TarItem attributed = TarFile("attributed", "a");
  attributed.entry.xattrs["user.test"] = "value";
  attributed.entry.uid = 1000;
  attributed.entry.gid = 2000;
  TarItem device = TarNode("device", TarType::kCharDevice);
  device.entry.dev_major = 1;
  device.entry.dev_minor = 3;
  TarItem fine = TarFile("times", "t");
  fine.entry.mtime = {1600000000, 123456789};
  const std::string deep = absl::StrCat("long/", std::string(120, 'd'), "/", std::string(120, 'f'));
  return {TarNode("etc/", TarType::kDirectory),
          TarFile("etc/one", "one"),
          TarFile("etc/two", "two", 0600),
          TarFile("etc/program", "#!", 04755),
          TarNode("etc/link", TarType::kSymlink, "../etc/one"),
          TarNode("hard", TarType::kHardLink, "etc/two"),
          TarNode("pipe", TarType::kFifo),
          attributed,
          device,
          fine,
          TarFile(deep, "deep"),
          TarNode("old/", TarType::kDirectory),
          TarFile("old/gone", "x"),
          TarFile("old/also", "y")};
}

TEST_F(DiffTest, ApplyUnpacksEveryKindOfFile) {
  const std::string plain = PackTar(BaseLayer());
  Mounts mounts = Prepare("one");
  Descriptor applied;
  ASSERT_EQ(Text(Apply(Put(plain, kTar), mounts, &applied)), "OK");
  EXPECT_EQ(applied.digest(), base::DigestOf(plain).str());
  EXPECT_EQ(applied.size(), static_cast<int64_t>(plain.size()));
  EXPECT_EQ(applied.media_type(), kTar);
  std::map<std::string, std::string> tree = TreeOf(mounts);
  EXPECT_EQ(tree.size(), 16u);
  EXPECT_THAT(tree["/etc/program"], StartsWith("89ed 0:0 2 1600000000.0 "));
  EXPECT_EQ(tree["/etc/link"], "a1ff 0:0 -> ../etc/one");
  EXPECT_THAT(tree["/hard"], HasSubstr(" =/etc/two"));
  EXPECT_THAT(tree["/attributed"], AllOf(HasSubstr("1000:2000"), HasSubstr("user.test=value")));
  EXPECT_THAT(tree["/device"], AllOf(StartsWith("2"), HasSubstr(" 1,3")));
  EXPECT_THAT(tree["/times"], HasSubstr(" 1600000000.123456789 "));
}

TEST_F(DiffTest, ApplyTakesAllCompressions) {
  const std::string plain = PackTar(BaseLayer());
  std::map<std::string, std::string> expected;
  for (const auto& [compression, type] :
       {std::pair(Compression::kNone, kTar), std::pair(Compression::kGzip, kGzip),
        std::pair(Compression::kZstd, kZstd)}) {
    SCOPED_TRACE(type);
    Mounts mounts = Prepare(type);
    Descriptor applied;
    ASSERT_EQ(Text(Apply(Put(PackTar(BaseLayer(), compression), type), mounts, &applied)), "OK");
    EXPECT_EQ(applied.digest(), base::DigestOf(plain).str());
    if (expected.empty()) expected = TreeOf(mounts);
    EXPECT_EQ(TreeOf(mounts), expected);
  }
}

TEST_F(DiffTest, ApplyRemovesWhatALayerWhitesOut) {
  ASSERT_EQ(Text(Apply(Put(PackTar(BaseLayer()), kTar), Prepare("one"))), "OK");
  Commit("base", "one");
  Mounts mounts = Prepare("two", "base");
  const std::string second =
      PackTar({TarFile("etc/.wh.one", ""), TarFile("old/.wh..wh..opq", ""), TarFile("old/new", "n"),
               TarFile(".wh.long", ""), TarFile("pipe", "a file now")});
  ASSERT_EQ(Text(Apply(Put(second, kTar), mounts)), "OK");
  std::map<std::string, std::string> tree = TreeOf(mounts);
  std::vector<std::string> names;
  for (const auto& [name, line] : tree) names.push_back(name);
  EXPECT_EQ(
      absl::StrJoin(names, " "),
      "/attributed /device /etc /etc/link /etc/program /etc/two /hard /old /old/new /pipe /times");
  EXPECT_THAT(tree["/pipe"], StartsWith("81a4 "));
}

TEST_F(DiffTest, ApplyRefuses) {
  Descriptor absent;
  absent.set_media_type(kTar);
  absent.set_digest(base::DigestOf(ns()).str());
  absent.set_size(10);
  Mounts mounts = Prepare("one");
  EXPECT_THAT(Text(Apply(absent, mounts)), StartsWith("NOT_FOUND: "));
  // containerd has no code for it.
  EXPECT_THAT(Text(Apply(Put("{}", "application/json"), mounts)),
              StartsWith(containerd_major() > 0 ? "UNKNOWN: " : "UNIMPLEMENTED: "));
  // What is unpacked until the damage is found stays in the snapshot: it is the caller's to remove.
  std::string gzip = PackTar(BaseLayer(), Compression::kGzip);
  EXPECT_NE(Text(Apply(Put(gzip.substr(0, gzip.size() / 2), kGzip), mounts)), "OK");
  EXPECT_NE(Text(Apply(Put(std::string(2000, 'n'), kGzip), mounts)), "OK");
}

// What was changed in a snapshot, as a layer on another snapshot of the same parent, makes the same
// tree.
TEST_F(DiffTest, DiffCarriesEveryChange) {
  ASSERT_EQ(Text(Apply(Put(PackTar(BaseLayer()), kTar), Prepare("one"))), "OK");
  Commit("base", "one");
  Mounts left = View("left", "base");
  Mounts right = Prepare("right", "base");
  Mounted(right, [](const std::string& at) {
    namespace fs = std::filesystem;
    ASSERT_TRUE(base::WriteFile(at + "/added", "new", 0640).ok());
    ASSERT_EQ(mkdir((at + "/dir").c_str(), 0751), 0);
    ASSERT_TRUE(base::WriteFile(at + "/dir/.hidden", "h").ok());
    ASSERT_TRUE(base::ReplaceFile(at + "/etc/one", "changed").ok());
    ASSERT_EQ(chmod((at + "/etc/program").c_str(), 0700), 0);
    ASSERT_EQ(lchown((at + "/etc/link").c_str(), 7, 8), 0);
    ASSERT_EQ(unlink((at + "/pipe").c_str()), 0);
    fs::remove_all(at + "/old");
    ASSERT_EQ(mkdir((at + "/old").c_str(), 0755), 0);  // opaque: nothing below comes through
    ASSERT_TRUE(base::WriteFile(at + "/old/fresh", "f").ok());
    fs::remove_all(at + "/long");
    ASSERT_TRUE(base::WriteFile(at + "/long", "a file now").ok());
    ASSERT_EQ(link((at + "/added").c_str(), (at + "/dir/hard").c_str()), 0);
    ASSERT_EQ(symlink("nowhere", (at + "/dangling").c_str()), 0);
    ASSERT_EQ(mknod((at + "/null").c_str(), S_IFCHR | 0666, makedev(1, 3)), 0);
    ASSERT_EQ(setxattr((at + "/added").c_str(), "user.test", "x", 1, 0), 0);
    timespec times[2] = {{1500000000, 0}, {1500000000, 987654321}};
    ASSERT_EQ(utimensat(AT_FDCWD, (at + "/added").c_str(), times, 0), 0);
  });
  const std::map<std::string, std::string> expected = Carried(TreeOf(right));
  std::vector<const char*> types = {"", kTar, kGzip};
  if (!old_containerd()) types.push_back(kZstd);
  std::string plain_digest;
  for (const char* type : types) {
    SCOPED_TRACE(type);
    Descriptor made;
    ASSERT_EQ(Text(Compare(left, right, type, &made)), "OK");
    EXPECT_EQ(made.media_type(), *type == '\0' ? kGzip : type);
    content::InfoRequest request;
    request.set_digest(made.digest());
    content::InfoResponse info;
    ASSERT_EQ(Text(content_->Info(Call().get(), request, &info)), "OK");
    EXPECT_EQ(info.info().size(), made.size());
    EXPECT_EQ(info.info().labels().at("test/label"), "kept");
    Mounts again = Prepare(absl::StrCat("again", type), "base");
    Descriptor applied;
    ASSERT_EQ(Text(Apply(made, again, &applied)), "OK");
    EXPECT_EQ(Carried(TreeOf(again)), expected);
    if (made.media_type() != kTar) {
      EXPECT_EQ(info.info().labels().at("containerd.io/uncompressed"), applied.digest());
    }
  }
}

TEST_F(DiffTest, DiffOfAWholeTree) {
  Mounts right = Prepare("right");
  ASSERT_EQ(Text(Apply(Put(PackTar(BaseLayer()), kTar), right)), "OK");
  Descriptor made;
  ASSERT_EQ(Text(Compare({}, right, kTar, &made)), "OK");
  Mounts again = Prepare("again");
  ASSERT_EQ(Text(Apply(made, again)), "OK");
  EXPECT_EQ(Carried(TreeOf(again)), Carried(TreeOf(right)));
}

TEST_F(DiffTest, DiffOfNothing) {
  ASSERT_EQ(Text(Apply(Put(PackTar(BaseLayer()), kTar), Prepare("one"))), "OK");
  Commit("base", "one");
  Descriptor made;
  ASSERT_EQ(Text(Compare(View("left", "base"), Prepare("right", "base"), kTar, &made)), "OK");
  const std::string tar = Read(made);
  EXPECT_EQ(tar.find_first_not_of('\0'), std::string::npos) << "an entry in an empty layer";
}

TEST_F(DiffTest, DiffRefuses) {
  Mounts right = Prepare("right");
  Descriptor made;
  EXPECT_THAT(Text(Compare({}, right, "application/json", &made)), StartsWith("UNIMPLEMENTED: "));
}

}  // namespace
}  // namespace gantry::tests
