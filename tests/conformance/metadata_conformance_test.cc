// Namespaces, images, containers and leases: codes, messages, field masks, filters, collection.

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "containerd/services/containers/v1/containers.grpc.pb.h"
#include "containerd/services/content/v1/content.grpc.pb.h"
#include "containerd/services/images/v1/images.grpc.pb.h"
#include "containerd/services/leases/v1/leases.grpc.pb.h"
#include "containerd/services/namespaces/v1/namespace.grpc.pb.h"
#include "gmock/gmock.h"
#include "tests/conformance/target.h"

namespace gantry::tests {
namespace {

namespace containers = containerd::services::containers::v1;
namespace content = containerd::services::content::v1;
namespace images = containerd::services::images::v1;
namespace leases = containerd::services::leases::v1;
namespace namespaces = containerd::services::namespaces::v1;

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;

const char kDigest[] = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const char kOther[] = "sha256:a3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

class MetadataTest : public ConformanceTest {
 protected:
  void SetUp() override {
    ConformanceTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    namespaces_ = namespaces::Namespaces::NewStub(channel());
    images_ = images::Images::NewStub(channel());
    containers_ = containers::Containers::NewStub(channel());
    leases_ = leases::Leases::NewStub(channel());
    content_ = content::Content::NewStub(channel());
  }

  void TearDown() override {
    if (images_ == nullptr) return;
    for (const std::string& name : ImageNames({})) DeleteImage(name);
    for (const std::string& id : ContainerIds({})) DeleteContainer(id);
    for (const std::string& id : LeaseIds({})) DeleteLease(id, false);
    CreateLease("sweep", {});
    DeleteLease("sweep", true);
    namespaces::DeleteNamespaceRequest request;
    request.set_name(ns());
    google::protobuf::Empty empty;
    namespaces_->Delete(Call().get(), request, &empty);
  }

  static images::Image MakeImage(const std::string& name, const std::string& digest = kDigest) {
    images::Image image;
    image.set_name(name);
    image.mutable_target()->set_digest(digest);
    image.mutable_target()->set_size(10);
    image.mutable_target()->set_media_type("application/vnd.oci.image.index.v1+json");
    return image;
  }
  std::string CreateImage(const images::Image& image, images::Image* created = nullptr) {
    images::CreateImageRequest request;
    *request.mutable_image() = image;
    images::CreateImageResponse response;
    std::string text = Text(images_->Create(Call().get(), request, &response));
    if (created != nullptr) *created = response.image();
    return text;
  }
  std::string UpdateImage(const images::Image& image, const std::vector<std::string>& paths,
                          images::Image* updated = nullptr) {
    images::UpdateImageRequest request;
    *request.mutable_image() = image;
    for (const std::string& path : paths) request.mutable_update_mask()->add_paths(path);
    images::UpdateImageResponse response;
    std::string text = Text(images_->Update(Call().get(), request, &response));
    if (updated != nullptr) *updated = response.image();
    return text;
  }
  std::string GetImage(const std::string& name, images::Image* image = nullptr) {
    images::GetImageRequest request;
    request.set_name(name);
    images::GetImageResponse response;
    std::string text = Text(images_->Get(Call().get(), request, &response));
    if (image != nullptr) *image = response.image();
    return text;
  }
  std::string DeleteImage(const std::string& name, bool sync = false) {
    images::DeleteImageRequest request;
    request.set_name(name);
    request.set_sync(sync);
    google::protobuf::Empty empty;
    return Text(images_->Delete(Call().get(), request, &empty));
  }
  std::vector<std::string> ImageNames(const std::vector<std::string>& filters) {
    images::ListImagesRequest request;
    for (const std::string& filter : filters) request.add_filters(filter);
    images::ListImagesResponse response;
    grpc::Status status = images_->List(Call().get(), request, &response);
    if (!status.ok()) return {Text(status)};
    std::vector<std::string> names;
    for (const auto& image : response.images()) names.push_back(image.name());
    return names;
  }

