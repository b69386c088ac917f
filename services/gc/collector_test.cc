#include "services/gc/collector.h"

#include <set>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/clock.h"
#include "containerd/services/snapshots/v1/snapshots.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/metadata/container_store.h"
#include "services/metadata/image_store.h"
#include "services/metadata/keys.h"
#include "services/metadata/lease_store.h"
#include "services/metadata/sandbox_store.h"
#include "services/metadata/test_db.h"

namespace gantry::services {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

using Record = containerd::services::snapshots::v1::Info;  // labels and a parent are all it needs

// Content and snapshots without anything on disk.
class FakeStorage : public GcParticipant {
 public:
  std::vector<std::string> GcTables() const override { return {"blob", "snp", "ing"}; }
  absl::Status GcVisit(const GcRecord& record, GcVisitor* visitor) const override {
    Record info;
    if (!info.ParseFromArray(record.value.data(), static_cast<int>(record.value.size()))) {
      return absl::DataLossError("bad record");
    }
    const std::string ns(record.key[0]);
    GcNode node{GcNode::Type::kContent, ns, std::string(record.key[1])};
    if (record.table == "ing") node.type = GcNode::Type::kIngest;
    if (record.table == "snp") node = GcSnapshotNode(ns, record.key[1], record.key[2]);
    visitor->Exists(node);
    if (GcIsRoot(info.labels(), visitor->now())) visitor->Root(node);
    if (!info.parent().empty()) {
      visitor->ParentEdge(node, GcSnapshotNode(ns, record.key[1], info.parent()));
    }
    GcVisitLabels(node, info.labels(), visitor);
    return absl::OkStatus();
  }
  absl::Status GcRemove(Tx& tx, const std::vector<GcNode>& nodes) override {
    for (const GcNode& node : nodes) {
      if (node.type == GcNode::Type::kSnapshot) {
        std::vector<std::string> parts = absl::StrSplit(node.key, absl::MaxSplits('/', 1));
        tx.Delete(Key({"snp", node.ns, parts[0], parts[1]}));
      } else {
        tx.Delete(Key({node.type == GcNode::Type::kIngest ? "ing" : "blob", node.ns, node.key}));
      }
    }
    return absl::OkStatus();
  }
  void GcReclaim(const std::vector<GcNode>& nodes) override {
    for (const GcNode& node : nodes) reclaimed.insert(node.key);
  }
  std::set<std::string> reclaimed;
};

using Labels = std::vector<std::pair<std::string, std::string>>;

class CollectorTest : public ::testing::Test {
 protected:
  CollectorTest() {
    for (GcParticipant* p : std::initializer_list<GcParticipant*>{&images_, &containers_, &leases_,
                                                                  &sandboxes_, &storage_}) {
      collector_.Register(p);
    }
  }

