// The registry client against Debian's docker-registry.

#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/ids.h"
#include "gtest/gtest.h"
#include "services/registry/client.h"
#include "tests/integration/docker_registry.h"

namespace gantry::tests {
namespace {

using services::ImageDescriptor;
using services::RegistryClient;
using services::RegistryOptions;
using Pushed = RegistryClient::Pushed;

class RegistryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = absl::StrCat("/tmp/gantry-registry-", getpid(), "-", base::RandomHex(4));
    ASSERT_TRUE(base::MakeDirs(dir_ + "/r").ok());
    blob_ = base::RandomHex(3 << 20);
  }
  void TearDown() override {
    registry_.reset();
    EXPECT_TRUE(base::RemoveTree(dir_).ok());
  }
  void Start(bool tls = false, bool client_certs = false, const std::string& htpasswd = "") {
    registry_ = std::make_unique<DockerRegistry>(
        DockerRegistryOptions{dir_ + "/r", htpasswd, tls, client_certs});
  }
  void WriteHosts(const std::string& host, const std::string& text) {
    ASSERT_TRUE(base::MakeDirs(dir_ + "/certs.d/" + host).ok());
    ASSERT_TRUE(base::WriteFile(dir_ + "/certs.d/" + host + "/hosts.toml", text).ok());
  }
  std::unique_ptr<RegistryClient> Client(const std::string& ref, RegistryOptions options = {}) {
    options.endpoint.retry.first_delay = absl::Milliseconds(10);
    options.endpoint.retry.attempts = 2;
    auto reference = services::ParseReference(ref);
    EXPECT_TRUE(reference.ok()) << reference.status();
    auto client = RegistryClient::Create(*reference, options);
    EXPECT_TRUE(client.ok()) << client.status();
    return *std::move(client);
  }
  RegistryOptions WithHosts() {
    RegistryOptions options;
    options.hosts.config_dir = dir_ + "/certs.d";
    return options;
  }
  services::HttpBody Body(const std::string& data) {
    return {data.size(), [&data](uint64_t at, char* to, size_t want, size_t* got) {
              memcpy(to, data.data() + at, want);
              *got = want;
              return absl::OkStatus();
            }};
  }
  ImageDescriptor Of(const std::string& data, const char* type) {
    return {type, base::DigestOf(data), static_cast<int64_t>(data.size())};
  }
  absl::Status PushAll(RegistryClient* client, Pushed* how = nullptr,
                       const std::vector<std::string>& mount_from = {}) {
    const std::string config = "{\"architecture\":\"amd64\",\"os\":\"linux\"}";
    for (const std::string* data : std::vector<const std::string*>{&config, &blob_}) {
      auto pushed = client->PushBlob(Of(*data, services::kOciLayer), Body(*data), mount_from);
      if (!pushed.ok()) return pushed.status();
      if (how != nullptr) *how = *pushed;
    }
    auto config_json = services::DescriptorJson(Of(config, services::kOciConfig));
    auto layer_json = services::DescriptorJson(Of(blob_, services::kOciLayerGzip));
    manifest_ = absl::StrCat("{\"schemaVersion\":2,\"mediaType\":\"", services::kOciManifest,
                             "\",\"config\":", config_json.dump(), ",\"layers\":[",
                             layer_json.dump(), "]}");
    return client
        ->PushManifest(Of(manifest_, services::kOciManifest), manifest_, client->reference().tag)
        .status();
  }
  void ExpectPull(RegistryClient* client) {
    auto root = client->Resolve();
    ASSERT_TRUE(root.ok()) << root.status();
    EXPECT_EQ(root->digest, base::DigestOf(manifest_));
    auto manifest = client->FetchManifest(*root);
    ASSERT_TRUE(manifest.ok()) << manifest.status();
    EXPECT_EQ(*manifest, manifest_);
    std::string got;
    absl::Status status =
        client->FetchBlob(Of(blob_, services::kOciLayerGzip), {}, [&got](absl::string_view data) {
          got.append(data.data(), data.size());
          return absl::OkStatus();
        });
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_TRUE(got == blob_);
  }

