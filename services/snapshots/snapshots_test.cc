#include "services/snapshots/snapshots.h"

#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/ids.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/metadata/keys.h"
#include "services/metadata/lease_store.h"
#include "services/metadata/test_db.h"
#include "snapshotter/registry.h"

namespace gantry::services {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

constexpr char kOverlay[] = "overlayfs";
const std::string kChain1 = "sha256:" + std::string(64, '1');
const std::string kChain2 = "sha256:" + std::string(64, '2');

class SnapshotsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    root_ = absl::StrCat("/tmp/gantry-snapshots-", getpid(), "-", base::RandomHex(4));
    Open();
  }
  void TearDown() override {
    snapshots_.reset();
    EXPECT_TRUE(base::RemoveTree(root_).ok());
  }

  void Open() {
    std::map<std::string, std::unique_ptr<Backend>> backends;
    for (const char* name : {kOverlay, "native"}) {
      auto driver = snapshotter::OpenDriver(name, {absl::StrCat(root_, "/", name)});
      ASSERT_TRUE(driver.ok()) << driver.status();
      backends.emplace(name, MakeLocalBackend(*std::move(driver)));
    }
    auto opened = Snapshots::Open(db_.get(), std::move(backends));
    ASSERT_TRUE(opened.ok()) << opened.status();
    snapshots_ = *std::move(opened);
  }
  // As after a kill: nothing is told to anybody.
  void Restart() {
    snapshots_.reset();
    db_.Reopen();
    Open();
  }

  absl::Status Prepare(const Context& ctx, const std::string& key, const std::string& parent = "",
                       const SnapshotLabels& labels = {}) {
    return snapshots_->Prepare(ctx, kOverlay, key, parent, labels).status();
  }
  absl::Status Commit(const Context& ctx, const std::string& name, const std::string& key) {
    return snapshots_->Commit(ctx, kOverlay, name, key, {});
  }
  void Layer(const Context& ctx, const std::string& name, const std::string& parent = "") {
    ASSERT_TRUE(Prepare(ctx, "making", parent).ok());
    ASSERT_TRUE(Commit(ctx, name, "making").ok());
  }
  absl::Status Unpack(const Context& ctx, const std::string& chain, const std::string& parent) {
    return Prepare(ctx, "unpack", parent, {{"containerd.io/snapshot.ref", chain}});
  }
  std::vector<std::string> Directories(const char* name = kOverlay) {
    return *base::ListDir(absl::StrCat(root_, "/", name, "/snapshots"));
  }
  std::vector<std::string> Names(const Context& ctx) {
    std::vector<std::string> names;
    EXPECT_TRUE(snapshots_
                    ->Walk(ctx, kOverlay, {},
                           [&names](const SnapshotInfo& info) {
                             names.push_back(info.name);
                             return true;
                           })
                    .ok());
    return names;
  }
  SnapshotRecord Record(const std::string& ns, const std::string& key) {
    SnapshotRecord record;
    EXPECT_TRUE(db_->View([&](const ReadView& view) -> absl::Status {
                     GANTRY_ASSIGN_OR_RETURN(record, GetSnapshotRecord(view, {ns, kOverlay, key}));
                     return absl::OkStatus();
                   })
                    .ok());
    return record;
  }
  void SetBoot(const std::string& ns, const std::string& key, const std::string& boot) {
    ASSERT_TRUE(db_->Update(Durability::kNone,
                            [&](Tx& tx) -> absl::Status {
                              const SnapshotKey which{ns, kOverlay, key};
                              GANTRY_ASSIGN_OR_RETURN(SnapshotRecord record,
                                                      GetSnapshotRecord(tx, which));
                              record.set_unsynced_boot(boot);
                              PutSnapshotRecord(tx, which, record);
                              return absl::OkStatus();
                            })
                    .ok());
  }
  size_t RowsWithPrefix(const std::string& table) {
    size_t rows = 0;
    EXPECT_TRUE(db_->View([&](const ReadView& view) {
                     return view.Scan(KeyPrefix({table}),
                                      [&rows](absl::string_view, absl::string_view) {
                                        ++rows;
                                        return true;
                                      });
                   })
                    .ok());
    return rows;
  }

  const Context a_{"alpha", ""};
  const Context b_{"beta", ""};
  TestDb db_;
  std::string root_;
  std::unique_ptr<Snapshots> snapshots_;
};

