#include "services/networks/network_settings.h"

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/networks/container_files.h"

namespace gantry::services {
namespace {

networks::Network Named(const std::string& name) {
  networks::Network network;
  network.set_name(name);
  return network;
}

TEST(NetworkSettingsTest, FillsInDefaults) {
  networks::Network network = Named("n");
  ASSERT_TRUE(CheckSettings(&network).ok());
  EXPECT_EQ(network.driver(), "bridge");
  EXPECT_TRUE(network.enable_ipv4());
  EXPECT_FALSE(network.enable_ipv6());
}

TEST(NetworkSettingsTest, RefusesBadNames) {
  for (const char* bad : {"", " ", "a/b", "a\nb"}) {
    networks::Network network = Named(bad);
    EXPECT_EQ(CheckSettings(&network).code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  for (const char* reserved : {"bridge", "host", "none", "default"}) {
    networks::Network network = Named(reserved);
    EXPECT_EQ(CheckSettings(&network).code(), absl::StatusCode::kPermissionDenied) << reserved;
  }
}

TEST(NetworkSettingsTest, RefusesBadSubnets) {
  struct Case {
    const char* subnet;
    const char* range;
    const char* gateway;
  };
  for (const Case& bad :
       {Case{"", "", ""}, Case{"10.0.0.1/24", "", ""}, Case{"10.0.0.0", "", ""},
        Case{"10.0.0.0/24", "10.0.1.0/25", ""}, Case{"10.0.0.0/24", "", "10.0.1.1"},
        Case{"127.0.0.0/8", "", ""}, Case{"0.0.0.0/0", "", ""}, Case{"fd00::/64", "", ""}}) {
    networks::Network network = Named("n");
    auto* ipam = network.add_ipam();
    ipam->set_subnet(bad.subnet);
    ipam->set_ip_range(bad.range);
    ipam->set_gateway(bad.gateway);
    EXPECT_EQ(CheckSettings(&network).code(), absl::StatusCode::kInvalidArgument) << bad.subnet;
  }
}

TEST(NetworkSettingsTest, TakesGatewaysAndAuxiliaryAddresses) {
  networks::Network network = Named("n");
  auto* ipam = network.add_ipam();
  ipam->set_subnet("10.0.0.0/29");
  (*ipam->mutable_auxiliary_addresses())["router"] = "10.0.0.2";
  ASSERT_TRUE(CheckSettings(&network).ok());
  auto subnets = TakeGateways(&network, {});
  ASSERT_TRUE(subnets.ok()) << subnets.status();
  EXPECT_EQ(network.ipam(0).gateway(), "10.0.0.1");
  EXPECT_EQ(subnets->at(0).TakeAny()->ToString(), "10.0.0.3");
}

TEST(NetworkSettingsTest, ReadsDriverOptions) {
  networks::Network network = Named("n");
  network.set_driver("bridge");
  auto& options = *network.mutable_options();
  options["com.docker.network.bridge.name"] = "mybr0";
  options["com.docker.network.bridge.enable_icc"] = "false";
  options["com.docker.network.driver.mtu"] = "1400";
  options["com.docker.network.bridge.gateway_mode_ipv6"] = "routed";
  options["something.else"] = "x";
  auto parsed = DriverOptions::Parse(network);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->bridge, "mybr0");
  EXPECT_FALSE(parsed->icc);
  EXPECT_EQ(parsed->mtu, 1400u);
  EXPECT_EQ(parsed->mode6, GatewayMode::kRouted);
  for (auto [key, value] : std::vector<std::pair<const char*, const char*>>{
           {"com.docker.network.bridge.name", "a-name-that-is-too-long"},
           {"com.docker.network.bridge.name", "a\" } ; flush ruleset"},
           {"com.docker.network.bridge.enable_icc", "maybe"},
           {"com.docker.network.driver.mtu", "-1"},
           {"com.docker.network.bridge.host_binding_ipv4", "::1"},
           {"com.docker.network.bridge.gateway_mode_ipv4", "isolated"}}) {
    networks::Network bad = network;
    (*bad.mutable_options())[key] = value;
    EXPECT_EQ(DriverOptions::Parse(bad).status().code(), absl::StatusCode::kInvalidArgument)
        << key << "=" << value;
  }
}

TEST(NetworkSettingsTest, RefusesBadContainers) {
  auto check = [](auto change) {
    networks::SetUpRequest request;
    request.set_container_id("c");
    change(request);
    return CheckSetUp(request).code();
  };
  using Request = networks::SetUpRequest;
  EXPECT_EQ(check([](Request&) {}), absl::StatusCode::kOk);
  constexpr auto kBad = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(check([](Request& r) { r.set_container_id("../x"); }), kBad);
  EXPECT_EQ(check([](Request& r) { r.set_container_id(""); }), kBad);
  EXPECT_EQ(check([](Request& r) { r.set_hostname("a\n127.0.0.1 evil"); }), kBad);
  EXPECT_EQ(check([](Request& r) { r.add_extra_hosts("x:1.2.3.4\n1.1.1.1 y"); }), kBad);
  EXPECT_EQ(check([](Request& r) { r.add_extra_hosts("nothing"); }), kBad);
  EXPECT_EQ(check([](Request& r) { r.mutable_dns()->add_servers("example"); }), kBad);
  EXPECT_EQ(check([](Request& r) { (*r.mutable_sysctls())["kernel.core_pattern"] = "|x"; }), kBad);
  EXPECT_EQ(check([](Request& r) { r.add_ports()->set_container_port(0); }), kBad);
  EXPECT_EQ(check([](Request& r) { r.add_endpoints()->set_network(""); }), kBad);
}

TEST(ContainerFilesTest, ReadsAndWritesResolvConf) {
  ResolvConf conf = ResolvConf::Parse(
      "# comment\nnameserver 127.0.0.53\nnameserver\t8.8.8.8 # x\ndomain a\nsearch b c\n"
      "options edns0 trust-ad\nnonsense\n");
  EXPECT_THAT(conf.servers, ::testing::ElementsAre("127.0.0.53", "8.8.8.8"));
  EXPECT_THAT(conf.search, ::testing::ElementsAre("b", "c"));
  EXPECT_THAT(ReachableServers(conf.servers), ::testing::ElementsAre("8.8.8.8"));
  EXPECT_THAT(conf.ToString(), ::testing::HasSubstr("search b c\noptions edns0 trust-ad\n"));
}

}  // namespace
}  // namespace gantry::services
