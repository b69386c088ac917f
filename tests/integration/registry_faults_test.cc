// Pulls from a registry that lies, is busy or broken, through all of gantryctl and gantryd: what
// can be repaired by asking again is, the rest is a clear error that leaves nothing.

#include <atomic>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/digest.h"
#include "gmock/gmock.h"
#include "services/registry/fake_http_server.h"
#include "tests/integration/gantryd_fixture.h"
#include "tests/integration/image_archive.h"

namespace gantry::tests {
namespace {

using services::FakeConnection;
using services::FakeHttpServer;
using services::FakeRequest;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;

class RegistryFaultsTest : public GantrydTest {
 protected:
  void SetUp() override {
    GantrydTest::SetUp();
    StartGantryd();
    ImageArchive image{"x", {TarFile("file", std::string(100000, 'f'))}};
    image.change_members = [this](auto* members, const ImageArchive::Blobs& blobs) {
      manifest_ = members->at(blobs.manifest);
      for (const std::string& name : {blobs.layer, blobs.config}) {
        blobs_["sha256:" + name.substr(name.rfind('/') + 1)] = members->at(name);
      }
      layer_ = "sha256:" + blobs.layer.substr(blobs.layer.rfind('/') + 1);
    };
    image.Pack();
  }
  // Everything as it should be.
  void Serve(const FakeRequest& request, FakeConnection* c) const {
    std::string last = request.target.substr(request.target.rfind('/') + 1);
    bool head = request.method == "HEAD";
    if (absl::StrContains(request.target, "/manifests/")) {
      c->Respond(200,
                 absl::StrCat("Content-Type: application/vnd.oci.image.manifest.v1+json\r\n",
                              "Docker-Content-Digest: ", base::DigestOf(manifest_).str(), "\r\n"),
                 manifest_, head);
    } else if (auto blob = blobs_.find(last); blob != blobs_.end()) {
      c->Respond(200, "", blob->second, head);
    } else {
      c->Respond(request.target == "/v2/" ? 200 : 404, "", "");
    }
  }
  bool IsLayer(const FakeRequest& request) const {
    return absl::EndsWith(request.target, layer_) && request.method == "GET";
  }
  void ExpectNothingLeft() {
    EXPECT_EQ(CtrOk({"image", "ls", "-q"}), "");
    EXPECT_EQ(CtrOk({"leases", "ls", "-q"}), "");
    CtrOk({"leases", "create", "--id", "sweep"});
    CtrOk({"leases", "delete", "--sync", "sweep"});
    EXPECT_EQ(CtrOk({"content", "ls", "-q"}), "");
    EXPECT_FALSE(absl::StrContains(CtrOk({"content", "active"}), "layer"));
    EXPECT_FALSE(absl::StrContains(CtrOk({"snapshot", "ls"}), "sha256"));
  }

  std::string manifest_, layer_;
  std::map<std::string, std::string> blobs_;
};

TEST_F(RegistryFaultsTest, ABusyRegistryIsAskedAgain) {
  std::atomic<int> asked{0};
  FakeHttpServer server([&](const FakeRequest& request, FakeConnection* c) {
    if (!IsLayer(request)) return Serve(request, c);
    switch (asked++) {
      case 0:
        return c->Respond(429, "Retry-After: 1\r\n", "");
      case 1:
        return c->Respond(503, "", "");
      case 2:  // cut short
        c->Send(absl::StrCat("HTTP/1.1 200 X\r\nContent-Length: ", blobs_[layer_].size(),
                             "\r\n\r\n", blobs_[layer_].substr(0, 50)));
        return;
      default:
        return Serve(request, c);
    }
  });
  GantryctlOk({"pull", server.host() + "/busy:1"});
  EXPECT_GE(asked, 4);
  EXPECT_EQ(CtrOk({"content", "get", layer_}), blobs_[layer_]);
}

TEST_F(RegistryFaultsTest, LiesAreNoticedAndLeaveNothing) {
  std::string lie;
  FakeHttpServer server([&](const FakeRequest& request, FakeConnection* c) {
    if (lie == "500" && !absl::EndsWith(request.target, "/v2/")) return c->Respond(500, "", "");
    if (!IsLayer(request)) return Serve(request, c);
    if (lie == "longer") return c->Respond(200, "", blobs_[layer_] + "more");
    if (lie == "shorter") return c->Respond(200, "", blobs_[layer_].substr(1));
    std::string other = blobs_[layer_];
    other[20] ^= 1;
    c->Respond(lie == "gone" ? 404 : 200, "", other);
  });
  const std::pair<const char*, const char*> lies[] = {{"longer", "longer|length|size|bytes"},
                                                      {"shorter", "length|size|bytes"},
                                                      {"other", "digest|damaged"},
                                                      {"gone", "not found"},
                                                      {"500", "500"}};
  for (const auto& [kind, message] : lies) {
    SCOPED_TRACE(kind);
    lie = kind;
    base::RunResult result = Gantryctl({"pull", server.host() + "/liar:1"});
    EXPECT_EQ(result.exit.code, 1);
    EXPECT_THAT(result.err, ContainsRegex(message));
    EXPECT_THAT(result.err, HasSubstr("liar:1"));
    ExpectNothingLeft();
  }
}

}  // namespace
}  // namespace gantry::tests
