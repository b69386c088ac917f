// Pulls that are killed go on where they were, within a blob; pulls of the same image at the same
// time fetch it once.

#include <algorithm>
#include <cstring>
#include <random>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "base/digest.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "services/registry/fake_http_server.h"
#include "tests/integration/gantryd_fixture.h"
#include "tests/integration/image_archive.h"

namespace gantry::tests {
namespace {

using services::FakeConnection;
using services::FakeHttpServer;
using services::FakeRequest;
using ::testing::HasSubstr;

// A registry with one image, whose layer it sends slowly.
class SlowRegistry {
 public:
  static constexpr size_t kPiece = 128 << 10;

  explicit SlowRegistry(absl::Duration pause) : pause_(pause) {
    std::string noise(12 << 20, '\0');
    std::mt19937_64 random(7);
    for (size_t i = 0; i + 8 <= noise.size(); i += 8) {
      uint64_t number = random();
      memcpy(&noise[i], &number, 8);
    }
    ImageArchive image{"x",
                       {TarFile("bin/sh", *base::ReadFile("/bin/busybox", 16 << 20), 0755),
                        TarFile("noise", noise)}};
    image.change_members = [this](auto* members, const ImageArchive::Blobs& blobs) {
      manifest_ = members->at(blobs.manifest);
      config_ = members->at(blobs.config);
      layer_ = members->at(blobs.layer);
    };
    image.Pack();
  }

  std::string host() const { return server_.host(); }
  size_t layer_size() const { return layer_.size(); }
  // Where the requests for the layer began, and how much of it was sent.
  std::vector<size_t> offsets() {
    absl::MutexLock lock(&mu_);
    return offsets_;
  }
  size_t sent() {
    absl::MutexLock lock(&mu_);
    return sent_;
  }

 private:
  void Serve(const FakeRequest& request, FakeConnection* c) {
    bool head = request.method == "HEAD";
    if (absl::StrContains(request.target, "/manifests/")) {
      c->Respond(200,
                 absl::StrCat("Content-Type: application/vnd.oci.image.manifest.v1+json\r\n",
                              "Docker-Content-Digest: ", base::DigestOf(manifest_).str(), "\r\n"),
                 manifest_, head);
    } else if (absl::EndsWith(request.target, base::DigestOf(config_).str())) {
      c->Respond(200, "", config_, head);
    } else if (absl::EndsWith(request.target, base::DigestOf(layer_).str())) {
      SendLayer(request, c);
    } else {
      c->Respond(request.target == "/v2/" ? 200 : 404, "", "");
    }
  }
  void SendLayer(const FakeRequest& request, FakeConnection* c) {
    size_t from = 0;
    auto range = request.headers.find("range");
    if (range != request.headers.end()) {
      std::string first = range->second.substr(6, range->second.find('-') - 6);
      if (!absl::SimpleAtoi(first, &from) || from > layer_.size()) from = 0;
    }
    {
      absl::MutexLock lock(&mu_);
      offsets_.push_back(from);
    }
    c->Send(absl::StrCat(from == 0 ? "HTTP/1.1 200 X" : "HTTP/1.1 206 X",
                         "\r\nConnection: close\r\nContent-Length: ", layer_.size() - from,
                         "\r\nContent-Range: bytes ", from, "-", layer_.size() - 1, "/",
                         layer_.size(), "\r\n\r\n"));
    for (size_t at = from; at < layer_.size(); at += kPiece) {
      if (!c->Send(layer_.substr(at, kPiece))) return;
      {
        absl::MutexLock lock(&mu_);
        sent_ += std::min(kPiece, layer_.size() - at);
      }
      c->Stall(pause_);
    }
  }

  const absl::Duration pause_;
  std::string manifest_, config_, layer_;
  absl::Mutex mu_;
  std::vector<size_t> offsets_;
  size_t sent_ = 0;
  FakeHttpServer server_{
      [this](const FakeRequest& request, FakeConnection* c) { Serve(request, c); }};
};

class InterruptedPullTest : public GantrydTest {
 protected:
  void ExpectWhole(const std::string& name) {
    EXPECT_EQ(GantryctlOk({"run", "--rm", name, "sh", "-c", "wc -c < /noise"}),
              absl::StrCat(12 << 20, "\n"));
    base::RunResult check = Gantryctl({"fsck", "--verify"});
    EXPECT_EQ(check.exit.code, 0) << check.out << check.err;
    EXPECT_FALSE(absl::StrContains(CtrOk({"content", "active"}), "layer"));
  }
};

TEST_F(InterruptedPullTest, GoesOnWithinTheBlobAfterKillsOfGantryd) {
  SlowRegistry registry(absl::Milliseconds(30));
  const std::string name = registry.host() + "/big:1";
  const unsigned seed = static_cast<unsigned>(absl::ToUnixNanos(absl::Now()));
  std::mt19937 random(seed);
  StartGantryd();
  size_t kills = 0;
  for (; kills < 5; ++kills) {
    std::thread pull([&] { Gantryctl({"pull", name}); });
    size_t before = registry.sent();
    // Somewhere within the layer.
    for (int i = 0;
         i < 300 && registry.sent() < before + SlowRegistry::kPiece * (2 + random() % 10); ++i) {
      absl::SleepFor(absl::Milliseconds(10));
    }
    KillGantryd();
    pull.join();
    StartGantryd();
    ASSERT_TRUE(running()) << "seed " << seed;
  }
  GantryctlOk({"pull", name});
  // What had arrived before a kill was not sent again: only what was under way.
  std::vector<size_t> offsets = registry.offsets();
  EXPECT_TRUE(std::is_sorted(offsets.begin(), offsets.end())) << testing::PrintToString(offsets);
  EXPECT_GT(offsets.back(), SlowRegistry::kPiece) << testing::PrintToString(offsets);
  EXPECT_LT(registry.sent(), registry.layer_size() + (kills + 1) * (4 << 20));
  ExpectWhole(name);
}

// A client that leaves takes its pull along, and what that had brought by then.
TEST_F(InterruptedPullTest, AClientThatLeavesLeavesNothing) {
  SlowRegistry registry(absl::Milliseconds(30));
  const std::string name = registry.host() + "/big:1";
  StartGantryd();
  base::RunResult left = tests::Run({"timeout", "-s", "KILL", "1", BinDir() + "/gantryctl", "-a",
                                     socket(), "-n", ns(), "pull", name});
  EXPECT_NE(left.exit.code, 0);
  bool gone = false;
  for (int i = 0; i < 100 && !gone; ++i) {
    absl::SleepFor(absl::Milliseconds(50));
    gone = CtrOk({"leases", "ls", "-q"}).empty() && CtrOk({"content", "ls", "-q"}).empty() &&
           !absl::StrContains(CtrOk({"content", "active"}), "layer");
  }
  EXPECT_TRUE(gone) << CtrOk({"leases", "ls"}) << CtrOk({"content", "ls"})
                    << CtrOk({"content", "active"});
  GantryctlOk({"pull", name});
  ExpectWhole(name);
}

// They ran into each other where the first wrote its manifest.
TEST_F(InterruptedPullTest, ManyClientsFetchOnce) {
  SlowRegistry registry(absl::Milliseconds(10));
  const std::string name = registry.host() + "/big:1";
  StartGantryd();
  std::vector<std::thread> clients;
  for (int i = 0; i < 5; ++i) {
    clients.emplace_back([&] { GantryctlOk({"pull", name}); });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(registry.offsets().size(), 1u);
  EXPECT_EQ(registry.sent(), registry.layer_size());
  ExpectWhole(name);
}

}  // namespace
}  // namespace gantry::tests
