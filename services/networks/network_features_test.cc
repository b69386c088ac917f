// IPv6, drivers and options of networks on the real kernel.

#include <netinet/in.h>
#include <sys/socket.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/networks/ip_address.h"
#include "services/networks/netns.h"
#include "services/networks/network_manager.h"
#include "services/networks/testing_host.h"

namespace gantry::services::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class NetworkFeaturesTest : public HostTest {
 protected:
  networks::Network MakeWith(networks::Network network) {
    networks::CreateNetworkRequest request;
    *request.mutable_network() = std::move(network);
    auto response = manager_->Create(kNs, request);
    EXPECT_TRUE(response.ok()) << response.status();
    return response.ok() ? response->network() : networks::Network();
  }
  networks::Network DualStack(const std::string& name) {
    networks::Network network;
    network.set_name(name);
    network.set_enable_ipv4(true);
    network.set_enable_ipv6(true);
    return network;
  }
  static std::string Address6(const networks::Sandbox& sandbox, int endpoint = 0) {
    std::string address = sandbox.endpoints(endpoint).ipv6_address();
    return address.substr(0, address.find('/'));
  }
};

TEST_F(NetworkFeaturesTest, SpeaksIpv6) {
  networks::Network network = MakeWith(DualStack("six"));
  ASSERT_EQ(network.ipam_size(), 2);
  EXPECT_TRUE(Cidr::Parse("fd00::/8")->Contains(*Cidr::Parse(network.ipam(1).subnet())));
  networks::Sandbox a = MakeContainer("a", "six", {Port("", 8080, 80)});
  networks::Sandbox b = MakeContainer("b", "six");
  base::UniqueFd in_a = Netns("a"), in_b = Netns("b");
  Greeter server(in_a.get(), "a", "::", 80);
  EXPECT_EQ(Ask(in_b.get(), Address6(a), 80), "a " + Address6(b));
  EXPECT_EQ(Ask(outside(), "fd99::1", 8080), "a fd99::2");
  EXPECT_EQ(Ask(outside(), "10.99.0.1", 8080), "a ::ffff:10.99.0.2");
  EXPECT_THAT(Ask(in_b.get(), "fd99::1", 8080), HasSubstr("a "));
  Greeter world(outside(), "world", "fd99::2", 81);
  EXPECT_EQ(Ask(in_a.get(), "fd99::2", 81), "world fd99::1");
  ASSERT_EQ(a.ports_size(), 2);
  EXPECT_EQ(a.ports(1).host_ip(), "::");
  EXPECT_EQ(a.ports(1).host_port(), 8080u);
  // Not published: not reached.
  RunIn(outside(), {"ip", "-6", "route", "add", network.ipam(1).subnet(), "via", "fd99::1"});
  EXPECT_EQ(Ask(outside(), Address6(a), 80), "timeout");
  RunIn(outside(), {"ip", "-6", "route", "del", network.ipam(1).subnet()});
}

// CVE-2020-13401: a container is no router of the host.
TEST_F(NetworkFeaturesTest, HearsNoRouterAdvertisements) {
  MakeWith(DualStack("six"));
  MakeContainer("a", "six");
  base::UniqueFd in_a = Netns("a");
  std::string before = RunIn(host(), {"ip", "-6", "route", "show", "default"});
  absl::SleepFor(absl::Seconds(2));  // until its link-local address may be used
  base::UniqueFd raw;
  ASSERT_TRUE(InNetns(in_a.get(), [&] {
                raw.Reset(socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMPV6));
                return absl::OkStatus();
              }).ok());
  int hops = 255;
  setsockopt(raw.get(), IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &hops, sizeof hops);
  std::string index = RunIn(in_a.get(), {"cat", "/sys/class/net/eth0/ifindex"}, false);
  sockaddr_in6 all_nodes = {};
  all_nodes.sin6_family = AF_INET6;
  std::string bytes = "\xff\x02" + std::string(13, '\0') + "\x01";
  memcpy(&all_nodes.sin6_addr, bytes.data(), 16);
  ASSERT_EQ(setsockopt(raw.get(), SOL_SOCKET, SO_BINDTODEVICE, "eth0", 5), 0);
  // Router advertisement: type 134, lifetime 1800 seconds, nothing else.
  const char message[16] = {static_cast<char>(134), 0, 0, 0, 64, 0, 0x07, 0x08};
  EXPECT_EQ(sendto(raw.get(), message, sizeof message, 0, reinterpret_cast<sockaddr*>(&all_nodes),
                   sizeof all_nodes),
            static_cast<ssize_t>(sizeof message))
      << strerror(errno);
  absl::SleepFor(absl::Milliseconds(300));
  EXPECT_EQ(RunIn(host(), {"ip", "-6", "route", "show", "default"}), before);
}