TEST_F(SnapshotsTest, ErrorsHaveContainerdsTexts) {
  Layer(a_, "base");
  ASSERT_TRUE(Prepare(a_, "child", "base").ok());
  struct Case {
    absl::Status got;
    absl::StatusCode code;
    const char* text;
  };
  const Case cases[] = {
      {snapshots_->Stat({}, kOverlay, "x").status(), absl::StatusCode::kFailedPrecondition,
       "namespace is required"},
      {snapshots_->Stat(a_, "", "x").status(), absl::StatusCode::kInvalidArgument,
       "snapshotter argument missing"},
      {snapshots_->Stat(a_, "zfs", "x").status(), absl::StatusCode::kInvalidArgument,
       "snapshotter not loaded: zfs"},
      {snapshots_->Stat(a_, kOverlay, "x").status(), absl::StatusCode::kNotFound,
       "snapshot x does not exist: not found"},
      {snapshots_->Stat(a_, kOverlay, std::string("base\0x", 6)).status(),
       absl::StatusCode::kNotFound, "does not exist: not found"},
      {Prepare(a_, "x", "y"), absl::StatusCode::kNotFound,
       "parent snapshot y does not exist: not found"},
      {Prepare(a_, "base"), absl::StatusCode::kAlreadyExists, "snapshot \"base\": already exists"},
      {Prepare(a_, "x", "child"), absl::StatusCode::kInvalidArgument,
       "parent \"child\" is not committed snapshot: invalid argument"},
      {Prepare(a_, "x", "", {{"containerd.io/snapshot.ref", "base"}}),
       absl::StatusCode::kAlreadyExists, "target snapshot \"base\": already exists"},
      {Prepare(a_, "x", "", {{"key", std::string(4096, 'v')}}), absl::StatusCode::kInvalidArgument,
       "label key and value length (4099 bytes)"},
      {Prepare(a_, ""), absl::StatusCode::kInvalidArgument, "must not be empty"},
      {Prepare(a_, std::string("a\0b", 3)), absl::StatusCode::kInvalidArgument, "zero byte"},
      {snapshots_->Remove(a_, kOverlay, "base"), absl::StatusCode::kFailedPrecondition,
       "cannot remove snapshot with child: failed precondition"},
      {snapshots_->Mounts(a_, kOverlay, "base").status(), absl::StatusCode::kFailedPrecondition,
       "requested snapshot base not active or view"},
      {Commit(a_, "x", "base"), absl::StatusCode::kFailedPrecondition,
       "snapshot \"base\" is not active"},
      {snapshots_->Update(a_, kOverlay, {"base"}, {"kind"}).status(),
       absl::StatusCode::kInvalidArgument, "cannot update \"kind\" field on snapshot \"base\""},
      {snapshots_->Walk(a_, kOverlay, {"name=="}, [](const SnapshotInfo&) { return true; }),
       absl::StatusCode::kInvalidArgument, "filter"},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(c.got.code(), c.code) << c.got;
    EXPECT_THAT(std::string(c.got.message()), HasSubstr(c.text));
  }
  EXPECT_THAT(Directories(), SizeIs(2));  // nothing of the failures stays
}

TEST_F(SnapshotsTest, NamespacesDoNotSeeEachOther) {
  Layer(a_, "base");
  EXPECT_TRUE(absl::IsNotFound(snapshots_->Stat(b_, kOverlay, "base").status()));
  EXPECT_TRUE(absl::IsNotFound(Prepare(b_, "x", "base")));
  EXPECT_TRUE(absl::IsNotFound(snapshots_->Stat(a_, "native", "base").status()));
  Layer(b_, "base");
  EXPECT_TRUE(snapshots_->Remove(b_, kOverlay, "base").ok());
  EXPECT_TRUE(snapshots_->Stat(a_, kOverlay, "base").ok());
}

