#include "services/registry/client.h"

#include <cstring>

#include "absl/strings/match.h"
#include "base/file.h"
#include "base/ids.h"
#include "gtest/gtest.h"
#include "services/registry/fake_http_server.h"

namespace gantry::services {
namespace {

RegistryOptions Fast() {
  RegistryOptions options;
  options.endpoint.retry = {4, absl::Milliseconds(5), absl::Milliseconds(1500)};
  options.endpoint.stall_timeout = absl::Seconds(1);
  return options;
}

std::unique_ptr<RegistryClient> ClientFor(const std::string& ref,
                                          RegistryOptions options = Fast()) {
  auto reference = ParseReference(ref);
  EXPECT_TRUE(reference.ok()) << reference.status();
  auto client = RegistryClient::Create(*reference, options);
  EXPECT_TRUE(client.ok()) << client.status();
  return *std::move(client);
}

ImageDescriptor DescriptorOf(const std::string& data) {
  return {kOciLayerGzip, base::DigestOf(data), static_cast<int64_t>(data.size())};
}

// Fetches and returns what the sink got.
absl::Status Fetch(RegistryClient* client, const ImageDescriptor& d, std::string* out) {
  return client->FetchBlob(d, {}, [&](absl::string_view data) {
    out->append(data.data(), data.size());
    return absl::OkStatus();
  });
}

bool IsProbe(const FakeRequest& r) { return r.target == "/v2/"; }

size_t RangeStart(const FakeRequest& r) {
  auto it = r.headers.find("range");
  size_t start = 0;
  if (it != r.headers.end() && sscanf(it->second.c_str(), "bytes=%zu-", &start) != 1) {
    ADD_FAILURE() << it->second;
  }
  return start;
}

std::string Partial(size_t start, const std::string& all) {
  return absl::StrCat("Content-Range: bytes ", start, "-", all.size() - 1, "/", all.size(), "\r\n");
}

class ClientTest : public ::testing::Test {
 protected:
  std::string blob_ = std::string(300000, 'x') + base::RandomHex(5000);
};

TEST_F(ClientTest, ContinuesABrokenBlobWhereItEnded) {
  std::atomic<int> n{0};
  FakeHttpServer server([&](const FakeRequest& r, FakeConnection* c) {
    if (IsProbe(r)) return c->Respond(200, "", "");
    size_t start = RangeStart(r);
    std::string rest = blob_.substr(start);
    if (n++ < 6) {  // more breaks than attempts: it moves forward, so it goes on
      c->Send(absl::StrCat("HTTP/1.1 ", start ? 206 : 200, " X\r\nContent-Length: ", rest.size(),
                           "\r\n", start ? Partial(start, blob_) : "", "\r\n",
                           rest.substr(0, 20000)));
      return;
    }
    c->Respond(206, Partial(start, blob_), rest);
  });
  std::string got;
  auto client = ClientFor(server.host() + "/x:1");
  absl::Status status = Fetch(client.get(), DescriptorOf(blob_), &got);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(got, blob_);
}

TEST_F(ClientTest, SkipsWhatItHasWhenTheServerKnowsNoRanges) {
  std::atomic<int> n{0};
  FakeHttpServer server([&](const FakeRequest& r, FakeConnection* c) {
    if (IsProbe(r)) return c->Respond(200, "", "");
    if (n++ == 0) {
      c->Send(absl::StrCat("HTTP/1.1 200 X\r\nContent-Length: ", blob_.size(), "\r\n\r\n",
                           blob_.substr(0, 1000)));
      return;
    }
    c->Respond(200, "", blob_);
  });
  std::string got;
  auto client = ClientFor(server.host() + "/x:1");
  ASSERT_TRUE(Fetch(client.get(), DescriptorOf(blob_), &got).ok());
  EXPECT_EQ(got, blob_);
}

TEST_F(ClientTest, StalledConnectionsAreGivenUpAndContinued) {
  std::atomic<int> n{0};
  FakeHttpServer server([&](const FakeRequest& r, FakeConnection* c) {
    if (IsProbe(r)) return c->Respond(200, "", "");
    size_t start = RangeStart(r);
    if (n++ == 0) {
      c->Send(absl::StrCat("HTTP/1.1 200 X\r\nContent-Length: ", blob_.size(), "\r\n\r\n",
                           blob_.substr(0, 1000)));
      return c->Stall(absl::Seconds(60));
    }
    c->Respond(206, Partial(start, blob_), blob_.substr(start));
  });
  std::string got;
  absl::Time begin = absl::Now();
  auto client = ClientFor(server.host() + "/x:1");
  absl::Status status = Fetch(client.get(), DescriptorOf(blob_), &got);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(got, blob_);
  EXPECT_LT(absl::Now() - begin, absl::Seconds(20));
}

TEST_F(ClientTest, NoticesLiesAboutLengths) {
  for (int lie = 0; lie < 4; ++lie) {
    FakeHttpServer server([&](const FakeRequest& r, FakeConnection* c) {
      if (IsProbe(r)) return c->Respond(200, "", "");
      if (lie == 0) return c->Respond(200, "", blob_ + "more");
      if (lie == 1) return c->Respond(200, "", blob_.substr(1));
      if (lie == 2) return c->Respond(206, "Content-Range: bytes 7-9/10\r\n", blob_);
      c->Send("HTTP/1.1 200 X\r\nConnection: close\r\n\r\n" + blob_ + "more");  // no length at all
    });
    std::string got;
    auto client = ClientFor(server.host() + "/x:1");
    EXPECT_EQ(Fetch(client.get(), DescriptorOf(blob_), &got).code(),
              absl::StatusCode::kFailedPrecondition)
        << lie;
    EXPECT_LE(got.size(), blob_.size());
  }
}

TEST_F(ClientTest, NoticesOtherBytes) {
  FakeHttpServer server([&](const FakeRequest& r, FakeConnection* c) {
    if (IsProbe(r)) return c->Respond(200, "", "");
    std::string other = blob_;
    other[5] = 'y';
    c->Respond(200, "", other);
  });
  std::string got;
  auto client = ClientFor(server.host() + "/x:1");
  EXPECT_EQ(Fetch(client.get(), DescriptorOf(blob_), &got).code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(ClientTest, WaitsAsLongAsTheRegistryAsks) {
  std::atomic<int> n{0};
  FakeHttpServer server([&](const FakeRequest& r, FakeConnection* c) {
    if (IsProbe(r)) return c->Respond(200, "", "");
    if (n++ == 0) return c->Respond(429, "Retry-After: 1\r\n", "");
    if (n == 2) return c->Respond(503, "", "");
    c->Respond(200, "", blob_);
  });
  std::string got;
  absl::Time begin = absl::Now();
  auto client = ClientFor(server.host() + "/x:1");
  ASSERT_TRUE(Fetch(client.get(), DescriptorOf(blob_), &got).ok());
  EXPECT_GE(absl::Now() - begin, absl::Seconds(1));
}

TEST_F(ClientTest, GivesUpAfterTheAttempts) {
  FakeHttpServer server(
      [&](const FakeRequest& r, FakeConnection* c) { c->Respond(IsProbe(r) ? 200 : 500, "", ""); });
  std::string got;
  auto client = ClientFor(server.host() + "/x:1");
  EXPECT_EQ(Fetch(client.get(), DescriptorOf(blob_), &got).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(client->Resolve().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(server.seen().size(), 1u + 4u + 4u);
}

TEST_F(ClientTest, SinkFailuresAreNotRepeated) {
  FakeHttpServer server([&](const FakeRequest& r, FakeConnection* c) {
    c->Respond(200, "", IsProbe(r) ? "" : blob_);
  });
  auto client = ClientFor(server.host() + "/x:1");
  absl::Status status = client->FetchBlob(DescriptorOf(blob_), {}, [](absl::string_view) {
    return absl::ResourceExhaustedError("disk full");
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(server.seen().size(), 2u);
}

TEST_F(ClientTest, RefusesOversizedAndWrongManifests) {
  std::string manifest = "{\"schemaVersion\":2}";
  FakeHttpServer server([&](const FakeRequest& r, FakeConnection* c) {
    if (IsProbe(r)) return c->Respond(200, "", "");
    if (absl::StrContains(r.target, "/huge/")) {
      return c->Respond(200, "", std::string(kMaxManifestBytes + 1, ' '));
    }
    c->Respond(200, "", "{\"schemaVersion\":3}");
  });
  auto huge = ClientFor(server.host() + "/huge:1");
  EXPECT_EQ(huge->FetchManifest(DescriptorOf(manifest)).status().code(),
            absl::StatusCode::kResourceExhausted);
  auto other = ClientFor(server.host() + "/x:1");
  EXPECT_EQ(other->FetchManifest(DescriptorOf(manifest)).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(ClientTest, ResolvesByHeadAndByBody) {
  std::string manifest = "{\"schemaVersion\":2}";
  std::string digest = base::DigestOf(manifest).str();
  FakeHttpServer server([&](const FakeRequest& r, FakeConnection* c) {
    if (IsProbe(r)) return c->Respond(200, "", "");
    bool head = r.method == "HEAD";
    std::string type = absl::StrCat("Content-Type: ", kOciManifest, "; charset=utf-8\r\n");
    if (absl::StrContains(r.target, "/old/")) {
      return c->Respond(200, absl::StrCat("Content-Type: ", kDockerSchema1Signed, "\r\n"), "{}",
                        head);
    }
    if (absl::StrContains(r.target, "/plain/")) return c->Respond(200, type, manifest, head);
    if (absl::StrContains(r.target, "/none/")) {
      return c->Respond(404, "", "{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\",\"message\":\"m\"}]}",
                        head);
    }
    c->Respond(200, absl::StrCat(type, "Docker-Content-Digest: ", digest, "\r\n"), manifest, head);
  });
  for (const char* name : {"/told:1", "/plain:1"}) {
    auto got = ClientFor(server.host() + name)->Resolve();
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_EQ(got->digest.str(), digest);
    EXPECT_EQ(got->media_type, kOciManifest);
    EXPECT_EQ(got->size, static_cast<int64_t>(manifest.size()));
  }
  EXPECT_EQ(ClientFor(server.host() + "/old:1")->Resolve().status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ClientFor(server.host() + "/none:1")->Resolve().status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(ClientFor(server.host() + "/none")->Resolve().status().code(),
            absl::StatusCode::kInvalidArgument);
  // A registry that answers for another digest than was asked for.
  EXPECT_EQ(ClientFor(absl::StrCat(server.host(), "/told@", base::DigestOf("other").str()))
                ->Resolve()
                .status()
                .code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(ClientTest, CredentialsStayWithTheRegistry) {
  FakeHttpServer elsewhere([&](const FakeRequest& r, FakeConnection* c) {
    EXPECT_EQ(r.headers.count("authorization"), 0u);
    EXPECT_EQ(r.headers.count("x-secret"), 0u);
    c->Respond(200, "", blob_);
  });
  FakeHttpServer server([&](const FakeRequest& r, FakeConnection* c) {
    if (IsProbe(r)) return c->Respond(200, "", "");
    if (r.headers.count("authorization") == 0) {
      return c->Respond(401, "WWW-Authenticate: Basic realm=\"r\"\r\n", "");
    }
    EXPECT_EQ(r.headers.at("x-secret"), "s");
    if (absl::StrContains(r.target, "/foreign/")) return c->Respond(404, "", "");
    c->Respond(307, absl::StrCat("Location: http://", elsewhere.host(), "/there\r\n"), "");
  });
  RegistryOptions options = Fast();
  options.endpoint.headers = {{"X-Secret", "s"}};
  options.endpoint.credentials = [](const std::string&, const auto&) {
    return Credentials{"u", "p", ""};
  };
  std::string got;
  auto client = ClientFor(server.host() + "/x:1", options);
  absl::Status status = Fetch(client.get(), DescriptorOf(blob_), &got);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(got, blob_);
  ImageDescriptor foreign = DescriptorOf(blob_);
  foreign.urls = {absl::StrCat("http://", elsewhere.host(), "/layer")};
  got.clear();
  status = Fetch(ClientFor(server.host() + "/foreign:1", options).get(), foreign, &got);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(elsewhere.seen().size(), 2u);
}

TEST_F(ClientTest, RedirectLoopsEnd) {
  FakeHttpServer server([&](const FakeRequest& r, FakeConnection* c) {
    c->Respond(IsProbe(r) ? 200 : 302, "Location: /v2/again\r\n", "");
  });
  std::string got;
  EXPECT_EQ(Fetch(ClientFor(server.host() + "/x:1").get(), DescriptorOf(blob_), &got).code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(ClientTest, FetchesTokensForTheScope) {
  std::string me;
  std::atomic<int> tokens{0};
  FakeHttpServer server([&](const FakeRequest& r, FakeConnection* c) {
    if (IsProbe(r)) return c->Respond(200, "", "");
    if (absl::StartsWith(r.target, "/token")) {
      ++tokens;
      if (r.method == "POST") {
        EXPECT_TRUE(absl::StrContains(r.body, "grant_type=refresh_token&refresh_token=id%2Ftoken"));
        return c->Respond(200, "", "{\"access_token\":\"good\"}");
      }
      EXPECT_TRUE(absl::StrContains(r.target, "scope=repository%3Ax%3Apull")) << r.target;
      return c->Respond(200, "", "{\"token\":\"good\"}");
    }
    auto it = r.headers.find("authorization");
    if (it == r.headers.end() || it->second != "Bearer good") {
      return c->Respond(401,
                        absl::StrCat("WWW-Authenticate: Bearer realm=\"http://", me,
                                     "/token\",service=\"s\",scope=\"repository:x:pull\"\r\n"),
                        "");
    }
    c->Respond(200, "", blob_);
  });
  me = server.host();
  std::string got;
  auto anonymous = ClientFor(me + "/x:1");
  for (int i = 0; i < 3; ++i) {
    got.clear();
    absl::Status status = Fetch(anonymous.get(), DescriptorOf(blob_), &got);
    ASSERT_TRUE(status.ok()) << status;
  }
  EXPECT_EQ(tokens, 1);
  RegistryOptions options = Fast();
  options.endpoint.credentials = [](const std::string&, const auto&) {
    return Credentials{"", "id/token", ""};
  };
  got.clear();
  EXPECT_TRUE(Fetch(ClientFor(me + "/x:1", options).get(), DescriptorOf(blob_), &got).ok());
  EXPECT_EQ(tokens, 2);
}

TEST_F(ClientTest, MirrorsFailOverAlsoInsideABlob) {
  FakeHttpServer mirror([&](const FakeRequest&, FakeConnection* c) {
    c->Send(absl::StrCat("HTTP/1.1 200 X\r\nContent-Length: ", blob_.size(), "\r\n\r\n",
                         blob_.substr(0, 1000)));
  });
  FakeHttpServer server([&](const FakeRequest& r, FakeConnection* c) {
    size_t start = RangeStart(r);
    EXPECT_GE(start, 1000u);
    c->Respond(206, Partial(start, blob_), blob_.substr(start));
  });
  std::string dir = "/tmp/gantry-mirror-" + base::RandomHex(6);
  ASSERT_TRUE(base::MakeDirs(dir + "/r.example").ok());
  ASSERT_TRUE(base::WriteFile(dir + "/r.example/hosts.toml",
                              absl::StrCat("server = \"http://", server.host(),
                                           "\"\n[host.\"http://", mirror.host(), "\"]\n"))
                  .ok());
  RegistryOptions options = Fast();
  options.hosts.config_dir = dir;
  options.endpoint.retry.attempts = 1;
  std::string got;
  absl::Status status = Fetch(ClientFor("r.example/x:1", options).get(), DescriptorOf(blob_), &got);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(got, blob_);
  EXPECT_TRUE(base::RemoveTree(dir).ok());
}

TEST_F(ClientTest, AnInterruptedUploadContinues) {
  absl::Mutex mu;
  std::string stored;
  bool broken = false;
  FakeHttpServer server([&](const FakeRequest& r, FakeConnection* c) {
    absl::MutexLock lock(&mu);
    if (IsProbe(r)) return c->Respond(200, "", "");
    if (r.method == "HEAD") return c->Respond(404, "", "");
    std::string at = "Location: /v2/x/blobs/uploads/1?s=2\r\n";
    if (r.method == "POST") return c->Respond(202, at, "");
    if (r.method == "GET") {
      return c->Respond(204, absl::StrCat(at, "Range: 0-", stored.size() - 1, "\r\n"), "");
    }
    if (!broken) {
      broken = true;
      stored = r.body.substr(0, 5000);
      return;  // hangs up
    }
    EXPECT_EQ(r.headers.count("content-range") > 0, !r.body.empty());
    stored += r.body;
    if (r.method == "PATCH") return c->Respond(202, at, "");
    EXPECT_TRUE(absl::StrContains(r.target, "?s=2&digest=sha256%3A")) << r.target;
    c->Respond(201, "", "");
  });
  HttpBody source{blob_.size(), [&](uint64_t at, char* to, size_t want, size_t* got) {
                    memcpy(to, blob_.data() + at, want);
                    *got = want;
                    return absl::OkStatus();
                  }};
  auto pushed = ClientFor(server.host() + "/x:1")->PushBlob(DescriptorOf(blob_), source, {});
  ASSERT_TRUE(pushed.ok()) << pushed.status();
  absl::MutexLock lock(&mu);
  EXPECT_EQ(stored, blob_);
}

TEST_F(ClientTest, StopsWhenCancelled) {
  FakeHttpServer server([&](const FakeRequest& r, FakeConnection* c) {
    if (IsProbe(r)) return c->Respond(200, "", "");
    c->Stall(absl::Seconds(60));
  });
  RegistryOptions options = Fast();
  options.endpoint.stall_timeout = absl::Seconds(60);
  absl::Time begin = absl::Now();
  options.endpoint.cancelled = [begin] { return absl::Now() - begin > absl::Milliseconds(300); };
  std::string got;
  EXPECT_EQ(
      Fetch(ClientFor(server.host() + "/x:1", options).get(), DescriptorOf(blob_), &got).code(),
      absl::StatusCode::kCancelled);
  EXPECT_LT(absl::Now() - begin, absl::Seconds(10));
}

}  // namespace
}  // namespace gantry::services
