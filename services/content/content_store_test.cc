#include "services/content/content_store.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <set>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/metadata/context.h"
#include "services/metadata/lease_store.h"
#include "services/metadata/test_db.h"

namespace gantry::services {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

base::Digest Sha512Of(absl::string_view data) {
  base::Hasher hasher(base::Hasher::Algorithm::kSha512);
  hasher.Update(data);
  return hasher.Finish();
}

class ContentStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string path = absl::StrCat(testing::TempDir(), "/content-XXXXXX");
    root_ = mkdtemp(path.data());
    Open();
  }
  void TearDown() override {
    store_.reset();
    EXPECT_TRUE(base::RemoveTree(root_).ok());
  }
  void Open() {
    store_.reset();
    auto store = ContentStore::Open(root_, db_.get());
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }
  std::unique_ptr<ContentWriter> OpenWriter(const std::string& ref,
                                            const base::Digest& expected = {}) {
    auto writer = store_->OpenWriter(ctx_, {ref, 0, expected});
    EXPECT_TRUE(writer.ok()) << writer.status();
    return writer.ok() ? *std::move(writer) : nullptr;
  }
  base::Digest Put(const Context& ctx, absl::string_view data, const Labels& labels = {}) {
    base::Digest digest = base::DigestOf(data);
    absl::Status written =
        store_->WriteBlob(ctx, absl::StrCat("put-", digest.str()), data, digest, labels);
    EXPECT_TRUE(written.ok()) << written;
    return digest;
  }
  std::string Dir() const { return root_ + "/io.containerd.content.v1.content"; }
  std::string Path(const base::Digest& d) const {
    return absl::StrCat(Dir(), "/blobs/", d.algorithm(), "/", d.hex());
  }

  TestDb db_;
  std::string root_;
  std::unique_ptr<ContentStore> store_;
  const Context ctx_{"one", ""};
  const Context other_{"two", ""};
};

TEST_F(ContentStoreTest, CommittedContentCanBeRead) {
  std::string data(3 << 20, 'x');
  auto writer = OpenWriter("up");
  ASSERT_TRUE(writer->Write(absl::string_view(data).substr(0, 1000)).ok());
  EXPECT_EQ(writer->Digest(), base::DigestOf(data.substr(0, 1000)));
  ASSERT_TRUE(writer->Write(absl::string_view(data).substr(1000)).ok());
  auto digest =
      writer->Commit(static_cast<int64_t>(data.size()), base::DigestOf(data), {{"a", "b"}});
  ASSERT_TRUE(digest.ok()) << digest.status();
  EXPECT_EQ(*digest, base::DigestOf(data));
  auto info = store_->GetInfo(ctx_, *digest);
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->size, static_cast<int64_t>(data.size()));
  EXPECT_EQ(info->labels.at("a"), "b");
  EXPECT_EQ(*store_->ReadBlob(ctx_, *digest), data);
  EXPECT_TRUE(absl::IsResourceExhausted(store_->ReadBlob(ctx_, *digest, 10).status()));
  EXPECT_THAT(db_.TakeTopics(), ElementsAre("one /content/create"));
  struct stat st;
  ASSERT_EQ(stat(Path(*digest).c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0444u);
}

TEST_F(ContentStoreTest, NothingIsVisibleBeforeCommit) {
  auto writer = OpenWriter("up");
  ASSERT_TRUE(writer->Write("abc").ok());
  EXPECT_TRUE(absl::IsNotFound(store_->GetInfo(ctx_, base::DigestOf("abc")).status()));
  EXPECT_FALSE(base::Exists(Path(base::DigestOf("abc"))));
  auto status = store_->GetStatus(ctx_, "up");
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_EQ(status->offset, 3);
  EXPECT_TRUE(absl::IsNotFound(store_->GetStatus(other_, "up").status()));
}