TEST_F(NetworkFeaturesTest, SeparatesContainersWithoutIcc) {
  networks::Network network;
  network.set_name("quiet");
  (*network.mutable_options())["com.docker.network.bridge.enable_icc"] = "false";
  (*network.mutable_options())["com.docker.network.bridge.name"] = "quiet0";
  (*network.mutable_options())["com.docker.network.driver.mtu"] = "1400";
  MakeWith(network);
  networks::Sandbox a = MakeContainer("a", "quiet"), b = MakeContainer("b", "quiet");
  base::UniqueFd in_a = Netns("a"), in_b = Netns("b");
  Greeter server(in_b.get(), "b", "0.0.0.0", 80);
  EXPECT_THAT(Ask(in_a.get(), AddressOf(b), 80), ::testing::AnyOf("timeout", "No route to host"));
  EXPECT_THAT(Ask(host(), AddressOf(b), 80), HasSubstr("b "));
  EXPECT_THAT(RunIn(in_a.get(), {"ip", "link", "show", "dev", "eth0"}), HasSubstr("mtu 1400"));
  EXPECT_THAT(RunIn(host(), {"ip", "link", "show", "dev", "quiet0"}), HasSubstr("mtu 1400"));
}

TEST_F(NetworkFeaturesTest, RoutesInsteadOfTranslating) {
  networks::Network network;
  network.set_name("routed");
  (*network.mutable_options())["com.docker.network.bridge.gateway_mode_ipv4"] = "routed";
  MakeWith(network);
  networks::Sandbox a = MakeContainer("a", "routed", {Port("", 0, 80)});
  base::UniqueFd in_a = Netns("a");
  RunIn(outside(), {"ip", "route", "add", "172.16.0.0/12", "via", "10.99.0.1"});
  Greeter server(in_a.get(), "a", "0.0.0.0", 80);
  Greeter secret(in_a.get(), "secret", "0.0.0.0", 81);
  Greeter world(outside(), "world", "10.99.0.2", 82);
  EXPECT_EQ(Ask(outside(), AddressOf(a), 80), "a 10.99.0.2");
  EXPECT_EQ(Ask(outside(), AddressOf(a), 81), "timeout");
  EXPECT_EQ(Ask(in_a.get(), "10.99.0.2", 82), "world " + AddressOf(a));
  RunIn(outside(), {"ip", "route", "del", "172.16.0.0/12"});
}

TEST_F(NetworkFeaturesTest, ChoosesTheGatewayByPriority) {
  MakeNetwork("aaa", "10.71.0.0/24");
  MakeNetwork("zzz", "10.72.0.0/24");
  networks::SetUpRequest request;
  request.set_container_id("a");
  request.add_endpoints()->set_network("zzz");
  request.add_endpoints()->set_network("aaa");
  ASSERT_TRUE(manager_->SetUp(kNs, request).ok());
  EXPECT_THAT(RunIn(Netns("a").get(), {"ip", "route"}), HasSubstr("default via 10.71.0.1"));
  request.set_container_id("b");
  request.mutable_endpoints(0)->set_gateway_priority(1);
  ASSERT_TRUE(manager_->SetUp(kNs, request).ok());
  EXPECT_THAT(RunIn(Netns("b").get(), {"ip", "route"}), HasSubstr("default via 10.72.0.1"));
}

TEST_F(NetworkFeaturesTest, TakesAddressesFromTheRange) {
  networks::Network network;
  network.set_name("ranged");
  auto* ipam = network.add_ipam();
  ipam->set_subnet("10.73.0.0/24");
  ipam->set_ip_range("10.73.0.128/25");
  ipam->set_gateway("10.73.0.254");
  (*ipam->mutable_auxiliary_addresses())["printer"] = "10.73.0.128";
  MakeWith(network);
  networks::Sandbox a = MakeContainer("a", "ranged");
  EXPECT_EQ(a.endpoints(0).ipv4_address(), "10.73.0.129/24");
  EXPECT_EQ(a.endpoints(0).ipv4_gateway(), "10.73.0.254");
}