  void Put(const std::string& key, const Labels& labels = {}, const std::string& parent = "") {
    Record record;
    for (const auto& [k, v] : labels) (*record.mutable_labels())[k] = v;
    record.set_parent(parent);
    ASSERT_TRUE(db_->Update(Durability::kNone,
                            [&](Tx& tx) {
                              tx.PutProto(key, record);
                              return absl::OkStatus();
                            })
                    .ok());
  }
  void Blob(const std::string& digest, const Labels& labels = {}) {
    Put(Key({"blob", "ns", digest}), labels);
  }
  void Snapshot(const std::string& name, const std::string& parent = "",
                const Labels& labels = {}) {
    Put(Key({"snp", "ns", "ovl", name}), labels, parent);
  }
  void Image(const std::string& name, const std::string& digest, const Labels& labels = {}) {
    ImageStore::Image image;
    image.set_name(name);
    image.mutable_target()->set_digest(digest);
    for (const auto& [k, v] : labels) (*image.mutable_labels())[k] = v;
    ASSERT_TRUE(db_->Update(Durability::kNone,
                            [&](Tx& tx) {
                              tx.PutProto(Key({"img", "ns", name}), image);
                              return absl::OkStatus();
                            })
                    .ok());
  }
  void Lease(const std::string& id,
             const std::vector<std::pair<std::string, std::string>>& resources,
             const Labels& labels = {}) {
    LabelMap map;
    for (const auto& [k, v] : labels) map[k] = v;
    ASSERT_TRUE(leases_.Create(ctx_, id, map).ok());
    ASSERT_TRUE(db_->Update(Durability::kNone,
                            [&](Tx& tx) -> absl::Status {
                              for (const auto& [type, resource] : resources) {
                                GANTRY_RETURN_IF_ERROR(LinkToLease(tx, {"ns", id}, type, resource));
                              }
                              return absl::OkStatus();
                            })
                    .ok());
  }
  void Container(const std::string& id, const std::string& snapshot, const Labels& labels = {}) {
    ContainerStore::Container container;
    container.set_id(id);
    container.mutable_runtime()->set_name("r");
    container.mutable_spec();
    container.set_snapshotter("ovl");
    container.set_snapshot_key(snapshot);
    for (const auto& [k, v] : labels) (*container.mutable_labels())[k] = v;
    ASSERT_TRUE(containers_.Create(ctx_, container).ok());
  }

  // What is left of the collectable tables after a collection.
  std::vector<std::string> Left() {
    absl::StatusOr<GcStats> stats = collector_.Collect();
    EXPECT_TRUE(stats.ok()) << stats.status();
    return Remaining();
  }
  std::vector<std::string> Remaining() {
    std::vector<std::string> left;
    for (const char* table : {"blob", "img", "ing", "lse", "snp"}) {
      EXPECT_TRUE(db_->View([&](const ReadView& view) {
                       return view.Scan(KeyPrefix({table}),
                                        [&](absl::string_view rest, absl::string_view) {
                                          left.emplace_back(SplitKey(rest).back());
                                          return true;
                                        });
                     })
                      .ok());
    }
    return left;
  }

  static std::string In(absl::Duration d) { return base::FormatRfc3339(absl::Now() + d); }

