#include "docker/images/registry_hosts.h"

#include <stdlib.h>

#include "absl/strings/match.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::docker {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(RegistryHostsTest, KnowsAddressesOfNetworks) {
  DaemonConfig config;
  config.insecure_registries = {"10.0.0.0/8", "fd00::/12", "192.168.1.128/25", "bad/33"};
  for (const char* yes : {"10.1.2.3:5000", "10.255.0.1", "[fd0f::1]:5000", "192.168.1.200:80"}) {
    EXPECT_TRUE(IsInsecureAddress(config, yes)) << yes;
  }
  for (const char* no : {"11.1.2.3:5000", "[fe00::1]:5000", "192.168.1.100:80", "name:5000", ""}) {
    EXPECT_FALSE(IsInsecureAddress(config, no)) << no;
  }
}

TEST(RegistryHostsTest, WritesAFileForThoseThatNeedOne) {
  DaemonConfig config;
  config.insecure_registries = {"r.example:5000", "10.0.0.0/8", "../../etc", "evil\"]\nx=\"y"};
  config.registry_mirrors = {"https://mirror.example/", "http://m2.example"};
  auto files = HostsFiles(config);
  ASSERT_EQ(files.size(), 2u);
  EXPECT_THAT(files["r.example:5000"], HasSubstr("[host.\"https://r.example:5000\"]"));
  EXPECT_THAT(files["r.example:5000"], HasSubstr("skip_verify = true"));
  EXPECT_THAT(files["r.example:5000"], HasSubstr("[host.\"http://r.example:5000\"]"));
  EXPECT_THAT(files["docker.io"], HasSubstr("[host.\"https://mirror.example\"]"));
  EXPECT_THAT(files["docker.io"], HasSubstr("[host.\"http://m2.example\"]"));
  EXPECT_THAT(files["docker.io"], Not(HasSubstr("skip_verify")));
}

TEST(RegistryHostsTest, PutsItBeforeThePeoplesOwn) {
  char dir[] = "/tmp/gantry-hosts-XXXXXX";
  ASSERT_NE(mkdtemp(dir), nullptr);
  DaemonConfig config;
  config.insecure_registries = {"r:5000", "10.0.0.0/8"};
  RegistryHosts hosts(config, dir, "/etc/x");
  EXPECT_EQ(*hosts.DirFor("docker.io"), "/etc/x");
  for (const char* registry : {"r:5000", "10.9.9.9:80"}) {
    auto found = hosts.DirFor(registry);
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_TRUE(absl::EndsWith(*found, ":/etc/x"));
    const std::string file = found->substr(0, found->find(':')) + "/" + registry + "/hosts.toml";
    EXPECT_TRUE(base::Exists(file)) << file;
  }
  EXPECT_TRUE(base::RemoveTree(dir).ok());
}

}  // namespace
}  // namespace gantry::docker