TEST_F(SnapshotsTest, PublishesEvents) {
  Layer(a_, "base");
  ASSERT_TRUE(snapshots_->View(a_, kOverlay, "v", "base", {}).ok());
  ASSERT_TRUE(snapshots_->Remove(a_, kOverlay, "v").ok());
  EXPECT_THAT(db_.TakeTopics(), ElementsAre("alpha /snapshot/prepare", "alpha /snapshot/commit",
                                            "alpha /snapshot/remove"));
}

TEST_F(SnapshotsTest, LayersAreSharedBetweenNamespaces) {
  Layer(a_, kChain1);
  Layer(a_, kChain2, kChain1);
  // Each namespace asks as an unpacker does; nothing has to be unpacked again.
  EXPECT_TRUE(absl::IsAlreadyExists(Unpack(b_, kChain1, "")));
  EXPECT_TRUE(absl::IsAlreadyExists(Unpack(b_, kChain2, kChain1)));
  EXPECT_THAT(Names(b_), ElementsAre(kChain1, kChain2));
  EXPECT_THAT(Directories(), SizeIs(2));
  EXPECT_EQ(Record("beta", kChain2).backend_id(), Record("alpha", kChain2).backend_id());
  EXPECT_TRUE(*snapshots_->Usage(b_, kOverlay, kChain2) ==
              *snapshots_->Usage(a_, kOverlay, kChain2));
  // The files go with the last that uses them, whoever that is.
  ASSERT_TRUE(Prepare(b_, "container", kChain2).ok());
  EXPECT_TRUE(snapshots_->Remove(a_, kOverlay, kChain2).ok());
  EXPECT_TRUE(snapshots_->Remove(a_, kOverlay, kChain1).ok());
  EXPECT_THAT(Directories(), SizeIs(3));
  EXPECT_TRUE(snapshots_->Remove(b_, kOverlay, "container").ok());
  EXPECT_TRUE(snapshots_->Remove(b_, kOverlay, kChain2).ok());
  EXPECT_THAT(Directories(), SizeIs(1));
  EXPECT_TRUE(snapshots_->Remove(b_, kOverlay, kChain1).ok());
  EXPECT_THAT(Directories(), IsEmpty());
  for (const char* table : {"snp", "snpkid", "snpref", "snpshr", "snpdel"})
    EXPECT_EQ(RowsWithPrefix(table), 0u) << table;
}

TEST_F(SnapshotsTest, OnlyChainIdsOnTheSameLayersAreShared) {
  Layer(a_, kChain1);
  Layer(a_, "named");
  Layer(b_, "other");
  EXPECT_TRUE(Unpack(b_, "named", "").ok());
  ASSERT_TRUE(snapshots_->Remove(b_, kOverlay, "unpack").ok());
  EXPECT_TRUE(Unpack(b_, kChain1, "other").ok());  // not on the same parent
  EXPECT_TRUE(absl::IsNotFound(snapshots_->Stat(b_, kOverlay, kChain1).status()));
}