  TestDb db_;
  const Context ctx_{"ns", ""};
  ImageStore images_{db_.get()};
  ContainerStore containers_{db_.get()};
  LeaseStore leases_{db_.get()};
  SandboxStore sandboxes_{db_.get()};
  FakeStorage storage_;
  GcOptions options_{.startup_delay = absl::InfiniteDuration()};
  GarbageCollector collector_{db_.get(), options_};
};

TEST_F(CollectorTest, EmptyDatabase) { EXPECT_THAT(Left(), IsEmpty()); }

TEST_F(CollectorTest, ImageKeepsItsTreeOfContentAndSnapshots) {
  Image("i", "index");
  Blob("index", {{"containerd.io/gc.ref.content.m.0", "manifest"}});
  Blob("manifest", {{"containerd.io/gc.ref.content.config", "config"},
                    {"containerd.io/gc.ref.content.l.0", "layer"},
                    {"containerd.io/gc.ref.content.l.1", "absent"}});
  Blob("config", {{"containerd.io/gc.ref.snapshot.ovl", "top"}});
  Blob("layer");
  Blob("lost", {{"containerd.io/gc.ref.content", "lost2"}});
  Blob("lost2");
  Snapshot("base");
  Snapshot("top", "base");
  Snapshot("stray", "base");
  EXPECT_THAT(Left(),
              UnorderedElementsAre("i", "index", "manifest", "config", "layer", "base", "top"));
  EXPECT_THAT(storage_.reclaimed, ElementsAre("lost", "lost2", "ovl/stray"));
}

TEST_F(CollectorTest, LabelsOfEveryKindAreFollowed) {
  Image("i", "t",
        {{"containerd.io/gc.ref.content", "a"},
         {"containerd.io/gc.ref.content.x", "b"},
         {"containerd.io/gc.ref.content/y", "c"},
         {"containerd.io/gc.ref.contents", "no"},
         {"containerd.io/gc.ref.snapshot.ovl/1", "s1"},
         {"containerd.io/gc.ref.snapshot.other", "s2"},
         {"containerd.io/gc.ref.image.z", "expired"}});
  Image("expired", "e", {{"containerd.io/gc.expire", In(-absl::Hours(1))}});
  for (const char* blob : {"t", "a", "b", "c", "no", "e"}) Blob(blob);
  Snapshot("s1");
  Snapshot("s2");
  EXPECT_THAT(Left(), UnorderedElementsAre("i", "expired", "t", "a", "b", "c", "e", "s1"));
}

TEST_F(CollectorTest, BackwardLabelsKeepTheChildWithItsParent) {
  Image("i", "t");
  Blob("t");
  Blob("attached", {{"containerd.io/gc.bref.content.x", "t"}});
  Blob("to-image", {{"containerd.io/gc.bref.image", "i"}});
  Blob("to-nothing", {{"containerd.io/gc.bref.image", "gone"}});
  Container("c", "s");
  Snapshot("s");
  Snapshot("mine", "", {{"containerd.io/gc.bref.container", "c"}});
  Snapshot("beside", "", {{"containerd.io/gc.bref.snapshot.ovl", "s"}});
  EXPECT_THAT(Left(),
              UnorderedElementsAre("i", "t", "attached", "to-image", "s", "mine", "beside"));
}

TEST_F(CollectorTest, RootLabelsAndExpiry) {
  Blob("root", {{"containerd.io/gc.root", "yes"}});
  Blob("later", {{"containerd.io/gc.expire", In(absl::Hours(1))}});
  Blob("over", {{"containerd.io/gc.expire", In(-absl::Hours(1))}});
  Snapshot("sroot", "", {{"containerd.io/gc.root", ""}});
  Image("fresh", "x", {{"containerd.io/gc.expire", In(absl::Hours(1))}});
  Image("old", "y", {{"containerd.io/gc.expire", In(-absl::Hours(1))}});
  Image("unreadable", "z", {{"containerd.io/gc.expire", "tomorrow"}});
  db_.TakeTopics();
  EXPECT_THAT(Left(), UnorderedElementsAre("root", "later", "sroot", "fresh", "unreadable"));
  EXPECT_THAT(db_.TakeTopics(), ElementsAre("ns /images/delete"));
}

TEST_F(CollectorTest, ConditionalLabelsReachWhatWasUsedThen) {
  struct Case {
    const char* name;
    absl::Duration used;  // before now; infinite: no such label
    const char* condition;
    bool kept;
  } cases[] = {
      {"recent", absl::Hours(1), "usedat<24h", true},
      {"old", absl::Hours(48), "usedat<24h", false},
      {"old-enough", absl::Hours(48), "usedat>24h", true},
      {"too-recent", absl::Hours(1), "usedat>24h", false},
      {"either", absl::Hours(1), "nosuch=1,usedat>24h,usedat<2h", true},
      {"not-an-order", absl::Hours(1), "usedat<=24h", false},
      {"no-duration", absl::Hours(1), "usedat<soon", false},
      {"never", absl::InfiniteDuration(), "usedat<24h", false},
  };
  Labels labels;
  std::vector<std::string> want = {"i", "m", "loose"};
  for (const Case& c : cases) {
    Labels used;
    if (c.used != absl::InfiniteDuration())
      used.emplace_back("containerd.io/gc.cond.value-usedat", In(-c.used));
    Snapshot(c.name, "", used);
    labels.emplace_back(absl::StrCat("containerd.io/gc.cond.snapshot.ovl/", c.name),
                        absl::StrCat(c.condition, "|", c.name));
    if (c.kept) want.push_back(c.name);
  }
  labels.emplace_back("containerd.io/gc.cond.snapshot.ovl/malformed", "usedat<24h");
  // Of an image that is a root, and of content that it reaches; from nowhere nothing is kept.
  Image("i", "m", labels);
  Blob("m", {{"containerd.io/gc.cond.snapshot/ovl", "usedat<24h|loose"}});
  Snapshot("loose", "", {{"containerd.io/gc.cond.value-usedat", In(-absl::Hours(1))}});
  Blob("lost", {{"containerd.io/gc.cond.snapshot.ovl", "usedat<24h|lost"}});
  Snapshot("lost", "", {{"containerd.io/gc.cond.value-usedat", In(-absl::Hours(1))}});
  EXPECT_THAT(Left(), ::testing::UnorderedElementsAreArray(want));
}

TEST_F(CollectorTest, LeasesKeepWhatTheyList) {
  Blob("a", {{"containerd.io/gc.ref.content", "a2"}});
  Blob("a2");
  Snapshot("p");
  Snapshot("s", "p", {{"containerd.io/gc.ref.content", "sc"}});
  Blob("sc");
  Put(Key({"ing", "ns", "ref"}));
  Put(Key({"ing", "ns", "unleased"}));
  Lease("l", {{"content", "a"}, {"snapshots/ovl", "s"}, {"ingests", "ref"}});
  EXPECT_THAT(Left(), UnorderedElementsAre("l", "a", "a2", "p", "s", "sc", "ref"));
  ASSERT_TRUE(leases_.Delete(ctx_, "l").ok());
  EXPECT_THAT(Left(), IsEmpty());
}

TEST_F(CollectorTest, FlatLeaseKeepsOnlyTheObjectsAndParents) {
  Blob("a", {{"containerd.io/gc.ref.content", "a2"}});
  Blob("a2");
  Snapshot("p");
  Snapshot("s", "p", {{"containerd.io/gc.ref.content", "sc"}});
  Blob("sc");
  Image("i", "t",
        {{"containerd.io/gc.expire", In(-absl::Hours(1))}, {"containerd.io/gc.ref.content", "il"}});
  Blob("t", {{"containerd.io/gc.ref.content", "t2"}});
  Blob("t2");
  Blob("il");
  Lease("l", {{"content", "a"}, {"snapshots/ovl", "s"}, {"images", "i"}},
        {{"containerd.io/gc.flat", "true"}});
  EXPECT_THAT(Left(), UnorderedElementsAre("l", "a", "p", "s", "i", "t"));
}

TEST_F(CollectorTest, FullReachWinsOverFlat) {
  Blob("a", {{"containerd.io/gc.ref.content", "a2"}});
  Blob("a2");
  Lease("flat", {{"content", "a"}}, {{"containerd.io/gc.flat", ""}});
  Lease("full", {{"content", "a"}});
  EXPECT_THAT(Left(), UnorderedElementsAre("flat", "full", "a", "a2"));
}

TEST_F(CollectorTest, ExpiredLeaseGoesWithItsResources) {
  Blob("a");
  Lease("l", {{"content", "a"}}, {{"containerd.io/gc.expire", In(-absl::Seconds(1))}});
  Lease("m", {}, {{"containerd.io/gc.expire", In(absl::Hours(1))}});
  EXPECT_THAT(Left(), ElementsAre("m"));
  EXPECT_TRUE(absl::IsNotFound(leases_.ListResources(ctx_, "l").status()));
}

TEST_F(CollectorTest, ContainersAndSandboxesAreRoots) {
  Snapshot("p");
  Snapshot("rw", "p");
  Container("c", "rw", {{"containerd.io/gc.ref.content", "x"}});
  SandboxStore::Sandbox sandbox;
  sandbox.set_sandbox_id("s");
  (*sandbox.mutable_labels())["containerd.io/gc.ref.content"] = "y";
  ASSERT_TRUE(sandboxes_.Create(ctx_, sandbox).ok());
  for (const char* blob : {"x", "y", "z"}) Blob(blob);
  EXPECT_THAT(Left(), UnorderedElementsAre("x", "y", "p", "rw"));
  ASSERT_TRUE(containers_.Delete(ctx_, "c").ok());
  ASSERT_TRUE(sandboxes_.Delete(ctx_, "s").ok());
  EXPECT_THAT(Left(), IsEmpty());
}

TEST_F(CollectorTest, NamespacesAreSeparate) {
  Image("i", "a");
  Blob("a");
  Put(Key({"blob", "other", "a"}));
  EXPECT_THAT(Left(), ElementsAre("a", "i"));
}

TEST_F(CollectorTest, CyclesEnd) {
  Blob("a", {{"containerd.io/gc.ref.content", "b"}});
  Blob("b", {{"containerd.io/gc.ref.content", "a"}});
  Blob("c", {{"containerd.io/gc.ref.content", "d"}, {"containerd.io/gc.root", "1"}});
  Blob("d", {{"containerd.io/gc.ref.content", "c"}});
  EXPECT_THAT(Left(), UnorderedElementsAre("c", "d"));
}

TEST_F(CollectorTest, DamagedRecordStopsTheCollection) {
  Blob("a");
  ASSERT_TRUE(db_->Update(Durability::kNone,
                          [&](Tx& tx) {
                            tx.Put(Key({"img", "ns", "bad"}), "\xff\xff");
                            return absl::OkStatus();
                          })
                  .ok());
  EXPECT_TRUE(absl::IsDataLoss(collector_.Collect().status()));
  EXPECT_THAT(Remaining(), UnorderedElementsAre("a", "bad"));
}

// What writers do after the marking, before the removal.
TEST_F(CollectorTest, LateReferencesKeepTheirTargets) {
  for (const char* blob : {"by-image", "by-image-2", "by-lease", "by-label", "rewritten",
                           "under-rewritten", "gone", "lost"}) {
    Blob(blob);
  }
  Blob("by-image", {{"containerd.io/gc.ref.content", "by-image-2"}});
  Blob("root", {{"containerd.io/gc.root", "1"}});
  Snapshot("parent");
  Lease("l", {});
  collector_.set_after_mark([&] {
    Image("late", "by-image");
    ASSERT_TRUE(db_->Update(Durability::kNone,
                            [&](Tx& tx) {
                              return LinkToLease(tx, {"ns", "l"}, kLeaseContent, "by-lease");
                            })
                    .ok());
    Blob("root", {{"containerd.io/gc.root", "1"}, {"containerd.io/gc.ref.content", "by-label"}});
    Blob("rewritten", {{"containerd.io/gc.ref.content", "under-rewritten"}});
    Blob("new");
    Snapshot("child", "parent");
    ASSERT_TRUE(db_->Update(Durability::kNone,
                            [&](Tx& tx) {
                              tx.Delete(Key({"blob", "ns", "gone"}));
                              return absl::OkStatus();
                            })
                    .ok());
  });
  EXPECT_THAT(Left(), UnorderedElementsAre("by-image", "by-image-2", "by-lease", "by-label",
                                           "rewritten", "under-rewritten", "root", "new", "late",
                                           "l", "parent", "child"));
  EXPECT_THAT(storage_.reclaimed, ElementsAre("lost"));
  collector_.set_after_mark(nullptr);
  EXPECT_THAT(Left(), UnorderedElementsAre("by-image", "by-image-2", "by-lease", "by-label", "root",
                                           "late", "l"));
}

TEST_F(CollectorTest, ImageDeletedMeanwhileIsNotReportedTwice) {
  Image("i", "x", {{"containerd.io/gc.expire", In(-absl::Hours(1))}});
  collector_.set_after_mark([&] { ASSERT_TRUE(images_.Delete(ctx_, "i").ok()); });
  EXPECT_THAT(Left(), IsEmpty());
  EXPECT_THAT(db_.TakeTopics(), ElementsAre("ns /images/delete"));
}

// Writers pull (lease, blobs, image, unlease) and remove while collections run; no image ever loses
// a blob, and in the end nothing is left over.
TEST_F(CollectorTest, RaceWithWriters) {
  collector_.Start();
  std::vector<std::thread> writers;
  for (int w = 0; w < 3; ++w) {
    writers.emplace_back([&, w] {
      for (int i = 0; i < 60; ++i) {
        const std::string name = absl::StrCat("w", w, "-", i);
        Lease(name, {});
        const Context leased{"ns", name};
        ASSERT_TRUE(db_->Update(Durability::kNone,
                                [&](Tx& tx) -> absl::Status {
                                  tx.PutProto(Key({"blob", "ns", name + "-l"}), Record());
                                  return LinkToLease(tx, leased, kLeaseContent, name + "-l");
                                })
                        .ok());
        ASSERT_TRUE(db_->Update(Durability::kNone,
                                [&](Tx& tx) -> absl::Status {
                                  Record manifest;
                                  (*manifest.mutable_labels())["containerd.io/gc.ref.content.0"] =
                                      name + "-l";
                                  tx.PutProto(Key({"blob", "ns", name}), manifest);
                                  return LinkToLease(tx, leased, kLeaseContent, name);
                                })
                        .ok());
        Image(name, name);
        ASSERT_TRUE(leases_.Delete(ctx_, name).ok());
        ASSERT_TRUE(db_->View([&](const ReadView& view) -> absl::Status {
                         EXPECT_TRUE(*view.Exists(Key({"blob", "ns", name})));
                         EXPECT_TRUE(*view.Exists(Key({"blob", "ns", name + "-l"})));
                         return absl::OkStatus();
                       })
                        .ok());
        ASSERT_TRUE(i % 2 != 0 || images_.Delete(ctx_, name).ok());
        ASSERT_TRUE(i % 8 != 0 || collector_.RunNow().ok());
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  ASSERT_TRUE(collector_.RunNow().ok());
  EXPECT_EQ(Remaining().size(), 3u * 30 * 3);  // image, manifest, layer of every second pull
}

TEST_F(CollectorTest, ManyDeletionsDoNotWaitForThePause) {
  GcOptions options;
  options.startup_delay = absl::InfiniteDuration();
  options.schedule_delay = absl::ZeroDuration();
  options.pause_threshold = 1e-9;  // a pause of hours after the first
  options.deletion_threshold = 3;
  GarbageCollector collector(db_.get(), options);
  for (GcParticipant* p : std::initializer_list<GcParticipant*>{&images_, &storage_}) {
    collector.Register(p);
  }
  collector.Start();
  const auto remove = [&](const std::string& name) {
    Image(name, name);
    Blob(name);
    ASSERT_TRUE(images_.Delete(ctx_, name).ok());
  };
  const auto gone = [&](int tries) {
    for (int i = 0; i < tries && !Remaining().empty(); ++i) absl::SleepFor(absl::Milliseconds(10));
    return Remaining().empty();
  };
  remove("a");
  EXPECT_TRUE(gone(300));
  remove("b");
  remove("c");
  EXPECT_FALSE(gone(10)) << "two are not enough";
  remove("d");
  EXPECT_TRUE(gone(300));
}

TEST_F(CollectorTest, CollectsByItselfAfterADeletion) {
  Image("i", "a");
  Blob("a");
  collector_.Start();
  ASSERT_TRUE(images_.Delete(ctx_, "i").ok());
  for (int i = 0; i < 300 && !Remaining().empty(); ++i) absl::SleepFor(absl::Milliseconds(10));
  EXPECT_THAT(Remaining(), IsEmpty());
  collector_.Stop();
  EXPECT_TRUE(absl::IsUnavailable(collector_.RunNow()));
}

}  // namespace
}  // namespace gantry::services
