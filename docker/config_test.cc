#include "docker/config.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::docker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(DaemonConfigTest, NothingIsTheDefaults) {
  for (const char* text : {"", "  \n", "{}"}) {
    auto config = ParseDaemonConfig(text);
    ASSERT_TRUE(config.ok()) << text << config.status();
    EXPECT_EQ(config->log_driver, "json-file");
    EXPECT_EQ(config->default_shm_size, 64 << 20);
    EXPECT_TRUE(config->icc);
    EXPECT_FALSE(config->live_restore);
  }
}

TEST(DaemonConfigTest, ReadsAFileAsPeopleHaveIt) {
  auto config = ParseDaemonConfig(R"({
    "data-root": "/srv/docker", "live-restore": true, "bip": "10.9.0.1/24", "mtu": 1400,
    "registry-mirrors": ["https://mirror.example"], "insecure-registries": ["r:5000", "10.0.0.0/8"],
    "log-driver": "local", "log-opts": {"max-size": "10m", "max-file": "3"},
    "default-ulimits": {"nofile": {"Name": "nofile", "Hard": 64000, "Soft": 64000}},
    "default-address-pools": [{"base": "172.80.0.0/16", "size": 24}],
    "default-shm-size": "1g", "dns": ["8.8.8.8"], "features": {"buildkit": true},
    "runtimes": {"x": {"path": "/usr/bin/x", "runtimeArgs": []}},
    "proxies": {"https-proxy": "http://p:3128"}, "host-gateway-ip": "1.2.3.4",
    "default-network-opts": {"bridge": {"com.docker.network.driver.mtu": "1234"}},
    "builder": {"gc": {"enabled": true}}})");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->data_root, "/srv/docker");
  EXPECT_TRUE(config->live_restore);
  EXPECT_EQ(config->bip, "10.9.0.1/24");
  EXPECT_EQ(config->mtu, 1400);
  EXPECT_THAT(config->registry_mirrors, ElementsAre("https://mirror.example"));
  EXPECT_THAT(config->insecure_registries, ElementsAre("r:5000", "10.0.0.0/8"));
  EXPECT_EQ(config->log_options["max-size"], "10m");
  EXPECT_EQ(config->default_ulimits["nofile"].hard, 64000);
  EXPECT_EQ(config->default_address_pools[0].size, 24);
  EXPECT_EQ(config->default_shm_size, 1 << 30);
  EXPECT_TRUE(config->features["buildkit"]);
  EXPECT_EQ(config->runtimes["x"], "/usr/bin/x");
  EXPECT_EQ(config->https_proxy, "http://p:3128");
  EXPECT_THAT(config->host_gateway_ips, ElementsAre("1.2.3.4"));
  EXPECT_EQ(config->default_network_options["bridge"]["com.docker.network.driver.mtu"], "1234");
  EXPECT_THAT(config->unused, ElementsAre("builder"));
}

TEST(DaemonConfigTest, RefusesWhatItCannotMean) {
  const struct {
    const char* text;
    const char* message;
  } cases[] = {
      {R"({"live-restor": true, "zzz": 1})",
       "the following directives don't match any configuration option: live-restor, zzz"},
      {R"({"debug": "yes"})", "\"debug\" must be true or false"},
      {R"({"mtu": 1.5})", "\"mtu\" must be a whole number"},
      {R"({"mtu": -1})", "invalid default MTU: -1"},
      {R"({"dns": "8.8.8.8"})", "\"dns\" must be a list of strings"},
      {R"({"log-opts": {"max-file": 3}})", "\"log-opts.max-file\" must be a string"},
      {R"({"default-shm-size": "1x"})", "invalid size: '1x'"},
      {R"({"default-shm-size": "99999999999g"})", "invalid size: '99999999999g'"},
      {R"({"registry-mirrors": ["mirror"]})", "invalid mirror"},
      {R"({"registry-mirrors": ["https://m/path"]})", "invalid mirror"},
      {R"({"insecure-registries": ["http://r"]})", "should not contain '://'"},
      {R"({"labels": ["x"]})", "bad attribute format: x"},
      {R"({"max-concurrent-downloads": -1})", "invalid max concurrent downloads: -1"},
      {R"({"default-ulimits": {"n": {"Hard": 1, "Soft": 2}}})", "soft limit must be less"},
      {R"({"runtimes": {"x": {}}})", "must be configured for runtime \"x\""},
      {R"([])", "must hold an object"},
      {R"({"debug": true)", ""},
  };
  for (const auto& c : cases) {
    auto config = ParseDaemonConfig(c.text);
    EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument) << c.text;
    EXPECT_THAT(config.status().message(), HasSubstr(c.message)) << c.text;
  }
}

TEST(DaemonConfigTest, AMissingFileIsNotFound) {
  EXPECT_TRUE(absl::IsNotFound(LoadDaemonConfig("/nonexistent/daemon.json").status()));
}

}  // namespace
}  // namespace gantry::docker