  static containers::Container MakeContainer(const std::string& id) {
    containers::Container container;
    container.set_id(id);
    container.mutable_runtime()->set_name("io.containerd.runc.v2");
    container.mutable_spec()->set_type_url(
        "types.containerd.io/opencontainers/runtime-spec/1/Spec");
    container.mutable_spec()->set_value("{}");
    return container;
  }
  std::string CreateContainer(const containers::Container& container,
                              containers::Container* created = nullptr) {
    containers::CreateContainerRequest request;
    *request.mutable_container() = container;
    containers::CreateContainerResponse response;
    std::string text = Text(containers_->Create(Call().get(), request, &response));
    if (created != nullptr) *created = response.container();
    return text;
  }
  std::string UpdateContainer(const containers::Container& container,
                              const std::vector<std::string>& paths,
                              containers::Container* updated = nullptr) {
    containers::UpdateContainerRequest request;
    *request.mutable_container() = container;
    for (const std::string& path : paths) request.mutable_update_mask()->add_paths(path);
    containers::UpdateContainerResponse response;
    std::string text = Text(containers_->Update(Call().get(), request, &response));
    if (updated != nullptr) *updated = response.container();
    return text;
  }
  std::string GetContainer(const std::string& id, containers::Container* container = nullptr) {
    containers::GetContainerRequest request;
    request.set_id(id);
    containers::GetContainerResponse response;
    std::string text = Text(containers_->Get(Call().get(), request, &response));
    if (container != nullptr) *container = response.container();
    return text;
  }
  std::string DeleteContainer(const std::string& id) {
    containers::DeleteContainerRequest request;
    request.set_id(id);
    google::protobuf::Empty empty;
    return Text(containers_->Delete(Call().get(), request, &empty));
  }
  std::vector<std::string> ContainerIds(const std::vector<std::string>& filters) {
    containers::ListContainersRequest request;
    for (const std::string& filter : filters) request.add_filters(filter);
    containers::ListContainersResponse response;
    grpc::Status status = containers_->List(Call().get(), request, &response);
    if (!status.ok()) return {Text(status)};
    std::vector<std::string> ids;
    for (const auto& container : response.containers()) ids.push_back(container.id());
    return ids;
  }

  std::string CreateLease(const std::string& id, const std::map<std::string, std::string>& labels,
                          leases::Lease* created = nullptr) {
    leases::CreateRequest request;
    request.set_id(id);
    for (const auto& [key, value] : labels) (*request.mutable_labels())[key] = value;
    leases::CreateResponse response;
    std::string text = Text(leases_->Create(Call().get(), request, &response));
    if (created != nullptr) *created = response.lease();
    return text;
  }
  std::string DeleteLease(const std::string& id, bool sync) {
    leases::DeleteRequest request;
    request.set_id(id);
    request.set_sync(sync);
    google::protobuf::Empty empty;
    return Text(leases_->Delete(Call().get(), request, &empty));
  }
  std::vector<std::string> LeaseIds(const std::vector<std::string>& filters) {
    leases::ListRequest request;
    for (const std::string& filter : filters) request.add_filters(filter);
    leases::ListResponse response;
    grpc::Status status = leases_->List(Call().get(), request, &response);
    if (!status.ok()) return {Text(status)};
    std::vector<std::string> ids;
    for (const auto& lease : response.leases()) ids.push_back(lease.id());
    return ids;
  }
  std::string AddResource(const std::string& lease, const std::string& type,
                          const std::string& id) {
    leases::AddResourceRequest request;
    request.set_id(lease);
    request.mutable_resource()->set_type(type);
    request.mutable_resource()->set_id(id);
    google::protobuf::Empty empty;
    return Text(leases_->AddResource(Call().get(), request, &empty));
  }
  std::string DeleteResource(const std::string& lease, const std::string& type,
                             const std::string& id) {
    leases::DeleteResourceRequest request;
    request.set_id(lease);
    request.mutable_resource()->set_type(type);
    request.mutable_resource()->set_id(id);
    google::protobuf::Empty empty;
    return Text(leases_->DeleteResource(Call().get(), request, &empty));
  }
  std::vector<std::string> Resources(const std::string& lease) {
    leases::ListResourcesRequest request;
    request.set_id(lease);
    leases::ListResourcesResponse response;
    grpc::Status status = leases_->ListResources(Call().get(), request, &response);
    if (!status.ok()) return {Text(status)};
    std::vector<std::string> list;
    for (const auto& r : response.resources()) list.push_back(r.type() + " " + r.id());
    return list;
  }