TEST_F(SnapshotsTest, LayersMayBeChainedAtCommit) {
  Layer(a_, kChain1);
  ASSERT_TRUE(Prepare(a_, "later").ok());
  ASSERT_TRUE(Prepare(a_, "upper", kChain1).ok());
  auto dir = snapshots_->LayerDir(a_, kOverlay, "later");
  ASSERT_TRUE(dir.ok()) << dir.status();
  ASSERT_TRUE(base::WriteFile(*dir + "/file", "x").ok());
  CommitOptions on{{}, SnapshotUsage{4096, 2}, kChain1};
  EXPECT_TRUE(absl::IsFailedPrecondition(
      snapshots_->Commit(a_, kOverlay, "x", "upper", {{}, {}, "later"})));
  ASSERT_TRUE(snapshots_->Commit(a_, kOverlay, kChain2, "later", on).ok());
  EXPECT_EQ(snapshots_->Stat(a_, kOverlay, kChain2)->parent, kChain1);
  EXPECT_TRUE((*snapshots_->Usage(a_, kOverlay, kChain2) == SnapshotUsage{4096, 2}));
  EXPECT_TRUE(absl::IsFailedPrecondition(snapshots_->Remove(a_, kOverlay, kChain1)));
  auto mounts = snapshots_->Prepare(a_, kOverlay, "c", kChain2, {});
  ASSERT_TRUE(mounts.ok());
  EXPECT_THAT((*mounts)[0].options.back(), HasSubstr("/1/fs"));
  ASSERT_TRUE(snapshots_->Prepare(a_, "native", "n", "", {}).ok());
  EXPECT_TRUE(absl::IsUnimplemented(snapshots_->Commit(a_, "native", "m", "n", on)));
}

TEST_F(SnapshotsTest, ARestartRemovesWhatHasNoOwner) {
  Layer(a_, "base");
  ASSERT_TRUE(Prepare(a_, "kept", "base").ok());
  ASSERT_TRUE(Prepare(a_, "lost", "base").ok());
  std::string lost = Record("alpha", "lost").backend_id();
  ASSERT_TRUE(base::RemoveTree(absl::StrCat(root_, "/overlayfs/snapshots/", lost)).ok());
  ASSERT_TRUE(base::MakeDirs(root_ + "/overlayfs/snapshots/77/fs").ok());
  Restart();
  EXPECT_THAT(Names(a_), ElementsAre("base", "kept"));
  EXPECT_THAT(Directories(), SizeIs(2));
  ASSERT_TRUE(Prepare(a_, "next", "base").ok());
  EXPECT_EQ(Record("alpha", "next").backend_id(), "78");  // no id is used twice
}

TEST_F(SnapshotsTest, ARestartDropsLayersThatLostTheirFiles) {
  Layer(a_, "one");
  Layer(a_, "two", "one");
  ASSERT_TRUE(Prepare(a_, "container", "two").ok());
  Layer(a_, "elsewhere");
  std::string id = Record("alpha", "one").backend_id();
  ASSERT_TRUE(base::RemoveTree(absl::StrCat(root_, "/overlayfs/snapshots/", id)).ok());
  Restart();
  EXPECT_THAT(Names(a_), ElementsAre("elsewhere"));
  EXPECT_THAT(Directories(), SizeIs(1));
}

TEST_F(SnapshotsTest, APowerLossDropsOnlyWhatWasNotFlushed) {
  Layer(a_, kChain1);
  ASSERT_TRUE(snapshots_->SyncCommitted().ok());
  EXPECT_EQ(Record("alpha", kChain1).unsynced_boot(), "");
  Layer(a_, kChain2, kChain1);
  EXPECT_NE(Record("alpha", kChain2).unsynced_boot(), "");
  Restart();  // the same boot: the page cache has it all
  EXPECT_THAT(Names(a_), ElementsAre(kChain1, kChain2));
  SetBoot("alpha", kChain2, "another-boot");
  Restart();
  EXPECT_THAT(Names(a_), ElementsAre(kChain1));
}

TEST_F(SnapshotsTest, LeasesOwnWhatIsMadeUnderThem) {
  LeaseStore leases(db_.get());
  ASSERT_TRUE(leases.Create(a_, "l", {}).ok());
  Context leased{"alpha", "l"};
  auto resources = [&] {
    std::vector<std::string> out;
    auto listed = leases.ListResources(a_, "l");
    EXPECT_TRUE(listed.ok()) << listed.status();
    if (listed.ok()) {
      for (const auto& resource : *listed)
        out.push_back(absl::StrCat(resource.type(), " ", resource.id()));
    }
    return out;
  };
  ASSERT_TRUE(Prepare(leased, "work").ok());
  EXPECT_THAT(resources(), ElementsAre("snapshots/overlayfs work"));
  ASSERT_TRUE(Commit(leased, "layer", "work").ok());
  EXPECT_THAT(resources(), ElementsAre("snapshots/overlayfs layer"));
  EXPECT_TRUE(absl::IsNotFound(Prepare({"alpha", "gone"}, "x")));
  EXPECT_THAT(Directories(), SizeIs(1));
}

