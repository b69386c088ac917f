#include "services/registry/hosts.h"

#include "base/file.h"
#include "base/ids.h"
#include "gtest/gtest.h"

namespace gantry::services {
namespace {

class HostsTest : public ::testing::Test {
 protected:
  void SetUp() override { dir_ = "/tmp/gantry-hosts-" + base::RandomHex(6); }
  void TearDown() override { ASSERT_TRUE(base::RemoveTree(dir_).ok()); }
  void Put(const std::string& name, const std::string& text) {
    ASSERT_TRUE(base::MakeDirs(dir_ + "/" + name.substr(0, name.rfind('/'))).ok());
    ASSERT_TRUE(base::WriteFile(dir_ + "/" + name, text).ok());
  }
  std::string dir_;
};

TEST_F(HostsTest, DefaultsWithoutFiles) {
  auto hub = HostsFor("docker.io", {});
  ASSERT_TRUE(hub.ok());
  EXPECT_EQ((*hub)[0].base_url(), "https://registry-1.docker.io/v2");
  EXPECT_EQ((*HostsFor("h.example", {}))[0].base_url(), "https://h.example/v2");
  EXPECT_EQ((*HostsFor("127.0.0.1:5000", {}))[0].base_url(), "http://127.0.0.1:5000/v2");
  EXPECT_TRUE((*HostsFor("127.0.0.1:5000", {}))[0].scheme_guessed);
  EXPECT_EQ((*HostsFor("localhost:443", {}))[0].scheme, "https");
  EXPECT_EQ((*HostsFor("h.example", {"", "http"}))[0].scheme, "http");
  EXPECT_FALSE(HostsFor("h.example", {"", "ftp"}).ok());
}

TEST_F(HostsTest, ReadsMirrorsInTheOrderOfTheFile) {
  Put("h.example_5000_/hosts.toml", R"(
server = "https://h.example:5000"
ca = "ca.pem"
[host."https://z.mirror/pre"]
  capabilities = ["pull", "resolve"]
  skip_verify = true
  [host."https://z.mirror/pre".header]
    x-a = ["1", "2"]
[host."http://a.mirror/api"]
  override_path = true
  client = [["c.pem", "/abs/k.pem"]]
  dial_timeout = "3s"
)");
  auto hosts = HostsFor("h.example:5000", {dir_, ""});
  ASSERT_TRUE(hosts.ok()) << hosts.status();
  ASSERT_EQ(hosts->size(), 3u);
  const RegistryHost& z = (*hosts)[0];
  EXPECT_EQ(z.base_url(), "https://z.mirror/pre/v2");
  EXPECT_EQ(z.capabilities, unsigned{RegistryHost::kPull | RegistryHost::kResolve});
  EXPECT_TRUE(*z.skip_verify);
  EXPECT_EQ(z.headers.size(), 2u);
  const RegistryHost& a = (*hosts)[1];
  EXPECT_EQ(a.base_url(), "http://a.mirror/api");
  EXPECT_EQ(a.client_cert, dir_ + "/h.example_5000_/c.pem");
  EXPECT_EQ(a.client_key, "/abs/k.pem");
  EXPECT_EQ(a.dial_timeout, absl::Seconds(3));
  EXPECT_EQ((*hosts)[2].base_url(), "https://h.example:5000/v2");
  EXPECT_EQ((*hosts)[2].ca_files[0], dir_ + "/h.example_5000_/ca.pem");
}

TEST_F(HostsTest, FallsBackToDefaultDirectoryAndCertificateFiles) {
  Put("_default/hosts.toml", "[host.\"http://m\"]\n");
  auto hosts = HostsFor("other.example", {dir_, ""});
  ASSERT_TRUE(hosts.ok());
  ASSERT_EQ(hosts->size(), 2u);
  EXPECT_EQ((*hosts)[1].base_url(), "https://other.example/v2");
  Put("d.example/ca.crt", "x");
  Put("d.example/me.cert", "x");
  Put("d.example/me.key", "x");
  auto docker = HostsFor("d.example", {dir_, ""});
  ASSERT_TRUE(docker.ok());
  EXPECT_EQ((*docker)[0].ca_files[0], dir_ + "/d.example/ca.crt");
  EXPECT_EQ((*docker)[0].client_key, dir_ + "/d.example/me.key");
}

TEST_F(HostsTest, NamesTheFaultInABrokenFile) {
  for (const char* text :
       {"server = ", "capabilities = [\"fly\"]", "ca = 1", "skip_verify = 3",
        "server = \"ftp://x\"", "[header]\na = \"b\\nc\"", "server=\"http://u@h\""}) {
    Put("h/hosts.toml", text);
    EXPECT_EQ(HostsFor("h", {dir_, ""}).status().code(), absl::StatusCode::kInvalidArgument)
        << text;
  }
}

}  // namespace
}  // namespace gantry::services