TEST_F(NetworkFeaturesTest, PutsContainersOnTheWire) {
  networks::Network network;
  network.set_name("wire");
  network.set_driver("macvlan");
  network.add_ipam()->set_subnet("10.98.0.0/24");
  (*network.mutable_options())["parent"] = "up0";
  networks::Network made = MakeWith(network);
  if (made.id().empty()) return;
  networks::Sandbox a = MakeContainer("a", "wire");
  networks::Sandbox b = MakeContainer("b", "wire");
  base::UniqueFd in_a = Netns("a"), in_b = Netns("b");
  RunIn(outside(), {"ip", "addr", "add", "10.98.0.200/24", "dev", "down0"});
  Greeter world(outside(), "world", "10.98.0.200", 80);
  Greeter server(in_b.get(), "b", "0.0.0.0", 80);
  EXPECT_EQ(Ask(in_a.get(), "10.98.0.200", 80), "world " + AddressOf(a));
  EXPECT_EQ(Ask(in_a.get(), AddressOf(b), 80), "b " + AddressOf(a));
  RunIn(outside(), {"ip", "addr", "del", "10.98.0.200/24", "dev", "down0"});
  networks::Network bad = network;
  bad.set_name("bad");
  bad.mutable_ipam(0)->set_subnet("10.97.0.0/24");
  (*bad.mutable_options())["parent"] = "nothere0";
  networks::CreateNetworkRequest request;
  *request.mutable_network() = bad;
  EXPECT_EQ(manager_->Create(kNs, request).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(NetworkFeaturesTest, SharesParentsByIpvlan) {
  if (RunIn(host(),
            {"sh", "-c",
             "ip link add name iv0 link up0 type ipvlan 2>/dev/null && ip link del iv0 && "
             "echo yes"},
            false) != "yes\n") {
    GTEST_SKIP() << "this kernel has no ipvlan";
  }
  networks::Network network;
  network.set_name("shared");
  network.set_driver("ipvlan");
  network.add_ipam()->set_subnet("10.96.0.0/24");
  (*network.mutable_options())["parent"] = "up0";
  MakeWith(network);
  networks::Sandbox a = MakeContainer("a", "shared"), b = MakeContainer("b", "shared");
  base::UniqueFd in_a = Netns("a"), in_b = Netns("b");
  Greeter server(in_b.get(), "b", "0.0.0.0", 80);
  EXPECT_EQ(Ask(in_a.get(), AddressOf(b), 80), "b " + AddressOf(a));
}

TEST_F(NetworkFeaturesTest, SetsUpThePredefinedBridge) {
  networks::CreateNetworkRequest request;
  networks::Network* wanted = request.mutable_network();
  wanted->set_name("bridge");
  wanted->set_predefined(true);
  auto* ipam = wanted->add_ipam();
  ipam->set_subnet("10.74.0.0/24");
  ipam->set_gateway("10.74.0.9");
  auto made = manager_->Create(kNs, request);
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->network().device(), "gantry0");
  networks::Sandbox a = MakeContainer("a", "bridge");
  EXPECT_EQ(a.endpoints(0).ipv4_gateway(), "10.74.0.9");
  EXPECT_EQ(manager_->Create(kNs, request)->network().id(), made->network().id());
  ipam->set_gateway("10.74.0.10");
  EXPECT_EQ(manager_->Create(kNs, request).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(NetworkFeaturesTest, TellsOfEveryChange) {
  std::vector<std::string> topics;
  db_->AddCommitListener([&topics](const CommitInfo& commit) {
    for (const NumberedEvent& event : commit.events) topics.push_back(event.envelope.topic());
  });
  MakeNetwork("mine");
  MakeContainer("a", "mine");
  ASSERT_TRUE(manager_->TearDown(kNs, "a").ok());
  ASSERT_TRUE(manager_->Delete(kNs, "mine").ok());
  EXPECT_THAT(topics, ::testing::ElementsAre("/network/create", "/network/connect",
                                             "/network/disconnect", "/network/destroy"));
}

TEST_F(NetworkFeaturesTest, AppliesSysctlsBeforeInterfaces) {
  networks::SetUpRequest request;
  request.set_container_id("a");
  request.add_endpoints()->set_network("bridge");
  (*request.mutable_sysctls())["net.ipv4.ip_unprivileged_port_start"] = "0";
  ASSERT_TRUE(manager_->SetUp(kNs, request).ok());
  base::UniqueFd in_a = Netns("a");
  EXPECT_EQ(RunIn(in_a.get(), {"cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"}), "0\n");
  request.set_container_id("b");
  (*request.mutable_sysctls())["net.nothing.like.this"] = "1";
  EXPECT_FALSE(manager_->SetUp(kNs, request).ok());
  EXPECT_FALSE(base::Exists(manager_->NetnsPath(kNs, "b")));
}

}  // namespace
}  // namespace gantry::services::testing
