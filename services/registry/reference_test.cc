#include "services/registry/reference.h"

#include "gtest/gtest.h"

namespace gantry::services {
namespace {

const char kDigest[] = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

TEST(ReferenceTest, TakesFullReferencesApart) {
  auto r = ParseReference("127.0.0.1:5000/a/b_c:v1.0");
  ASSERT_TRUE(r.ok()) << r.status();
  EXPECT_EQ(r->host, "127.0.0.1:5000");
  EXPECT_EQ(r->repository, "a/b_c");
  EXPECT_EQ(r->tag, "v1.0");
  EXPECT_EQ(r->object(), "v1.0");
  auto d = ParseReference(std::string("docker.io/library/x:t@") + kDigest);
  ASSERT_TRUE(d.ok());
  EXPECT_EQ(d->object(), kDigest);
  EXPECT_EQ(d->str(), std::string("docker.io/library/x:t@") + kDigest);
  EXPECT_TRUE(ParseReference("[::1]:5000/x:1").ok());
}

TEST(ReferenceTest, RefusesWhatCouldBendAUrl) {
  for (const char* bad : {"", "busybox", "/x:1", "h/", "h/../x:1", "h/a//b:1", "h/a?b=c:1", "h/a#b",
                          "h/a b:1", "h/x:", "h/x:-1", "h/x@sha256:12", "ho st/x", "h@evil/x:1",
                          "h:port/x:1", "-h/x", "h/%2e/x", "a..b/x:1", "[::1/x:1"}) {
    EXPECT_EQ(ParseReference(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

TEST(ReferenceTest, CompletesAndShortensDockerNames) {
  EXPECT_EQ(*NormalizeDockerReference("busybox"), "docker.io/library/busybox:latest");
  EXPECT_EQ(*NormalizeDockerReference("u/x:1"), "docker.io/u/x:1");
  EXPECT_EQ(*NormalizeDockerReference("localhost/x:1"), "localhost/x:1");
  EXPECT_EQ(*NormalizeDockerReference("h:5000/x"), "h:5000/x:latest");
  EXPECT_EQ(FamiliarReference("docker.io/library/busybox:1"), "busybox:1");
  EXPECT_EQ(FamiliarReference("docker.io/u/x:1"), "u/x:1");
  EXPECT_EQ(FamiliarReference("h:5000/x:1"), "h:5000/x:1");
}

TEST(ReferenceTest, KnowsLoopback) {
  EXPECT_TRUE(IsLoopbackHost("localhost"));
  EXPECT_TRUE(IsLoopbackHost("localhost:5000"));
  EXPECT_TRUE(IsLoopbackHost("127.0.0.9:5000"));
  EXPECT_TRUE(IsLoopbackHost("[::1]:5000"));
  EXPECT_FALSE(IsLoopbackHost("127.evil.example:5000"));
  EXPECT_FALSE(IsLoopbackHost("localhost.example"));
  EXPECT_EQ(PortOf("[::1]:80"), "80");
  EXPECT_EQ(PortOf("[::1]"), "");
}

}  // namespace
}  // namespace gantry::services
