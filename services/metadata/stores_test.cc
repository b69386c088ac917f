#include "containerd/events/container.pb.h"
#include "gmock/gmock.h"
#include "google/protobuf/wrappers.pb.h"
#include "gtest/gtest.h"
#include "services/metadata/container_store.h"
#include "services/metadata/image_store.h"
#include "services/metadata/intents.h"
#include "services/metadata/keys.h"
#include "services/metadata/lease_store.h"
#include "services/metadata/namespace_store.h"
#include "services/metadata/sandbox_store.h"
#include "services/metadata/test_db.h"

namespace gantry::services {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const char kDigest[] = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const char kOther[] = "sha256:a3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

// "CODE: message", or "OK".
template <typename T>
std::string Text(const T& result) {
  if constexpr (std::is_same_v<T, absl::Status>) {
    return result.ToString();
  } else {
    return result.status().ToString();
  }
}

ImageStore::Image MakeImage(const std::string& name, const std::string& digest = kDigest) {
  ImageStore::Image image;
  image.set_name(name);
  image.mutable_target()->set_digest(digest);
  image.mutable_target()->set_size(10);
  image.mutable_target()->set_media_type("application/vnd.oci.image.index.v1+json");
  return image;
}

ContainerStore::Container MakeContainer(const std::string& id) {
  ContainerStore::Container container;
  container.set_id(id);
  container.mutable_runtime()->set_name("io.containerd.runc.v2");
  container.mutable_spec()->set_type_url("spec");
  container.set_snapshotter("overlayfs");
  return container;
}

template <typename List, typename Get>
std::vector<std::string> Names(const List& list, Get get) {
  std::vector<std::string> names;
  if (!list.ok()) return {list.status().ToString()};
  for (const auto& item : *list) names.push_back(get(item));
  return names;
}

class StoresTest : public ::testing::Test {
 protected:
  std::vector<std::string> ImageNames(const std::vector<std::string>& filters) {
    return Names(images_.List(ctx_, filters), [](const auto& i) { return i.name(); });
  }