  // Writes and commits a blob within `lease`; returns its digest.
  std::string WriteBlob(const std::string& data, const std::string& lease,
                        const std::map<std::string, std::string>& labels) {
    const std::string digest = base::DigestOf(data).str();
    auto context = Call(lease);
    auto stream = content_->Write(context.get());
    content::WriteContentRequest request;
    request.set_action(content::COMMIT);
    request.set_ref("conformance-" + digest);
    request.set_total(static_cast<int64_t>(data.size()));
    request.set_expected(digest);
    request.set_data(data);
    for (const auto& [key, value] : labels) (*request.mutable_labels())[key] = value;
    EXPECT_TRUE(stream->Write(request));
    stream->WritesDone();
    content::WriteContentResponse response;
    while (stream->Read(&response)) {
    }
    EXPECT_EQ(Text(stream->Finish()), "OK");
    return digest;
  }
  std::string BlobInfo(const std::string& digest) {
    content::InfoRequest request;
    request.set_digest(digest);
    content::InfoResponse response;
    return Text(content_->Info(Call().get(), request, &response));
  }

  std::string CreateNamespace(const std::string& name,
                              const std::map<std::string, std::string>& labels) {
    namespaces::CreateNamespaceRequest request;
    request.mutable_namespace_()->set_name(name);
    for (const auto& [key, value] : labels) {
      (*request.mutable_namespace_()->mutable_labels())[key] = value;
    }
    namespaces::CreateNamespaceResponse response;
    return Text(namespaces_->Create(Call().get(), request, &response));
  }
  std::string UpdateNamespace(const std::map<std::string, std::string>& labels,
                              const std::vector<std::string>& paths) {
    namespaces::UpdateNamespaceRequest request;
    request.mutable_namespace_()->set_name(ns());
    for (const auto& [key, value] : labels) {
      (*request.mutable_namespace_()->mutable_labels())[key] = value;
    }
    for (const std::string& path : paths) request.mutable_update_mask()->add_paths(path);
    namespaces::UpdateNamespaceResponse response;
    return Text(namespaces_->Update(Call().get(), request, &response));
  }
  std::map<std::string, std::string> NamespaceLabels() {
    namespaces::GetNamespaceRequest request;
    request.set_name(ns());
    namespaces::GetNamespaceResponse response;
    EXPECT_EQ(Text(namespaces_->Get(Call().get(), request, &response)), "OK");
    EXPECT_EQ(response.namespace_().name(), ns());
    return {response.namespace_().labels().begin(), response.namespace_().labels().end()};
  }
  std::string DeleteNamespace() {
    namespaces::DeleteNamespaceRequest request;
    request.set_name(ns());
    google::protobuf::Empty empty;
    return Text(namespaces_->Delete(Call().get(), request, &empty));
  }
  bool NamespaceListed() {
    namespaces::ListNamespacesResponse response;
    EXPECT_EQ(Text(namespaces_->List(Call().get(), namespaces::ListNamespacesRequest(), &response)),
              "OK");
    for (const auto& n : response.namespaces()) {
      if (n.name() == ns()) return true;
    }
    return false;
  }

