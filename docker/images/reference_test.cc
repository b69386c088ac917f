#include "docker/images/reference.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::docker {
namespace {

using ::testing::HasSubstr;

const std::string kHex(64, 'a');

TEST(ImageReferenceTest, CompletesAndShortensNames) {
  const struct {
    std::string typed, stored, familiar;
  } cases[] = {
      {"busybox", "docker.io/library/busybox", "busybox"},
      {"busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"},
      {"a/b", "docker.io/a/b", "a/b"},
      {"docker.io/library/x:1", "docker.io/library/x:1", "x:1"},
      {"docker.io/x", "docker.io/library/x", "x"},
      {"index.docker.io/a/b:2", "docker.io/a/b:2", "a/b:2"},
      {"127.0.0.1:5000/x/y:1", "127.0.0.1:5000/x/y:1", "127.0.0.1:5000/x/y:1"},
      {"localhost/x", "localhost/x", "localhost/x"},
      {"REG/x", "REG/x", "REG/x"},
      {"[::1]:5000/x", "[::1]:5000/x", "[::1]:5000/x"},
      {"a__b/c---d/e.f", "docker.io/a__b/c---d/e.f", "a__b/c---d/e.f"},
      {"x@sha256:" + kHex, "docker.io/library/x@sha256:" + kHex, "x@sha256:" + kHex},
      {"x:t@sha256:" + kHex, "docker.io/library/x:t@sha256:" + kHex, "x:t@sha256:" + kHex},
  };
  for (const auto& c : cases) {
    auto reference = ParseImageReference(c.typed);
    ASSERT_TRUE(reference.ok()) << c.typed << reference.status();
    EXPECT_EQ(reference->str(), c.stored);
    EXPECT_EQ(reference->Familiar(), c.familiar);
  }
}

TEST(ImageReferenceTest, RefusesWithDockersWords) {
  const struct {
    std::string typed, message;
  } cases[] = {
      {"", "invalid reference format"},
      {"Foo", "invalid reference format: repository name (library/Foo) must be lowercase"},
      {"a/B:x", "invalid reference format: repository name (a/B) must be lowercase"},
      {"a//b", "invalid reference format"},
      {"a/../b", "invalid reference format"},
      {"/a", "invalid reference format"},
      {"a/", "invalid reference format"},
      {"a:", "invalid reference format"},
      {"a:.x", "invalid reference format"},
      {"a:b/c", "invalid reference format"},
      {"a___b", "invalid reference format"},
      {"a..b", "invalid reference format"},
      {"-a", "invalid reference format"},
      {"a b", "invalid reference format"},
      {std::string("a\nb"), "invalid reference format"},
      {std::string("a\0b", 3), "invalid reference format"},
      {"a@sha256:12", "invalid reference format"},
      {"x.y:z/a", "invalid reference format"},
      {kHex, "cannot specify 64-byte hexadecimal strings"},
      {std::string(300, 'a'), "must not be more than 255 characters"},
      {"a:" + std::string(129, 'a'), "invalid reference format"},
  };
  for (const auto& c : cases) {
    auto reference = ParseImageReference(c.typed);
    EXPECT_EQ(reference.status().code(), absl::StatusCode::kInvalidArgument) << c.typed;
    EXPECT_THAT(reference.status().message(), HasSubstr(c.message)) << c.typed;
  }
}

TEST(ImageReferenceTest, DefaultsTheTag) {
  EXPECT_EQ(ParseImageReference("x")->WithDefaultTag().str(), "docker.io/library/x:latest");
  EXPECT_EQ(ParseImageReference("x:1")->WithDefaultTag().str(), "docker.io/library/x:1");
  EXPECT_EQ(ParseImageReference("x@sha256:" + kHex)->WithDefaultTag().tag, "");
  EXPECT_EQ(ParseImageReference("x:1@sha256:" + kHex)->WithoutTagIfDigested().tag, "");
}

TEST(ImageReferenceTest, KnowsDanglingNames) {
  EXPECT_TRUE(IsDanglingName(DanglingName(base::DigestOf("x"))));
  EXPECT_FALSE(IsDanglingName("docker.io/library/moby-dangling:1"));
}

}  // namespace
}  // namespace gantry::docker