  std::string dir_;
  std::string blob_;
  std::string manifest_;
  std::unique_ptr<DockerRegistry> registry_;
};

TEST_F(RegistryTest, PushesAndPulls) {
  Start();
  auto client = Client(registry_->host() + "/a/b:1");
  EXPECT_EQ(client->Resolve().status().code(), absl::StatusCode::kNotFound);
  Pushed how;
  absl::Status status = PushAll(client.get(), &how);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(how, Pushed::kUploaded);
  ExpectPull(client.get());
  ASSERT_TRUE(PushAll(client.get(), &how).ok());
  EXPECT_EQ(how, Pushed::kExisted);
  auto other = Client(registry_->host() + "/other:2");
  status = PushAll(other.get(), &how, {"missing/repo", "a/b"});
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(how, Pushed::kMounted);
  ExpectPull(
      Client(absl::StrCat(registry_->host(), "/other@", base::DigestOf(manifest_).str())).get());
}

TEST_F(RegistryTest, PushesInChunks) {
  Start();
  RegistryOptions options;
  options.push_chunk = 1 << 20;
  auto client = Client(registry_->host() + "/chunks:1", options);
  absl::Status status = PushAll(client.get());
  ASSERT_TRUE(status.ok()) << status;
  ExpectPull(client.get());
}

TEST_F(RegistryTest, AuthenticatesWithPassword) {
  Start(false, false, "me:secret");
  EXPECT_EQ(Client(registry_->host() + "/x:1")->Resolve().status().code(),
            absl::StatusCode::kUnauthenticated);
  RegistryOptions options;
  options.endpoint.credentials = [](const std::string&, const auto&) {
    return services::Credentials{"me", "wrong", ""};
  };
  EXPECT_EQ(Client(registry_->host() + "/x:1", options)->Resolve().status().code(),
            absl::StatusCode::kPermissionDenied);
  options.endpoint.credentials = [](const std::string&, const auto&) {
    return services::Credentials{"me", "secret", ""};
  };
  auto client = Client(registry_->host() + "/x:1", options);
  absl::Status status = PushAll(client.get());
  ASSERT_TRUE(status.ok()) << status;
  ExpectPull(client.get());
}

TEST_F(RegistryTest, VerifiesTlsWithItsOwnAuthorityAndShowsACertificate) {
  Start(true, true);
  const std::string server = absl::StrCat("server = \"https://", registry_->host(), "\"\n");
  WriteHosts("r.example", server);
  EXPECT_EQ(Client("r.example/x:1", WithHosts())->Resolve().status().code(),
            absl::StatusCode::kFailedPrecondition);
  const std::string ca = absl::StrCat("ca = \"", registry_->ca(), "\"\n");
  WriteHosts("r.example", server + ca);
  EXPECT_FALSE(Client("r.example/x:1", WithHosts())->Resolve().ok());
  WriteHosts("r.example", absl::StrCat(server, ca, "client = [[\"", registry_->client_cert(),
                                       "\", \"", registry_->client_key(), "\"]]\n"));
  auto client = Client("r.example/x:1", WithHosts());
  absl::Status status = PushAll(client.get());
  ASSERT_TRUE(status.ok()) << status;
  ExpectPull(client.get());
}

TEST_F(RegistryTest, FindsTlsOnLoopbackByItself) {
  Start(true);
  auto client = Client(registry_->host() + "/x:1");
  absl::Status status = PushAll(client.get());
  ASSERT_TRUE(status.ok()) << status;
  ExpectPull(client.get());
}

TEST_F(RegistryTest, AsksMirrorsFirstAndGoesOnToTheNext) {
  Start();
  auto direct = Client(registry_->host() + "/x:1");
  ASSERT_TRUE(PushAll(direct.get()).ok());
  WriteHosts("_default",
             absl::StrCat("server = \"http://127.0.0.1:1\"\n",
                          "[host.\"http://127.0.0.1:2\"]\n[host.\"http://", registry_->host(),
                          "\"]\ncapabilities = [\"pull\", \"resolve\"]\n"));
  ExpectPull(Client("mirrored.example/x:1", WithHosts()).get());
}

}  // namespace
}  // namespace gantry::tests