  TestDb db_;
  const Context ctx_{"test", ""};
  NamespaceStore namespaces_{db_.get()};
  ImageStore images_{db_.get()};
  ContainerStore containers_{db_.get()};
  LeaseStore leases_{db_.get()};
  SandboxStore sandboxes_{db_.get()};
};

TEST_F(StoresTest, EveryStoreWantsANamespace) {
  const std::string want = "FAILED_PRECONDITION: namespace is required: failed precondition";
  EXPECT_EQ(Text(images_.Get({}, "x")), want);
  EXPECT_EQ(Text(images_.Create({}, MakeImage("x"))), want);
  EXPECT_EQ(Text(containers_.List({}, {})), want);
  EXPECT_EQ(Text(leases_.Delete({}, "x")), want);
  EXPECT_EQ(Text(sandboxes_.Get({}, "x")), want);
  EXPECT_THAT(Text(images_.Get({"not/valid", ""}, "x")), HasSubstr("INVALID_ARGUMENT"));
}

TEST_F(StoresTest, ImageLifecycle) {
  EXPECT_EQ(Text(images_.Get(ctx_, "a")), "NOT_FOUND: image \"a\": not found");
  ImageStore::Image image = MakeImage("a");
  (*image.mutable_labels())["k"] = "v";
  (*image.mutable_labels())["empty"] = "";
  absl::StatusOr<ImageStore::Image> created = images_.Create(ctx_, image);
  ASSERT_TRUE(created.ok()) << created.status();
  EXPECT_TRUE(created->has_created_at());
  EXPECT_FALSE(created->labels().contains("empty"));
  EXPECT_EQ(Text(images_.Create(ctx_, image)), "ALREADY_EXISTS: image \"a\": already exists");
  EXPECT_EQ(images_.Get(ctx_, "a")->SerializeAsString(), created->SerializeAsString());

  image.mutable_target()->set_digest(kOther);
  (*image.mutable_labels())["k"] = "";
  (*image.mutable_labels())["n"] = "1";
  absl::StatusOr<ImageStore::Image> updated = images_.Update(ctx_, image, {"labels.k", "labels.n"});
  ASSERT_TRUE(updated.ok()) << updated.status();
  EXPECT_EQ(updated->target().digest(), kDigest);
  EXPECT_FALSE(updated->labels().contains("k"));
  EXPECT_EQ(updated->labels().at("n"), "1");
  updated = images_.Update(ctx_, image, {"target"});
  EXPECT_EQ(updated->target().digest(), kOther);
  EXPECT_EQ(updated->created_at().SerializeAsString(), created->created_at().SerializeAsString());
  EXPECT_EQ(Text(images_.Update(ctx_, image, {"name"})),
            "INVALID_ARGUMENT: cannot update \"name\" field on image \"a\": invalid argument");
  EXPECT_EQ(Text(images_.Update(ctx_, MakeImage("b"), {})), "NOT_FOUND: image \"b\": not found");

  EXPECT_THAT(Text(images_.Delete(ctx_, "a", kDigest)), HasSubstr("NOT_FOUND: image \"a\" has"));
  EXPECT_TRUE(images_.Delete(ctx_, "a", kOther).ok());
  EXPECT_EQ(Text(images_.Delete(ctx_, "a")), "NOT_FOUND: image \"a\": not found");
  EXPECT_THAT(db_.TakeTopics(), ElementsAre("test /images/create", "test /images/update",
                                            "test /images/update", "test /images/delete"));
}

TEST_F(StoresTest, ImageValidation) {
  ImageStore::Image image = MakeImage("");
  EXPECT_EQ(Text(images_.Create(ctx_, image)),
            "INVALID_ARGUMENT: image name must not be empty: invalid argument");
  image = MakeImage("a", "sha256:abc");
  EXPECT_THAT(Text(images_.Create(ctx_, image)), HasSubstr("target.Digest \"sha256:abc\" invalid"));
  image = MakeImage("a");
  image.mutable_target()->set_size(0);
  EXPECT_EQ(Text(images_.Create(ctx_, image)),
            "INVALID_ARGUMENT: target.Size must be greater than zero: invalid argument");
  image = MakeImage("a");
  image.mutable_target()->clear_media_type();
  EXPECT_EQ(Text(images_.Create(ctx_, image)),
            "INVALID_ARGUMENT: target.MediaType must be set: invalid argument");
  image = MakeImage("a");
  (*image.mutable_labels())["key"] = std::string(4093, 'x');
  EXPECT_TRUE(images_.Create(ctx_, image).ok());
  image.set_name("b");
  (*image.mutable_labels())["key"] = std::string(4094, 'x');
  EXPECT_THAT(Text(images_.Create(ctx_, image)), HasSubstr("image.Labels: label key and value"));
  EXPECT_EQ(Text(images_.Create(ctx_, MakeImage(std::string("a\0b", 3)))),
            "INVALID_ARGUMENT: image name must not contain a zero byte: invalid argument");
}

TEST_F(StoresTest, ImagesAreListedByFilterWithinTheirNamespace) {
  for (const char* name : {"docker.io/library/b:1", "docker.io/library/a:1"}) {
    ASSERT_TRUE(images_.Create(ctx_, MakeImage(name)).ok());
  }
  ASSERT_TRUE(images_.Create({"test2", ""}, MakeImage("other")).ok());
  EXPECT_THAT(ImageNames({}), ElementsAre("docker.io/library/a:1", "docker.io/library/b:1"));
  EXPECT_THAT(ImageNames({"name~=/b:[0-9]$/"}), ElementsAre("docker.io/library/b:1"));
  EXPECT_THAT(ImageNames({std::string("target.digest==") + kDigest + ",name~=a:"}),
              ElementsAre("docker.io/library/a:1"));
  EXPECT_THAT(Text(images_.List(ctx_, {"name="})),
              HasSubstr(": invalid argument: invalid argument"));
}

TEST_F(StoresTest, ContainerLifecycle) {
  EXPECT_EQ(Text(containers_.Get(ctx_, "c")),
            "NOT_FOUND: container \"c\" in namespace \"test\": not found");
  ContainerStore::Container container = MakeContainer("c");
  (*container.mutable_extensions())["x"].set_value("1");
  ASSERT_TRUE(containers_.Create(ctx_, container).ok());
  EXPECT_EQ(Text(containers_.Create(ctx_, container)),
            "ALREADY_EXISTS: container \"c\": already exists");

  ContainerStore::Container change = container;
  change.set_snapshotter("native");
  EXPECT_EQ(Text(containers_.Update(ctx_, change, {})),
            "INVALID_ARGUMENT: container.Snapshotter field is immutable: invalid argument");
  change = container;
  change.mutable_runtime()->set_name("other");
  EXPECT_EQ(Text(containers_.Update(ctx_, change, {})),
            "INVALID_ARGUMENT: container.Runtime.Name field is immutable: invalid argument");
  EXPECT_EQ(Text(containers_.Update(ctx_, change, {"runtime"})),
            "INVALID_ARGUMENT: cannot update \"runtime\" field on \"c\": invalid argument");
  change = container;
  change.set_snapshot_key("k");
  change.set_image("img");
  (*change.mutable_extensions())["y"].set_value("2");
  absl::StatusOr<ContainerStore::Container> updated =
      containers_.Update(ctx_, change, {"snapshotkey", "extensions.y"});
  ASSERT_TRUE(updated.ok()) << updated.status();
  EXPECT_EQ(updated->snapshot_key(), "k");
  EXPECT_EQ(updated->image(), "");
  EXPECT_EQ(updated->extensions().size(), 2u);

  EXPECT_TRUE(containers_.Delete(ctx_, "c").ok());
  EXPECT_EQ(Text(containers_.Delete(ctx_, "c")), "NOT_FOUND: container c: not found");
  EXPECT_THAT(db_.TakeTopics(), ElementsAre("test /containers/create", "test /containers/update",
                                            "test /containers/delete"));
}

TEST_F(StoresTest, ContainerValidation) {
  ContainerStore::Container container = MakeContainer("a..b");
  EXPECT_THAT(Text(containers_.Create(ctx_, container)),
              HasSubstr("create container failed validation: container.ID: identifier"));
  container = MakeContainer("c");
  container.clear_spec();
  EXPECT_THAT(Text(containers_.Create(ctx_, container)), HasSubstr("container.Spec must be set"));
  container = MakeContainer("c");
  container.clear_runtime();
  EXPECT_THAT(Text(containers_.Create(ctx_, container)),
              HasSubstr("container.Runtime.Name must be set"));
  container = MakeContainer("c");
  container.clear_snapshotter();
  container.set_snapshot_key("k");
  EXPECT_THAT(Text(containers_.Create(ctx_, container)),
              HasSubstr("container.Snapshotter must be set if"));
  EXPECT_THAT(*containers_.List(ctx_, {}), IsEmpty());
}

TEST_F(StoresTest, CreateEventCarriesTheRuntime) {
  ContainerStore::Container container = MakeContainer("c");
  container.set_image("img");
  container.mutable_runtime()->mutable_options()->set_type_url("o");
  ASSERT_TRUE(containers_.Create(ctx_, container).ok());
  ASSERT_EQ(db_.events().size(), 1u);
  EXPECT_EQ(db_.events()[0].event().type_url(), "containerd.events.ContainerCreate");
  containerd::events::ContainerCreate event;
  ASSERT_TRUE(event.ParseFromString(db_.events()[0].event().value()));
  EXPECT_EQ(event.image(), "img");
  EXPECT_EQ(event.runtime().name(), "io.containerd.runc.v2");
  EXPECT_EQ(event.runtime().options().type_url(), "o");
}

TEST_F(StoresTest, NamespaceLifecycle) {
  NamespaceStore::Namespace ns;
  ns.set_name("n");
  (*ns.mutable_labels())["a"] = "1";
  ASSERT_TRUE(namespaces_.Create({}, ns).ok());
  EXPECT_EQ(Text(namespaces_.Create({}, ns)), "ALREADY_EXISTS: namespace \"n\": already exists");
  (*ns.mutable_labels())["b"] = "2";
  EXPECT_EQ(namespaces_.Update({}, ns, {"labels.b"})->labels().size(), 2u);
  EXPECT_EQ(Text(namespaces_.Update({}, ns, {"name"})),
            "INVALID_ARGUMENT: cannot update \"name\" field");
  ns.mutable_labels()->erase("a");
  EXPECT_EQ(namespaces_.Update({}, ns, {})->labels().size(), 1u);
  EXPECT_EQ(namespaces_.Get("n")->labels().at("b"), "2");
  EXPECT_TRUE(namespaces_.Delete("n").ok());
  EXPECT_EQ(Text(namespaces_.Delete("n")), "NOT_FOUND: namespace \"n\": not found");
  EXPECT_THAT(db_.TakeTopics(), ElementsAre("n /namespaces/create", "n /namespaces/update",
                                            "n /namespaces/update", "n /namespaces/delete"));
}

TEST_F(StoresTest, FirstObjectMakesItsNamespaceWhichIsThenNotEmpty) {
  ASSERT_TRUE(images_.Create(ctx_, MakeImage("a")).ok());
  ASSERT_TRUE(containers_.Create(ctx_, MakeContainer("c")).ok());
  ASSERT_TRUE(leases_.Create(ctx_, "l", {}).ok());
  ASSERT_TRUE(db_->Update(Durability::kNone,
                          [&](Tx& tx) {
                            tx.Put(Key({kTableSnapshots, "test", "overlayfs", "k"}), "");
                            return absl::OkStatus();
                          })
                  .ok());
  EXPECT_THAT(Names(namespaces_.List(), [](const auto& n) { return n.name(); }),
              ElementsAre("test"));
  EXPECT_EQ(Text(namespaces_.Delete("test")),
            "FAILED_PRECONDITION: namespace \"test\" must be empty, but it still has images, "
            "containers, snapshots on \"overlayfs\" snapshotter: failed precondition");
  ASSERT_TRUE(images_.Delete(ctx_, "a").ok());
  ASSERT_TRUE(containers_.Delete(ctx_, "c").ok());
  ASSERT_TRUE(db_->Update(Durability::kNone,
                          [&](Tx& tx) {
                            tx.Delete(Key({kTableSnapshots, "test", "overlayfs", "k"}));
                            return absl::OkStatus();
                          })
                  .ok());
  EXPECT_TRUE(namespaces_.Delete("test").ok());
  EXPECT_THAT(*leases_.List(ctx_, {}), IsEmpty());
}

TEST_F(StoresTest, LeaseLifecycle) {
  LabelMap labels;
  labels["k"] = "v";
  absl::StatusOr<LeaseStore::Lease> lease = leases_.Create(ctx_, "l", labels);
  ASSERT_TRUE(lease.ok()) << lease.status();
  EXPECT_EQ(Text(leases_.Create(ctx_, "l", {})), "ALREADY_EXISTS: lease \"l\": already exists");
  EXPECT_FALSE(leases_.Create(ctx_, "", {})->id().empty());
  EXPECT_THAT(Names(leases_.List(ctx_, {"labels.k==v"}), [](const auto& l) { return l.id(); }),
              ElementsAre("l"));

  LeaseStore::Resource resource;
  resource.set_type("content");
  resource.set_id("not-a-digest");
  EXPECT_THAT(Text(leases_.AddResource(ctx_, "l", resource)),
              HasSubstr("INVALID_ARGUMENT: invalid content resource id not-a-digest: "));
  resource.set_type("snapshots");
  EXPECT_EQ(Text(leases_.AddResource(ctx_, "l", resource)),
            "INVALID_ARGUMENT: invalid snapshot resource type snapshots: invalid argument");
  resource.set_type("volumes");
  EXPECT_EQ(Text(leases_.AddResource(ctx_, "l", resource)),
            "UNIMPLEMENTED: resource type volumes not supported yet: not implemented");
  resource.set_type("snapshots/overlayfs");
  EXPECT_EQ(Text(leases_.AddResource(ctx_, "x", resource)), "NOT_FOUND: lease \"x\": not found");
  EXPECT_TRUE(leases_.AddResource(ctx_, "l", resource).ok());
  EXPECT_TRUE(leases_.AddResource(ctx_, "l", resource).ok());
  resource.set_type("ingests");
  resource.set_id("ref/with/slash");
  EXPECT_TRUE(leases_.AddResource(ctx_, "l", resource).ok());
  EXPECT_THAT(Names(leases_.ListResources(ctx_, "l"),
                    [](const auto& r) { return r.type() + " " + r.id(); }),
              ElementsAre("ingests ref/with/slash", "snapshots/overlayfs not-a-digest"));
  EXPECT_TRUE(leases_.DeleteResource(ctx_, "l", resource).ok());
  EXPECT_TRUE(leases_.DeleteResource(ctx_, "l", resource).ok());
  EXPECT_EQ(leases_.ListResources(ctx_, "l")->size(), 1u);

  EXPECT_TRUE(leases_.Delete(ctx_, "l").ok());
  EXPECT_EQ(Text(leases_.Delete(ctx_, "l")), "NOT_FOUND: lease \"l\": not found");
  ASSERT_TRUE(leases_.Create(ctx_, "l", {}).ok());
  EXPECT_THAT(*leases_.ListResources(ctx_, "l"), IsEmpty());
}

TEST_F(StoresTest, LinksOnlyWhatTheRequestLeases) {
  ASSERT_TRUE(leases_.Create(ctx_, "l", {}).ok());
  const auto link = [&](const Context& ctx) {
    return db_->Update(Durability::kNone,
                       [&](Tx& tx) { return LinkToLease(tx, ctx, kLeaseContent, kDigest); });
  };
  EXPECT_TRUE(link(ctx_).ok());
  EXPECT_EQ(Text(link({"test", "gone"})), "NOT_FOUND: lease does not exist: not found");
  EXPECT_TRUE(link({"test", "l"}).ok());
  ASSERT_EQ(leases_.ListResources(ctx_, "l")->size(), 1u);
  EXPECT_EQ((*leases_.ListResources(ctx_, "l"))[0].id(), kDigest);
}

TEST_F(StoresTest, SandboxLifecycle) {
  SandboxStore::Sandbox sandbox;
  sandbox.set_sandbox_id("s");
  sandbox.mutable_runtime()->set_name("r");
  (*sandbox.mutable_labels())["k"] = "v";
  ASSERT_TRUE(sandboxes_.Create(ctx_, sandbox).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(sandboxes_.Create(ctx_, sandbox).status()));
  sandbox.mutable_runtime()->set_name("other");
  EXPECT_THAT(Text(sandboxes_.Update(ctx_, sandbox, {})), HasSubstr("immutable"));
  (*sandbox.mutable_labels())["k"] = "w";
  EXPECT_EQ(sandboxes_.Update(ctx_, sandbox, {"labels.k"})->runtime().name(), "r");
  EXPECT_EQ(sandboxes_.Get(ctx_, "s")->labels().at("k"), "w");
  EXPECT_EQ(sandboxes_.List(ctx_, {"labels.k==w"})->size(), 1u);
  EXPECT_EQ(sandboxes_.List(ctx_, {"id==x"})->size(), 0u);
  EXPECT_TRUE(sandboxes_.Delete(ctx_, "s").ok());
  EXPECT_TRUE(absl::IsNotFound(sandboxes_.Delete(ctx_, "s")));
}

TEST_F(StoresTest, IntentsOutliveARestartUntilTheyEnd) {
  google::protobuf::StringValue payload;
  payload.set_value("snapshot 7");
  std::vector<uint64_t> ids;
  ASSERT_TRUE(db_->Update(Durability::kSync,
                          [&](Tx& tx) -> absl::Status {
                            for (const char* kind : {"pull", "prepare", "pull"}) {
                              GANTRY_ASSIGN_OR_RETURN(uint64_t id, BeginIntent(tx, kind, payload));
                              ids.push_back(id);
                            }
                            return EndIntent(tx, "pull", ids[0]);
                          })
                  .ok());
  ASSERT_THAT(ids, SizeIs(3));
  EXPECT_LT(ids[0], ids[1]);
  EXPECT_LT(ids[1], ids[2]);
  db_.Reopen();
  const auto pending = [&](absl::string_view kind) {
    std::vector<uint64_t> found;
    EXPECT_TRUE(db_->View([&](const ReadView& view) -> absl::Status {
                     GANTRY_ASSIGN_OR_RETURN(std::vector<Intent> list, PendingIntents(view, kind));
                     for (const Intent& intent : list) found.push_back(intent.id());
                     google::protobuf::StringValue read;
                     if (!list.empty()) list[0].payload().UnpackTo(&read);
                     EXPECT_EQ(read.value(), list.empty() ? "" : "snapshot 7");
                     return absl::OkStatus();
                   })
                    .ok());
    return found;
  };
  EXPECT_THAT(pending("pull"), ElementsAre(ids[2]));
  EXPECT_THAT(pending(""), ElementsAre(ids[1], ids[2]));
  EXPECT_THAT(pending("other"), IsEmpty());
}

}  // namespace
}  // namespace gantry::services