TEST_F(ContentStoreTest, UploadsAreResumedAlsoAfterARestart) {
  { ASSERT_TRUE(OpenWriter("up")->Write("first ").ok()); }
  Open();
  auto writer = OpenWriter("up");
  EXPECT_EQ(writer->offset(), 6);
  ASSERT_TRUE(writer->Write("second").ok());
  auto digest = writer->Commit(12, base::DigestOf("first second"), {});
  EXPECT_TRUE(digest.ok()) << digest.status();
  EXPECT_TRUE(absl::IsNotFound(store_->GetStatus(ctx_, "up").status()));
}

TEST_F(ContentStoreTest, RefsAreLockedPerNamespace) {
  auto writer = OpenWriter("up");
  auto second = store_->OpenWriter(ctx_, {"up", 0, {}});
  EXPECT_TRUE(absl::IsUnavailable(second.status()));
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("ref up locked"));
  EXPECT_TRUE(store_->OpenWriter(other_, {"up", 0, {}}).ok());
  writer.reset();
  EXPECT_TRUE(store_->OpenWriter(ctx_, {"up", 0, {}}).ok());
}

TEST_F(ContentStoreTest, MismatchesAreRefusedAndTheUploadStays) {
  auto writer = OpenWriter("up");
  ASSERT_TRUE(writer->Write("abc").ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(writer->Commit(4, {}, {}).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(writer->Commit(3, base::DigestOf("other"), {}).status()));
  EXPECT_TRUE(absl::IsNotFound(store_->GetInfo(ctx_, base::DigestOf("abc")).status()));
  EXPECT_TRUE(writer->Commit(3, base::DigestOf("abc"), {}).ok());
}

TEST_F(ContentStoreTest, DamagedResumedUploadBeginsAgain) {
  { ASSERT_TRUE(OpenWriter("up")->Write("damaged").ok()); }
  base::Digest want = base::DigestOf("content");
  auto writer = OpenWriter("up");
  EXPECT_TRUE(absl::IsFailedPrecondition(writer->Commit(7, want, {}).status()));
  EXPECT_EQ(writer->offset(), 0);
  ASSERT_TRUE(writer->Write("content").ok());
  EXPECT_TRUE(writer->Commit(7, want, {}).ok());
}

TEST_F(ContentStoreTest, Sha512IsKnownAtOpenOrAtCommit) {
  base::Digest want = Sha512Of("abc");
  auto writer = OpenWriter("up", want);
  ASSERT_TRUE(writer->Write("abc").ok());
  EXPECT_EQ(writer->Digest(), want);
  EXPECT_TRUE(writer->Commit(3, want, {}).ok());
  auto late = OpenWriter("late");
  ASSERT_TRUE(late->Write("xyz").ok());
  EXPECT_TRUE(late->Commit(3, Sha512Of("xyz"), {}).ok());
  EXPECT_EQ(*store_->ReadBlob(ctx_, Sha512Of("xyz")), "xyz");
}

TEST_F(ContentStoreTest, CommitOfWhatExistsSaysSo) {
  base::Digest digest = Put(ctx_, "abc", {{"k", "v"}});
  EXPECT_TRUE(absl::IsAlreadyExists(store_->OpenWriter(ctx_, {"up", 0, digest}).status()));
  auto writer = OpenWriter("up");
  ASSERT_TRUE(writer->Write("abc").ok());
  EXPECT_TRUE(absl::IsAlreadyExists(writer->Commit(3, digest, {{"k", "w"}}).status()));
  EXPECT_EQ(store_->GetInfo(ctx_, digest)->labels.at("k"), "v");
  EXPECT_TRUE(absl::IsNotFound(store_->GetStatus(ctx_, "up").status()));
}

TEST_F(ContentStoreTest, OtherNamespacesShareTheFile) {
  base::Digest digest = Put(ctx_, "shared");
  EXPECT_TRUE(absl::IsNotFound(store_->GetInfo(other_, digest).status()));
  EXPECT_TRUE(absl::IsNotFound(store_->OpenReader(other_, digest).status()));
  {
    auto writer = store_->OpenWriter(other_, {"up", 6, digest});
    ASSERT_TRUE(writer.ok());
    EXPECT_EQ((*writer)->offset(), 6);
    EXPECT_EQ((*writer)->Digest(), digest);
    ASSERT_TRUE((*writer)->Commit(6, digest, {}).ok());
  }
  ASSERT_TRUE(store_->Delete(ctx_, digest).ok());
  EXPECT_EQ(*store_->ReadBlob(other_, digest), "shared");
  ASSERT_TRUE(store_->Delete(other_, digest).ok());
  store_->WaitForTrash();
  EXPECT_FALSE(base::Exists(Path(digest)));
}

TEST_F(ContentStoreTest, SharedWriterKeepsTheFileWhileItIsOpen) {
  base::Digest digest = Put(ctx_, "shared");
  auto writer = store_->OpenWriter(other_, {"up", 0, digest});
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE(store_->Delete(ctx_, digest).ok());
  EXPECT_TRUE((*writer)->Commit(0, digest, {}).ok());
  EXPECT_EQ(*store_->ReadBlob(other_, digest), "shared");
  // And one that gives up leaves nothing behind.
  writer = store_->OpenWriter(ctx_, {"up", 0, digest});
  ASSERT_TRUE(store_->Delete(other_, digest).ok());
  EXPECT_TRUE(base::Exists(Path(digest)));
  writer->reset();
  EXPECT_FALSE(base::Exists(Path(digest)));
}

TEST_F(ContentStoreTest, SharedWriterCanBeWrittenTo) {
  base::Digest digest = Put(ctx_, "shared");
  auto writer = store_->OpenWriter(other_, {"up", 0, digest});
  ASSERT_TRUE((*writer)->Write(" and more").ok());
  EXPECT_TRUE((*writer)->Commit(15, base::DigestOf("shared and more"), {}).ok());
  writer = store_->OpenWriter(other_, {"up", 0, digest});
  ASSERT_TRUE((*writer)->Truncate(0).ok());
  ASSERT_TRUE((*writer)->Write("new").ok());
  EXPECT_TRUE((*writer)->Commit(3, base::DigestOf("new"), {}).ok());
}

TEST_F(ContentStoreTest, LabelsAreUpdatedByPath) {
  base::Digest digest = Put(ctx_, "abc", {{"a", "1"}, {"b", "2"}});
  ContentInfo info;
  info.digest = digest;
  info.labels = {{"a", ""}, {"c", "3"}, {"ignored", "x"}};
  auto updated = store_->UpdateInfo(ctx_, info, {"labels.a", "labels.c"});
  ASSERT_TRUE(updated.ok()) << updated.status();
  EXPECT_EQ(updated->labels, (Labels{{"b", "2"}, {"c", "3"}}));
  EXPECT_GT(updated->updated_at, updated->created_at);
  info.labels = {{"only", "this"}};
  EXPECT_EQ(store_->UpdateInfo(ctx_, info, {})->labels, info.labels);
  EXPECT_TRUE(absl::IsInvalidArgument(store_->UpdateInfo(ctx_, info, {"size"}).status()));
  info.labels = {{"big", std::string(5000, 'v')}};
  EXPECT_TRUE(absl::IsInvalidArgument(store_->UpdateInfo(ctx_, info, {"labels"}).status()));
  info.digest = base::DigestOf("none");
  EXPECT_TRUE(absl::IsNotFound(store_->UpdateInfo(ctx_, info, {}).status()));
}

TEST_F(ContentStoreTest, WalkFilters) {
  base::Digest a = Put(ctx_, "a", {{"kind", "x"}});
  Put(ctx_, "b", {{"kind", "y"}});
  Put(other_, "c", {{"kind", "x"}});
  auto walk = [this](std::vector<std::string> filters) {
    std::set<std::string> found;
    EXPECT_TRUE(store_
                    ->Walk(ctx_, filters,
                           [&](const ContentInfo& info) {
                             found.insert(info.digest.str());
                             return absl::OkStatus();
                           })
                    .ok());
    return found;
  };
  EXPECT_EQ(walk({}).size(), 2u);
  EXPECT_THAT(walk({"labels.kind==x"}), ElementsAre(a.str()));
  EXPECT_THAT(walk({absl::StrCat("digest==", a.str())}), ElementsAre(a.str()));
  EXPECT_EQ(walk({"labels.kind==x", "labels.kind==y"}).size(), 2u);
  EXPECT_TRUE(absl::IsInvalidArgument(
      store_->Walk(ctx_, {"==="}, [](const ContentInfo&) { return absl::OkStatus(); })));
}

TEST_F(ContentStoreTest, AbortRemovesUploads) {
  { ASSERT_TRUE(OpenWriter("up")->Write("abc").ok()); }
  { ASSERT_TRUE(OpenWriter("up2")->Write("abcd").ok()); }
  EXPECT_EQ(store_->ListStatuses(ctx_, {})->size(), 2u);
  EXPECT_EQ(store_->ListStatuses(ctx_, {"ref==up2"})->at(0).offset, 4);
  ASSERT_TRUE(store_->Abort(ctx_, "up").ok());
  EXPECT_TRUE(absl::IsNotFound(store_->Abort(ctx_, "up")));
  EXPECT_EQ(store_->ListStatuses(ctx_, {})->size(), 1u);
  EXPECT_EQ(OpenWriter("up")->offset(), 0);
}

TEST_F(ContentStoreTest, RestartPutsAwayStrays) {
  base::Digest kept = Put(ctx_, "kept");
  base::Digest stray = base::DigestOf("stray");
  ASSERT_TRUE(base::WriteFile(Path(stray), "stray").ok());
  ASSERT_TRUE(base::MakeDirs(Dir() + "/ingest/0123").ok());
  ASSERT_TRUE(base::MakeDirs(Dir() + "/trash/left/over").ok());
  { ASSERT_TRUE(OpenWriter("up")->Write("abc").ok()); }
  Open();
  store_->WaitForTrash();
  EXPECT_FALSE(base::Exists(Path(stray)));
  EXPECT_FALSE(base::Exists(Dir() + "/ingest/0123"));
  EXPECT_FALSE(base::Exists(Dir() + "/trash/left"));
  EXPECT_EQ(*store_->ReadBlob(ctx_, kept), "kept");
  EXPECT_EQ(store_->GetStatus(ctx_, "up")->offset, 3);
}

TEST_F(ContentStoreTest, LeasesListWhatIsWritten) {
  LeaseStore leases(db_.get());
  ASSERT_TRUE(leases.Create(ctx_, "l", {}).ok());
  Context leased{"one", "l"};
  base::Digest digest = Put(leased, "abc");
  auto resources = leases.ListResources(ctx_, "l");
  ASSERT_TRUE(resources.ok());
  ASSERT_EQ(resources->size(), 1u);
  EXPECT_EQ(resources->at(0).type(), "content");
  EXPECT_EQ(resources->at(0).id(), digest.str());
  // What is there already is leased too.
  base::Digest old = Put(ctx_, "old");
  EXPECT_TRUE(absl::IsAlreadyExists(store_->OpenWriter(leased, {"up", 0, old}).status()));
  EXPECT_EQ(leases.ListResources(ctx_, "l")->size(), 2u);
  auto writer = store_->OpenWriter(leased, {"up", 0, {}});
  ASSERT_TRUE(writer.ok());
  EXPECT_EQ(leases.ListResources(ctx_, "l")->size(), 3u);
  EXPECT_TRUE(absl::IsNotFound(store_->OpenWriter({"one", "none"}, {"up2", 0, {}}).status()));
}

TEST_F(ContentStoreTest, AsksForNamespaceAndRef) {
  Context none;
  EXPECT_TRUE(absl::IsFailedPrecondition(store_->GetInfo(none, base::DigestOf("a")).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(store_->OpenWriter(ctx_, {"", 0, {}}).status()));
  EXPECT_TRUE(
      absl::IsInvalidArgument(store_->OpenWriter(ctx_, {std::string("a\0b", 3), 0, {}}).status()));
}

TEST_F(ContentStoreTest, AdoptedDigestsAreNotHashedAgain) {
  auto writer = OpenWriter("up");
  ASSERT_TRUE(writer->SkipHashing().ok());
  ASSERT_TRUE(writer->Write("abc").ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(writer->SkipHashing()));
  EXPECT_TRUE(absl::IsFailedPrecondition(writer->Commit(3, {}, {}).status()));
  writer->AdoptDigest(base::DigestOf("abc"));
  EXPECT_TRUE(absl::IsFailedPrecondition(writer->Commit(3, base::DigestOf("abd"), {}).status()));
  EXPECT_TRUE(writer->Commit(3, base::DigestOf("abc"), {}).ok());
}

TEST_F(ContentStoreTest, FullDiskLeavesTheUploadConsistent) {
  auto writer = OpenWriter("up");
  ASSERT_TRUE(writer->Write("abc").ok());
  // A limit on the size of files stands in for a full disk: the write is cut in the middle.
  struct rlimit old;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  signal(SIGXFSZ, SIG_IGN);
  struct rlimit low = {10, old.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &low), 0);
  absl::Status failed = writer->Write(std::string(100, 'x'));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
  EXPECT_FALSE(failed.ok());
  EXPECT_EQ(writer->offset(), 3);
  writer.reset();
  writer = OpenWriter("up");
  EXPECT_EQ(writer->offset(), 3);
  EXPECT_TRUE(writer->Commit(3, base::DigestOf("abc"), {}).ok());
}

TEST_F(ContentStoreTest, CollectsWithTheGarbageCollectorsRules) {
  class Recorder : public GcVisitor {
   public:
    void Exists(const GcNode& n) override { seen.push_back("exists " + n.key); }
    void Root(const GcNode& n, GcReach) override { seen.push_back("root " + n.key); }
    void Edge(const GcNode& a, const GcNode& b) override { seen.push_back(a.key + " -> " + b.key); }
    void ParentEdge(const GcNode&, const GcNode&) override {}
    void EdgeIfUsed(const GcNode&, const GcNode&, GcUse) override {}
    void UsedAt(const GcNode&, absl::Time) override {}
    absl::Time now() const override { return absl::Now(); }
    std::vector<std::string> seen;
  } recorder;
  base::Digest target = Put(ctx_, "target");
  base::Digest root =
      Put(ctx_, "root",
          {{"containerd.io/gc.root", "x"}, {"containerd.io/gc.ref.content.0", target.str()}});
  GcParticipant* gc = store_->gc_participant();
  ASSERT_TRUE(db_->View([&](const ReadView& view) {
                   return view.Scan(
                       std::string("blob\0", 5), [&](absl::string_view rest, absl::string_view v) {
                         size_t nul = rest.find('\0');
                         GcRecord record{"blob", {rest.substr(0, nul), rest.substr(nul + 1)}, v};
                         EXPECT_TRUE(gc->GcVisit(record, &recorder).ok());
                         return true;
                       });
                 })
                  .ok());
  EXPECT_THAT(recorder.seen, testing::UnorderedElementsAre(
                                 "exists " + target.str(), "exists " + root.str(),
                                 "root " + root.str(), root.str() + " -> " + target.str()));
  db_.TakeTopics();
  std::vector<GcNode> nodes = {{GcNode::Type::kContent, "one", target.str()}};
  ASSERT_TRUE(db_->Update(Durability::kNone, [&](Tx& tx) { return gc->GcRemove(tx, nodes); }).ok());
  gc->GcReclaim(nodes);
  EXPECT_FALSE(base::Exists(Path(target)));
  EXPECT_TRUE(absl::IsNotFound(store_->GetInfo(ctx_, target).status()));
  EXPECT_THAT(db_.TakeTopics(), ElementsAre("one /content/delete"));
}

}  // namespace
}  // namespace gantry::services
