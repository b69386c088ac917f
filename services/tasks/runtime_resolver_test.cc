#include "services/tasks/runtime_resolver.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::services {
namespace {

using ::testing::HasSubstr;

TEST(RuntimeResolver, NamesBinaries) {
  EXPECT_EQ(RuntimeResolver::BinaryName("io.containerd.runc.v2"), "containerd-shim-runc-v2");
  EXPECT_EQ(RuntimeResolver::BinaryName("a.b"), "containerd-shim-a-b");
  EXPECT_EQ(RuntimeResolver::BinaryName("runc"), "");
  EXPECT_EQ(RuntimeResolver::BinaryName(".v2"), "");
  EXPECT_EQ(RuntimeResolver::BinaryName(""), "");
}

TEST(RuntimeResolver, FollowsConfigurationThenTheRules) {
  RuntimeResolver resolver({{"io.containerd.runc.v2", "/bin/sh"},
                            {"alias", "/no/such/file"},
                            {"other", "io.containerd.nosuch.v9"}});
  EXPECT_EQ(*resolver.Resolve("io.containerd.runc.v2"), "/bin/sh");
  EXPECT_EQ(*resolver.Resolve("/bin/cat"), "/bin/cat");
  EXPECT_EQ(resolver.Resolve("alias").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(resolver.Resolve("/no/such/file").status().code(), absl::StatusCode::kNotFound);
  auto missing = resolver.Resolve("other");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.status().message()),
              HasSubstr("\"other\" binary not installed \"containerd-shim-nosuch-v9\""));
  for (const char* bad : {"bin/sh", "./x.y", "runc", ""}) {
    EXPECT_EQ(resolver.Resolve(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

}  // namespace
}  // namespace gantry::services