class Recorder : public GcVisitor {
 public:
  std::vector<std::string> said;
  void Exists(const GcNode& node) override { said.push_back("exists " + node.key); }
  void Root(const GcNode& node, GcReach) override { said.push_back("root " + node.key); }
  void Edge(const GcNode& from, const GcNode& to) override {
    said.push_back(absl::StrCat("edge ", from.key, " ", to.key));
  }
  void ParentEdge(const GcNode& from, const GcNode& to) override {
    said.push_back(absl::StrCat("parent ", from.key, " ", to.key));
  }
  void EdgeIfUsed(const GcNode&, const GcNode&, GcUse) override {}
  void UsedAt(const GcNode& node, absl::Time) override { said.push_back("used " + node.key); }
  absl::Time now() const override { return absl::Now(); }
};

TEST_F(SnapshotsTest, TakesPartInGarbageCollection) {
  Layer(a_, "one");
  ASSERT_TRUE(Prepare(a_, "two", "one", {{"containerd.io/gc.root", "x"}}).ok());
  SnapshotRecord record = Record("alpha", "two");
  std::string value = record.SerializeAsString();
  Recorder visitor;
  ASSERT_TRUE(snapshots_->GcVisit({"snp", {"alpha", kOverlay, "two"}, value}, &visitor).ok());
  EXPECT_THAT(visitor.said, UnorderedElementsAre("exists overlayfs/two", "root overlayfs/two",
                                                 "parent overlayfs/two overlayfs/one"));
  EXPECT_FALSE(snapshots_->GcVisit({"snp", {"alpha"}, "junk"}, &visitor).ok());

  std::vector<GcNode> nodes = {GcSnapshotNode("alpha", kOverlay, "one"),
                               GcSnapshotNode("alpha", kOverlay, "two"),
                               GcSnapshotNode("alpha", kOverlay, "no/such")};
  db_.TakeTopics();
  ASSERT_TRUE(
      db_->Update(Durability::kNone, [&](Tx& tx) { return snapshots_->GcRemove(tx, nodes); }).ok());
  EXPECT_THAT(Names(a_), IsEmpty());
  EXPECT_THAT(Directories(), SizeIs(2));
  snapshots_->GcReclaim(nodes);
  EXPECT_THAT(Directories(), IsEmpty());
  EXPECT_EQ(RowsWithPrefix("snpdel"), 0u);
  EXPECT_THAT(db_.TakeTopics(), SizeIs(2));
}

TEST_F(SnapshotsTest, UnfinishedCollectionsAreFinishedAtStart) {
  Layer(a_, "one");
  ASSERT_TRUE(db_->Update(Durability::kNone,
                          [&](Tx& tx) {
                            return snapshots_->GcRemove(tx,
                                                        {GcSnapshotNode("alpha", kOverlay, "one")});
                          })
                  .ok());
  Restart();
  EXPECT_THAT(Directories(), IsEmpty());
  EXPECT_EQ(RowsWithPrefix("snpdel"), 0u);
}

TEST_F(SnapshotsTest, RequestsAreCheap) {
  Layer(a_, "base");
  ASSERT_TRUE(Prepare(a_, "c", "base").ok());
  constexpr int kCalls = 2000;
  absl::Time begin = absl::Now();
  for (int i = 0; i < kCalls; ++i) ASSERT_TRUE(snapshots_->Mounts(a_, kOverlay, "c").ok());
  double each = absl::ToDoubleMicroseconds(absl::Now() - begin) / kCalls;
  RecordProperty("mounts_us", absl::StrCat(each));
  EXPECT_LT(each, 1000);  // far from the usual few; a lock or a walk would show
}

}  // namespace
}  // namespace gantry::services