  std::unique_ptr<namespaces::Namespaces::Stub> namespaces_;
  std::unique_ptr<images::Images::Stub> images_;
  std::unique_ptr<containers::Containers::Stub> containers_;
  std::unique_ptr<leases::Leases::Stub> leases_;
  std::unique_ptr<content::Content::Stub> content_;
};

TEST_F(MetadataTest, CallsWithoutNamespaceAreRefused) {
  images::GetImageRequest get;
  get.set_name("x");
  images::GetImageResponse image;
  EXPECT_EQ(Text(images_->Get(CallIn("").get(), get, &image)),
            "FAILED_PRECONDITION: namespace is required: failed precondition");
  containers::ListContainersResponse list;
  EXPECT_EQ(Text(containers_->List(CallIn("").get(), containers::ListContainersRequest(), &list)),
            "FAILED_PRECONDITION: namespace is required: failed precondition");
  leases::CreateResponse lease;
  EXPECT_EQ(Text(leases_->Create(CallIn("").get(), leases::CreateRequest(), &lease)),
            "FAILED_PRECONDITION: namespace is required: failed precondition");
  EXPECT_THAT(Text(images_->Get(CallIn("bad/name").get(), get, &image)),
              AllOf(StartsWith("INVALID_ARGUMENT: namespace validation: identifier \"bad/name\""),
                    HasSubstr("must match")));
}

TEST_F(MetadataTest, NamespaceLifecycle) {
  EXPECT_FALSE(NamespaceListed());
  EXPECT_EQ(CreateNamespace(ns(), {{"a", "1"}, {"b", "2"}}), "OK");
  EXPECT_TRUE(NamespaceListed());
  EXPECT_EQ(CreateNamespace(ns(), {}),
            absl::StrCat("ALREADY_EXISTS: namespace \"", ns(), "\": already exists"));
  EXPECT_EQ(NamespaceLabels(), (std::map<std::string, std::string>{{"a", "1"}, {"b", "2"}}));
  EXPECT_EQ(UpdateNamespace({{"a", "x"}, {"b", "x"}}, {"labels.a"}), "OK");
  EXPECT_EQ(NamespaceLabels(), (std::map<std::string, std::string>{{"a", "x"}, {"b", "2"}}));
  EXPECT_EQ(UpdateNamespace({{"a", ""}}, {"labels.a"}), "OK");
  EXPECT_EQ(NamespaceLabels(), (std::map<std::string, std::string>{{"b", "2"}}));
  EXPECT_EQ(UpdateNamespace({{"c", "3"}}, {}), "OK");
  EXPECT_EQ(NamespaceLabels(), (std::map<std::string, std::string>{{"c", "3"}}));
  EXPECT_EQ(UpdateNamespace({}, {"name"}), "INVALID_ARGUMENT: cannot update \"name\" field");
  EXPECT_EQ(DeleteNamespace(), "OK");
  EXPECT_EQ(DeleteNamespace(), absl::StrCat("NOT_FOUND: namespace \"", ns(), "\": not found"));
  EXPECT_THAT(NamespaceLabels(), IsEmpty());
}

TEST_F(MetadataTest, NamespaceNamesAndLabelsAreValidated) {
  EXPECT_THAT(CreateNamespace("not/valid", {}),
              StartsWith("INVALID_ARGUMENT: identifier \"not/valid\" must match"));
  EXPECT_THAT(CreateNamespace("", {}),
              StartsWith("INVALID_ARGUMENT: identifier must not be empty"));
  EXPECT_THAT(CreateNamespace(std::string(77, 'a'), {}), HasSubstr("greater than maximum length"));
  EXPECT_THAT(CreateNamespace(ns(), {{"k", std::string(4096, 'v')}}),
              StartsWith("INVALID_ARGUMENT: namespace.Labels: label key and value"));
}

TEST_F(MetadataTest, NamespaceComesIntoBeingWithItsFirstObjectAndMustBeEmptyToGo) {
  EXPECT_EQ(CreateImage(MakeImage("i")), "OK");
  EXPECT_EQ(CreateContainer(MakeContainer("c")), "OK");
  EXPECT_TRUE(NamespaceListed());
  EXPECT_EQ(DeleteNamespace(),
            absl::StrCat("FAILED_PRECONDITION: namespace \"", ns(),
                         "\" must be empty, but it still has images, containers: "
                         "failed precondition"));
  EXPECT_EQ(DeleteImage("i"), "OK");
  EXPECT_EQ(DeleteContainer("c"), "OK");
  EXPECT_EQ(DeleteNamespace(), "OK");
}

TEST_F(MetadataTest, ImageLifecycle) {
  EXPECT_EQ(GetImage("a"), "NOT_FOUND: image \"a\": not found");
  EXPECT_EQ(DeleteImage("a"), "NOT_FOUND: image \"a\": not found");
  images::Image image = MakeImage("a");
  (*image.mutable_labels())["k"] = "v";
  (*image.mutable_target()->mutable_annotations())["n"] = "w";
  image.mutable_created_at()->set_seconds(5);
  images::Image created;
  EXPECT_EQ(CreateImage(image, &created), "OK");
  EXPECT_EQ(created.name(), "a");
  EXPECT_EQ(created.labels().at("k"), "v");
  EXPECT_GT(created.created_at().seconds(), 1600000000);
  EXPECT_EQ(created.created_at().SerializeAsString(), created.updated_at().SerializeAsString());
  EXPECT_EQ(CreateImage(image), "ALREADY_EXISTS: image \"a\": already exists");
  images::Image got;
  EXPECT_EQ(GetImage("a", &got), "OK");
  EXPECT_EQ(got.target().annotations().at("n"), "w");
  EXPECT_EQ(got.target().digest(), kDigest);
  EXPECT_EQ(got.created_at().SerializeAsString(), created.created_at().SerializeAsString());
  EXPECT_EQ(DeleteImage("a"), "OK");
  EXPECT_EQ(GetImage("a"), "NOT_FOUND: image \"a\": not found");
}

TEST_F(MetadataTest, ImageUpdatesByFieldMask) {
  images::Image image = MakeImage("a");
  (*image.mutable_labels())["k"] = "v";
  (*image.mutable_labels())["l"] = "w";
  images::Image created;
  ASSERT_EQ(CreateImage(image, &created), "OK");
  images::Image change = MakeImage("a", kOther);
  (*change.mutable_labels())["k"] = "changed";
  images::Image updated;
  EXPECT_EQ(UpdateImage(change, {"labels.k", "labels.l"}, &updated), "OK");
  EXPECT_EQ(updated.target().digest(), kDigest);
  EXPECT_EQ(GetImage("a", &updated), "OK");
  EXPECT_EQ(updated.labels().size(), 1u);
  EXPECT_EQ(updated.labels().at("k"), "changed");
  EXPECT_EQ(UpdateImage(change, {"target"}, &updated), "OK");
  EXPECT_EQ(updated.target().digest(), kOther);
  EXPECT_EQ(UpdateImage(change, {"labels"}, &updated), "OK");
  EXPECT_EQ(UpdateImage(MakeImage("a"), {}, &updated), "OK");
  EXPECT_THAT(updated.labels(), IsEmpty());
  EXPECT_EQ(updated.target().digest(), kDigest);
  EXPECT_EQ(updated.created_at().SerializeAsString(), created.created_at().SerializeAsString());
  EXPECT_EQ(UpdateImage(change, {"created_at"}),
            "INVALID_ARGUMENT: cannot update \"created_at\" field on image \"a\": "
            "invalid argument");
  EXPECT_EQ(UpdateImage(MakeImage("b"), {}), "NOT_FOUND: image \"b\": not found");
  EXPECT_EQ(UpdateImage(MakeImage(""), {}), "INVALID_ARGUMENT: Image.Name required");
}

TEST_F(MetadataTest, ImagesAreValidated) {
  EXPECT_EQ(CreateImage(MakeImage("")), "INVALID_ARGUMENT: Image.Name required");
  EXPECT_THAT(CreateImage(MakeImage("a", "sha256:abc")),
              MatchesRegex("INVALID_ARGUMENT: [tT]arget.Digest \"sha256:abc\" invalid: "
                           "invalid checksum digest length: invalid argument"));
  EXPECT_THAT(CreateImage(MakeImage("a", "")),
              MatchesRegex("INVALID_ARGUMENT: [tT]arget.Digest \"\" invalid: "
                           "invalid checksum digest format: invalid argument"));
  EXPECT_THAT(CreateImage(MakeImage("a", "md5:abc")),
              MatchesRegex("INVALID_ARGUMENT: [tT]arget.Digest \"md5:abc\" invalid: "
                           "unsupported digest algorithm: invalid argument"));
  images::Image image = MakeImage("a");
  image.mutable_target()->set_size(0);
  EXPECT_THAT(CreateImage(image), MatchesRegex("INVALID_ARGUMENT: [tT]arget.Size must be greater "
                                               "than zero: invalid argument"));
  image = MakeImage("a");
  image.mutable_target()->clear_media_type();
  EXPECT_THAT(CreateImage(image),
              MatchesRegex("INVALID_ARGUMENT: [tT]arget.MediaType must be set: invalid argument"));
  image = MakeImage("a");
  (*image.mutable_labels())["key"] = std::string(4094, 'x');
  EXPECT_THAT(CreateImage(image),
              AllOf(StartsWith("INVALID_ARGUMENT: image.Labels: label key and value"),
                    HasSubstr("greater than maximum size (4096 bytes), key: key: invalid")));
  (*image.mutable_labels())["key"] = std::string(4093, 'x');
  EXPECT_EQ(CreateImage(image), "OK");
}

TEST_F(MetadataTest, ListsFilter) {
  images::Image image = MakeImage("docker.io/library/b:1", kOther);
  (*image.mutable_labels())["a.b/c"] = "1";
  ASSERT_EQ(CreateImage(image), "OK");
  ASSERT_EQ(CreateImage(MakeImage("docker.io/library/a:1")), "OK");
  EXPECT_THAT(ImageNames({}), ElementsAre("docker.io/library/a:1", "docker.io/library/b:1"));
  EXPECT_THAT(ImageNames({""}), ElementsAre("docker.io/library/a:1", "docker.io/library/b:1"));
  EXPECT_THAT(ImageNames({"name==docker.io/library/b:1"}), ElementsAre("docker.io/library/b:1"));
  EXPECT_THAT(ImageNames({"name~=/a:[0-9]+/"}), ElementsAre("docker.io/library/a:1"));
  EXPECT_THAT(ImageNames({"labels.\"a.b/c\"==1"}), ElementsAre("docker.io/library/b:1"));
  EXPECT_THAT(ImageNames({"labels.\"a.b/c\"!=1"}), ElementsAre("docker.io/library/a:1"));
  EXPECT_THAT(ImageNames({absl::StrCat("target.digest==", kOther, ",name~=b")}),
              ElementsAre("docker.io/library/b:1"));
  EXPECT_THAT(ImageNames({"target.mediatype~=index", "name==x"}),
              ElementsAre("docker.io/library/a:1", "docker.io/library/b:1"));
  EXPECT_THAT(ImageNames({"name==x"}), IsEmpty());
  EXPECT_THAT(ImageNames({"nosuchfield"}), IsEmpty());
  EXPECT_THAT(ImageNames({"name="}),
              ElementsAre("INVALID_ARGUMENT: filters: parse error: [name >|=|< ]: unsupported "
                          "operator \"=\": invalid argument: invalid argument"));
  EXPECT_THAT(ImageNames({"labels.a/b==1"}),
              ElementsAre("INVALID_ARGUMENT: filters: parse error: [labels.a >|/|< b==1]: "
                          "quoted literal not terminated: invalid argument: invalid argument"));
}

TEST_F(MetadataTest, ContainerLifecycle) {
  EXPECT_EQ(GetContainer("c"),
            absl::StrCat("NOT_FOUND: container \"c\" in namespace \"", ns(), "\": not found"));
  containers::Container container = MakeContainer("c");
  container.set_image("img");
  (*container.mutable_labels())["k"] = "v";
  (*container.mutable_extensions())["x"].set_type_url("t");
  containers::Container created;
  EXPECT_EQ(CreateContainer(container, &created), "OK");
  EXPECT_EQ(created.spec().value(), "{}");
  EXPECT_EQ(created.runtime().name(), "io.containerd.runc.v2");
  EXPECT_EQ(created.extensions().at("x").type_url(), "t");
  EXPECT_GT(created.created_at().seconds(), 1600000000);
  EXPECT_EQ(CreateContainer(container), "ALREADY_EXISTS: container \"c\": already exists");
  containers::Container got;
  EXPECT_EQ(GetContainer("c", &got), "OK");
  EXPECT_EQ(got.image(), "img");
  EXPECT_EQ(GetContainer("d"),
            absl::StrCat("NOT_FOUND: container \"d\" in namespace \"", ns(), "\": not found"));
  EXPECT_EQ(DeleteContainer("d"), "NOT_FOUND: container d: not found");
  EXPECT_EQ(DeleteContainer("c"), "OK");
  EXPECT_EQ(DeleteContainer("c"), "NOT_FOUND: container c: not found");
}

TEST_F(MetadataTest, ContainerUpdates) {
  containers::Container container = MakeContainer("c");
  container.set_snapshotter("overlayfs");
  ASSERT_EQ(CreateContainer(container), "OK");
  containers::Container change = container;
  change.set_snapshotter("native");
  EXPECT_EQ(UpdateContainer(change, {}),
            "INVALID_ARGUMENT: container.Snapshotter field is immutable: invalid argument");
  change = container;
  change.mutable_runtime()->set_name("other");
  EXPECT_EQ(UpdateContainer(change, {}),
            "INVALID_ARGUMENT: container.Runtime.Name field is immutable: invalid argument");
  EXPECT_EQ(UpdateContainer(change, {"runtime"}),
            "INVALID_ARGUMENT: cannot update \"runtime\" field on \"c\": invalid argument");
  EXPECT_EQ(UpdateContainer(change, {"snapshotter"}),
            "INVALID_ARGUMENT: cannot update \"snapshotter\" field on \"c\": invalid argument");
  change = container;
  change.set_image("new");
  change.set_snapshot_key("key");
  (*change.mutable_labels())["k"] = "v";
  (*change.mutable_extensions())["e"].set_value("1");
  containers::Container updated;
  EXPECT_EQ(UpdateContainer(change, {"labels.k", "extensions.e", "snapshotkey"}, &updated), "OK");
  EXPECT_EQ(updated.image(), "");
  EXPECT_EQ(updated.snapshot_key(), "key");
  EXPECT_EQ(updated.labels().at("k"), "v");
  EXPECT_EQ(updated.extensions().at("e").value(), "1");
  EXPECT_EQ(UpdateContainer(change, {}, &updated), "OK");
  EXPECT_EQ(updated.image(), "new");
  // containerd 2 means to refuse this as well, but compares a nil of another type.
  if (containerd_major() != 2) {
    change.clear_spec();
    EXPECT_EQ(UpdateContainer(change, {"spec"}),
              "INVALID_ARGUMENT: update failed validation: container.Spec must be set: "
              "invalid argument");
  }
  EXPECT_EQ(UpdateContainer(MakeContainer(""), {}), "INVALID_ARGUMENT: Container.ID required");
  EXPECT_EQ(UpdateContainer(MakeContainer("d"), {}), "NOT_FOUND: container \"d\": not found");
}

TEST_F(MetadataTest, ContainersAreValidated) {
  EXPECT_THAT(CreateContainer(MakeContainer("a b")),
              StartsWith("INVALID_ARGUMENT: create container failed validation: container.ID: "
                         "identifier \"a b\" must match"));
  containers::Container container = MakeContainer("c");
  container.clear_runtime();
  EXPECT_EQ(CreateContainer(container),
            "INVALID_ARGUMENT: create container failed validation: container.Runtime.Name must be "
            "set: invalid argument");
  container = MakeContainer("c");
  container.clear_spec();
  if (containerd_major() != 2) {
    EXPECT_EQ(CreateContainer(container),
              "INVALID_ARGUMENT: create container failed validation: container.Spec must be set: "
              "invalid argument");
  }
  container = MakeContainer("c");
  container.set_snapshot_key("k");
  EXPECT_EQ(CreateContainer(container),
            "INVALID_ARGUMENT: create container failed validation: container.Snapshotter must be "
            "set if container.SnapshotKey is set: invalid argument");
  container = MakeContainer("c");
  (*container.mutable_extensions())[""].set_value("1");
  EXPECT_EQ(CreateContainer(container),
            "INVALID_ARGUMENT: create container failed validation: container.Extension keys must "
            "not be zero-length: invalid argument");
}

TEST_F(MetadataTest, ContainersAreListedByFilterAndStreamed) {
  for (const char* id : {"b", "a", "c"}) {
    containers::Container container = MakeContainer(id);
    container.set_image(absl::StrCat("image-", id));
    ASSERT_EQ(CreateContainer(container), "OK");
  }
  EXPECT_THAT(ContainerIds({}), ElementsAre("a", "b", "c"));
  EXPECT_THAT(ContainerIds({"id==a", "image==image-c"}), ElementsAre("a", "c"));
  EXPECT_THAT(ContainerIds({"runtime.name==io.containerd.runc.v2,id!=a"}), ElementsAre("b", "c"));
  containers::ListContainersRequest request;
  request.add_filters("id~=/[ab]/");
  auto context = Call();
  auto stream = containers_->ListStream(context.get(), request);
  std::vector<std::string> ids;
  for (containers::ListContainerMessage message; stream->Read(&message);) {
    ids.push_back(message.container().id());
  }
  EXPECT_EQ(Text(stream->Finish()), "OK");
  EXPECT_THAT(ids, ElementsAre("a", "b"));
}

TEST_F(MetadataTest, LeaseLifecycle) {
  leases::Lease lease;
  EXPECT_EQ(CreateLease("l", {{"k", "v"}}, &lease), "OK");
  EXPECT_EQ(lease.id(), "l");
  EXPECT_EQ(lease.labels().at("k"), "v");
  EXPECT_GT(lease.created_at().seconds(), 1600000000);
  EXPECT_EQ(CreateLease("l", {}), "ALREADY_EXISTS: lease \"l\": already exists");
  EXPECT_EQ(CreateLease("", {}, &lease), "OK");
  EXPECT_NE(lease.id(), "");
  EXPECT_THAT(LeaseIds({}), UnorderedElementsAre("l", lease.id()));
  EXPECT_THAT(LeaseIds({"labels.k==v"}), ElementsAre("l"));
  EXPECT_THAT(LeaseIds({"id==x"}), IsEmpty());
  EXPECT_EQ(DeleteLease("l", false), "OK");
  EXPECT_EQ(DeleteLease("l", true), "NOT_FOUND: lease \"l\": not found");
}

TEST_F(MetadataTest, LeaseResources) {
  EXPECT_EQ(AddResource("l", "content", kDigest), "NOT_FOUND: lease \"l\": not found");
  EXPECT_THAT(Resources("l"), ElementsAre("NOT_FOUND: lease \"l\": not found"));
  ASSERT_EQ(CreateLease("l", {}), "OK");
  EXPECT_EQ(AddResource("l", "content", kDigest), "OK");
  EXPECT_EQ(AddResource("l", "content", kDigest), "OK");
  EXPECT_EQ(AddResource("l", "ingests", "some/ref"), "OK");
  EXPECT_EQ(AddResource("l", "snapshots/overlayfs", "k"), "OK");
  EXPECT_THAT(Resources("l"), ElementsAre(absl::StrCat("content ", kDigest), "ingests some/ref",
                                          "snapshots/overlayfs k"));
  EXPECT_EQ(AddResource("l", "content", "sha256:abc"),
            "INVALID_ARGUMENT: invalid content resource id sha256:abc: invalid checksum digest "
            "length: invalid argument");
  EXPECT_EQ(AddResource("l", "content/x", kDigest),
            "INVALID_ARGUMENT: invalid resource type content/x: invalid argument");
  EXPECT_EQ(AddResource("l", "snapshots", "k"),
            "INVALID_ARGUMENT: invalid snapshot resource type snapshots: invalid argument");
  EXPECT_EQ(AddResource("l", "volumes", "k"),
            "UNIMPLEMENTED: resource type volumes not supported yet: not implemented");
  EXPECT_EQ(DeleteResource("l", "ingests", "some/ref"), "OK");
  EXPECT_EQ(DeleteResource("l", "ingests", "some/ref"), "OK");
  EXPECT_EQ(DeleteResource("l", "snapshots/overlayfs", "k"), "OK");
  EXPECT_THAT(Resources("l"), ElementsAre(absl::StrCat("content ", kDigest)));
}

TEST_F(MetadataTest, ContentLivesAsLongAsItsLeaseOrImage) {
  ASSERT_EQ(CreateLease("l", {}), "OK");
  const std::string layer = WriteBlob(ns() + "layer", "l", {});
  const std::string manifest =
      WriteBlob(ns() + "manifest", "l", {{"containerd.io/gc.ref.content.l.0", layer}});
  const std::string stray = WriteBlob(ns() + "stray", "l", {});
  EXPECT_THAT(Resources("l"),
              UnorderedElementsAre("content " + layer, "content " + manifest, "content " + stray));
  ASSERT_EQ(CreateImage(MakeImage("i", manifest)), "OK");
  EXPECT_EQ(DeleteLease("l", true), "OK");
  EXPECT_EQ(BlobInfo(manifest), "OK");
  EXPECT_EQ(BlobInfo(layer), "OK");
  EXPECT_EQ(BlobInfo(stray), absl::StrCat("NOT_FOUND: content digest ", stray, ": not found"));
  EXPECT_EQ(DeleteImage("i", true), "OK");
  EXPECT_THAT(BlobInfo(manifest), StartsWith("NOT_FOUND"));
  EXPECT_THAT(BlobInfo(layer), StartsWith("NOT_FOUND"));
}

TEST_F(MetadataTest, FlatLeaseKeepsOnlyWhatItLists) {
  ASSERT_EQ(CreateLease("build", {}), "OK");
  const std::string layer = WriteBlob(ns() + "layer", "build", {});
  const std::string manifest =
      WriteBlob(ns() + "manifest", "build", {{"containerd.io/gc.ref.content.l.0", layer}});
  ASSERT_EQ(CreateLease("flat", {{"containerd.io/gc.flat", "true"}}), "OK");
  ASSERT_EQ(AddResource("flat", "content", manifest), "OK");
  EXPECT_EQ(DeleteLease("build", true), "OK");
  EXPECT_EQ(BlobInfo(manifest), "OK");
  EXPECT_THAT(BlobInfo(layer), StartsWith("NOT_FOUND"));
}

TEST_F(MetadataTest, ExpiredLeaseIsCollected) {
  ASSERT_EQ(CreateLease("old", {{"containerd.io/gc.expire", "2001-02-03T04:05:06Z"}}), "OK");
  ASSERT_EQ(CreateLease("new", {{"containerd.io/gc.expire", "2201-02-03T04:05:06Z"}}), "OK");
  ASSERT_EQ(CreateLease("trigger", {}), "OK");
  EXPECT_EQ(DeleteLease("trigger", true), "OK");
  EXPECT_THAT(LeaseIds({}), ElementsAre("new"));
}

TEST_F(MetadataTest, UnknownLeaseInAHeaderIsNotFound) {
  auto context = Call("nosuchlease");
  auto stream = content_->Write(context.get());
  content::WriteContentRequest request;
  request.set_action(content::STAT);
  request.set_ref("r");
  stream->Write(request);
  stream->WritesDone();
  content::WriteContentResponse response;
  while (stream->Read(&response)) {
  }
  EXPECT_THAT(Text(stream->Finish()), HasSubstr("lease does not exist: not found"));
}

}  // namespace
}  // namespace gantry::tests
