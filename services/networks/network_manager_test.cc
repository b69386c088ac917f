// Networks on the real kernel, in a network namespace of the test.

#include "services/networks/network_manager.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/networks/testing_host.h"

namespace gantry::services::testing {
namespace {

using ::testing::HasSubstr;

class NetworkManagerTest : public HostTest {};

TEST_F(NetworkManagerTest, HasThreePredefinedNetworks) {
  auto list = manager_->List(kNs);
  ASSERT_TRUE(list.ok()) << list.status();
  std::vector<std::string> names;
  for (const auto& network : list->networks()) {
    names.push_back(network.name() + " " + network.driver());
    EXPECT_TRUE(network.predefined());
    EXPECT_EQ(manager_->Delete(kNs, network.name()).code(), absl::StatusCode::kPermissionDenied);
  }
  EXPECT_THAT(names, ::testing::UnorderedElementsAre("bridge bridge", "host host", "none null"));
  // Nothing is in the kernel yet.
  EXPECT_THAT(RunIn(host(), {"ip", "-br", "link"}), Not(HasSubstr("gantry0")));
  // Another namespace's bridge is another one.
  auto other = manager_->Get("other", "bridge");
  ASSERT_TRUE(other.ok());
  EXPECT_NE(other->network().device(), manager_->Get(kNs, "bridge")->network().device());
  EXPECT_NE(other->network().ipam(0).subnet(),
            manager_->Get(kNs, "bridge")->network().ipam(0).subnet());
}

TEST_F(NetworkManagerTest, FindsByIdNameAndPrefix) {
  networks::Network a = MakeNetwork("zeta");
  EXPECT_EQ(manager_->Get(kNs, a.id())->network().id(), a.id());
  EXPECT_EQ(manager_->Get(kNs, "zeta")->network().id(), a.id());
  EXPECT_EQ(manager_->Get(kNs, a.id().substr(0, 12))->network().id(), a.id());
  EXPECT_EQ(manager_->Get(kNs, "nope").status(), absl::NotFoundError("network nope not found"));
  EXPECT_EQ(manager_->Get("other", "zeta").status().code(), absl::StatusCode::kNotFound);
  networks::CreateNetworkRequest again;
  again.mutable_network()->set_name("zeta");
  EXPECT_EQ(manager_->Create(kNs, again).status(),
            absl::AlreadyExistsError("network with name zeta already exists"));
  again.mutable_network()->set_name("b");
  again.mutable_network()->add_ipam()->set_subnet(a.ipam(0).subnet());
  EXPECT_EQ(manager_->Create(kNs, again).status(),
            absl::FailedPreconditionError("Pool overlaps with other one on this address space"));
}

TEST_F(NetworkManagerTest, ContainersReachEachOtherAndTheOutside) {
  networks::Sandbox a = MakeContainer("a", "bridge");
  networks::Sandbox b = MakeContainer("b", "bridge");
  EXPECT_EQ(a.netns_path(), manager_->NetnsPath(kNs, "a"));
  base::UniqueFd in_a = Netns("a"), in_b = Netns("b");
  Greeter in_container(in_b.get(), "b", "0.0.0.0", 80);
  EXPECT_EQ(Ask(in_a.get(), AddressOf(b), 80), "b " + AddressOf(a));
  EXPECT_EQ(Ask(host(), AddressOf(b), 80), "b " + a.endpoints(0).ipv4_gateway());
  // Outside they are all the host.
  Greeter world(outside(), "world", "10.99.0.2", 80);
  EXPECT_EQ(Ask(in_a.get(), "10.99.0.2", 80), "world 10.99.0.1");
  // And have no IPv6 (CVE-2024-32473).
  std::string addresses = RunIn(in_a.get(), {"ip", "-6", "addr", "show", "dev", "eth0"});
  EXPECT_EQ(addresses, "");
  EXPECT_EQ(RunIn(in_a.get(), {"cat", "/proc/sys/net/ipv6/conf/eth0/disable_ipv6"}), "1\n");
  EXPECT_EQ(RunIn(in_a.get(), {"cat", "/proc/sys/net/ipv6/conf/eth0/accept_ra"}), "0\n");
}

TEST_F(NetworkManagerTest, NetworksAreIsolatedFromEachOther) {
  MakeNetwork("front");
  MakeNetwork("back");
  networks::Sandbox a = MakeContainer("a", "front");
  networks::Sandbox b = MakeContainer("b", "back");
  base::UniqueFd in_a = Netns("a"), in_b = Netns("b");
  Greeter in_container(in_b.get(), "b", "0.0.0.0", 80);
  EXPECT_EQ(Ask(in_a.get(), AddressOf(b), 80), "timeout");
  EXPECT_EQ(manager_->Delete(kNs, "back").code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(manager_->Delete(kNs, "back").message(),
              HasSubstr(" has active endpoints (name:\"b\" id:\""));
}

TEST_F(NetworkManagerTest, PublishesPortsToEverybody) {
  networks::Sandbox web = MakeContainer("web", "bridge", {Port("", 8080, 80), Port("", 0, 81)});
  MakeNetwork("other");
  networks::Sandbox sibling = MakeContainer("sibling", "bridge");
  networks::Sandbox stranger = MakeContainer("stranger", "other");
  base::UniqueFd in_web = Netns("web"), in_sibling = Netns("sibling"), far = Netns("stranger");
  Greeter server(in_web.get(), "web", "0.0.0.0", 80);
  Greeter second(in_web.get(), "second", "0.0.0.0", 81);
  // The address of who asks is kept …
  EXPECT_EQ(Ask(outside(), "10.99.0.1", 8080), "web 10.99.0.2");
  EXPECT_EQ(Ask(outside(), "10.99.0.3", 8080), "web 10.99.0.2");
  // … but for the host itself,
  std::string gateway = web.endpoints(0).ipv4_gateway();
  EXPECT_EQ(Ask(host(), "127.0.0.1", 8080), "web " + gateway);
  EXPECT_THAT(Ask(host(), "10.99.0.1", 8080), HasSubstr("web "));
  EXPECT_THAT(Ask(host(), gateway, 8080), HasSubstr("web "));
  // siblings and the container itself, by way of the host.
  EXPECT_EQ(Ask(in_sibling.get(), "10.99.0.1", 8080), "web " + gateway);
  EXPECT_EQ(Ask(in_web.get(), "10.99.0.1", 8080), "web " + gateway);
  // The same where the bridge asks no packet filter.
  std::string bridge_filter = "/proc/sys/net/bridge/bridge-nf-call-iptables";
  RunIn(host(), {"sh", "-c", "echo 0 > " + bridge_filter});
  EXPECT_EQ(Ask(in_sibling.get(), "10.99.0.1", 8080), "web " + gateway);
  EXPECT_EQ(Ask(in_web.get(), "10.99.0.1", 8080), "web " + gateway);
  RunIn(host(), {"sh", "-c", "echo 1 > " + bridge_filter});
  EXPECT_THAT(Ask(far.get(), "10.99.0.1", 8080), HasSubstr("web "));
  ASSERT_EQ(web.ports_size(), 2);
  EXPECT_EQ(web.ports(0).host_ip(), "0.0.0.0");
  EXPECT_EQ(Ask(outside(), "10.99.0.1", static_cast<int>(web.ports(1).host_port())),
            "second 10.99.0.2");
  // What is not published is not reached by those who send directly (CVE-2025-54388).
  RunIn(outside(), {"ip", "route", "add", "172.16.0.0/12", "via", "10.99.0.1"});
  EXPECT_EQ(Ask(outside(), AddressOf(web), 80), "timeout");
  RunIn(outside(), {"ip", "route", "del", "172.16.0.0/12"});
  // Gone with the container.
  ASSERT_TRUE(manager_->TearDown(kNs, "web").ok());
  EXPECT_EQ(Ask(outside(), "10.99.0.1", 8080), "refused");
  EXPECT_EQ(Ask(host(), "127.0.0.1", 8080), "refused");
}

TEST_F(NetworkManagerTest, PublishesOnOneAddressOnly) {
  networks::Sandbox web =
      MakeContainer("web", "bridge", {Port("127.0.0.1", 8080, 80), Port("10.99.0.3", 9090, 80)});
  base::UniqueFd in_web = Netns("web");
  Greeter server(in_web.get(), "web", "0.0.0.0", 80);
  EXPECT_THAT(Ask(host(), "127.0.0.1", 8080), HasSubstr("web "));
  EXPECT_EQ(Ask(outside(), "10.99.0.1", 8080), "refused");
  EXPECT_EQ(Ask(outside(), "10.99.0.3", 9090), "web 10.99.0.2");
  EXPECT_EQ(Ask(outside(), "10.99.0.1", 9090), "refused");
  // A neighbour that sends to 127.0.0.1 over the wire.
  RunIn(outside(), {"sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/down0/route_localnet"});
  RunIn(outside(), {"ip", "link", "set", "lo", "up"});
  RunIn(outside(), {"ip", "addr", "del", "127.0.0.1/8", "dev", "lo"});
  RunIn(outside(), {"ip", "route", "add", "127.0.0.0/8", "via", "10.99.0.1"});
  EXPECT_EQ(Ask(outside(), "127.0.0.1", 8080, false, absl::Milliseconds(500), "10.99.0.2"),
            "timeout");
  RunIn(outside(), {"ip", "route", "del", "127.0.0.0/8"});
  RunIn(outside(), {"ip", "addr", "add", "127.0.0.1/8", "dev", "lo"});
}

// CVE-2025-67499: a published port is one of this host, not of every host.
TEST_F(NetworkManagerTest, LeavesTrafficToOtherHostsAlone) {
  networks::Sandbox web = MakeContainer("web", "bridge", {Port("", 8080, 80)});
  MakeContainer("client", "bridge");
  base::UniqueFd in_web = Netns("web"), client = Netns("client");
  Greeter server(in_web.get(), "web", "0.0.0.0", 80);
  Greeter world(outside(), "world", "10.99.0.2", 8080);
  EXPECT_EQ(Ask(client.get(), "10.99.0.2", 8080), "world 10.99.0.1");
  EXPECT_EQ(Ask(host(), "10.99.0.2", 8080), "world 10.99.0.1");
}

// CVE-2020-8558: containers do not reach what listens on the host's loopback.
TEST_F(NetworkManagerTest, HidesTheHostsLoopback) {
  networks::Sandbox a = MakeContainer("a", "bridge", {Port("127.0.0.1", 8080, 80)});
  base::UniqueFd in_a = Netns("a");
  Greeter secret(host(), "secret", "127.0.0.1", 7000);
  RunIn(in_a.get(), {"sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet"});
  RunIn(in_a.get(), {"ip", "addr", "del", "127.0.0.1/8", "dev", "lo"});
  RunIn(in_a.get(), {"ip", "route", "add", "127.0.0.0/8", "via", a.endpoints(0).ipv4_gateway()});
  EXPECT_EQ(RunIn(host(), {"cat", "/proc/sys/net/ipv4/conf/gantry0/route_localnet"}), "1\n");
  EXPECT_EQ(Ask(in_a.get(), "127.0.0.1", 7000, false, absl::Milliseconds(500), AddressOf(a)),
            "timeout");
}

TEST_F(NetworkManagerTest, SaysWhenAPortIsTaken) {
  MakeContainer("a", "bridge", {Port("", 8080, 80)});
  networks::SetUpRequest request;
  request.set_container_id("b");
  request.set_container_name("bob");
  request.add_endpoints()->set_network("bridge");
  *request.add_ports() = Port("", 8080, 80);
  absl::Status status = manager_->SetUp(kNs, request).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(),
              HasSubstr("driver failed programming external connectivity on endpoint bob ("));
  EXPECT_THAT(status.message(),
              HasSubstr("Bind for 0.0.0.0:8080 failed: port is already allocated"));
  // All or nothing.
  EXPECT_FALSE(base::Exists(manager_->NetnsPath(kNs, "b")));
  EXPECT_EQ(manager_->GetSandbox(kNs, "b").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(manager_->Get(kNs, "bridge")->endpoints_size(), 1);
  // Another program has it.
  Greeter program(host(), "program", "127.0.0.1", 9000);
  *request.mutable_ports(0) = Port("", 9000, 80);
  EXPECT_THAT(manager_->SetUp(kNs, request).status().message(),
              HasSubstr("address already in use"));
  // A range goes on to the next.
  *request.mutable_ports(0) = Port("", 8080, 80);
  request.mutable_ports(0)->set_host_port_end(8082);
  auto sandbox = manager_->SetUp(kNs, request);
  ASSERT_TRUE(sandbox.ok()) << sandbox.status();
  EXPECT_EQ(sandbox->ports(0).host_port(), 8081u);
}

TEST_F(NetworkManagerTest, PublishesUdp) {
  networks::Sandbox web = MakeContainer("web", "bridge", {Port("", 5353, 53, "udp")});
  base::UniqueFd in_web = Netns("web");
  Greeter server(in_web.get(), "dns", "0.0.0.0", 53, /*udp=*/true);
  EXPECT_EQ(Ask(outside(), "10.99.0.1", 5353, true), "dns 10.99.0.2");
  EXPECT_THAT(Ask(host(), "127.0.0.1", 5353, true), HasSubstr("dns "));
}

TEST_F(NetworkManagerTest, KeepsRunningContainersOverACrash) {
  MakeNetwork("mine");
  networks::Sandbox web = MakeContainer("web", "mine", {Port("", 8080, 80)});
  base::UniqueFd in_web = Netns("web");
  Greeter server(in_web.get(), "web", "0.0.0.0", 80);
  Reopen();
  EXPECT_EQ(Ask(outside(), "10.99.0.1", 8080), "web 10.99.0.2");
  EXPECT_EQ(manager_->GetSandbox(kNs, "web")->SerializeAsString(), web.SerializeAsString());
  // Its address and its port are not given to others.
  networks::Sandbox other = MakeContainer("other", "mine");
  EXPECT_NE(AddressOf(other), AddressOf(web));
  networks::SetUpRequest request;
  request.set_container_id("third");
  request.add_endpoints()->set_network("mine");
  *request.add_ports() = Port("", 8080, 80);
  EXPECT_THAT(manager_->SetUp(kNs, request).status().message(),
              HasSubstr("port is already allocated"));
}

TEST_F(NetworkManagerTest, RemovesWhatNobodyOwnsAtStart) {
  MakeNetwork("mine");
  MakeContainer("a", "mine", {Port("", 8080, 80)});
  MakeContainer("b", "mine");
  // As a crash in the middle of a set-up leaves it.
  ASSERT_TRUE(base::MakeDirs(dir_ + "/state/netns/test").ok());
  RunIn(host(), {"ip", "link", "add", "gv0123456789ab", "type", "veth", "peer", "name", "x0"});
  Reopen(/*alive=*/false);
  EXPECT_EQ(manager_->GetSandbox(kNs, "a").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(CountLines(*base::ReadFile("/proc/self/mountinfo", 64 << 20), dir_), 0);
  // Whatever is called like ours, but is not, stays.
  EXPECT_THAT(RunIn(host(), {"ip", "-br", "link"}), HasSubstr("gv0123456789ab"));
  RunIn(host(), {"ip", "link", "del", "gv0123456789ab"});
  for (int i = 0; i < 50 && CountLines(RunIn(host(), {"ip", "-br", "link"}), "gv") > 0; ++i)
    absl::SleepFor(absl::Milliseconds(100));
  EXPECT_EQ(CountLines(RunIn(host(), {"ip", "-br", "link"}), "gv"), 0);
  EXPECT_EQ(Ask(outside(), "10.99.0.1", 8080), "refused");
}

// CVE-2025-54388: rules that somebody flushes come back.
TEST_F(NetworkManagerTest, RestoresRulesThatOthersFlush) {
  RunIn(host(), {"nft", "add", "table", "inet", "theirs"});
  MakeNetwork("front");
  MakeNetwork("back");
  networks::Sandbox a = MakeContainer("a", "front", {Port("", 8080, 80)});
  networks::Sandbox b = MakeContainer("b", "back");
  base::UniqueFd in_a = Netns("a"), in_b = Netns("b");
  Greeter web(in_a.get(), "a", "0.0.0.0", 80);
  Greeter hidden(in_b.get(), "b", "0.0.0.0", 80);
  EXPECT_EQ(CountLines(RunIn(host(), {"nft", "list", "tables"}), "theirs"), 1);
  for (const std::vector<std::string>& flush : std::vector<std::vector<std::string>>{
           {"nft", "flush", "ruleset"},
           {"nft", "flush", "table", "inet", "gantry"},
           {"nft", "delete", "table", "inet", "gantry"},
           {"nft", "flush", "chain", "inet", "gantry", "to_containers"}}) {
    RunIn(host(), flush);
    absl::SleepFor(absl::Milliseconds(500));
    EXPECT_EQ(Ask(outside(), "10.99.0.1", 8080), "a 10.99.0.2") << flush[1];
    EXPECT_EQ(Ask(in_a.get(), AddressOf(b), 80), "timeout") << flush[1];
  }
}

TEST_F(NetworkManagerTest, InternalNetworksLeadNowhere) {
  MakeNetwork("open");  // for which the host forwards packets
  MakeNetwork("inside", "", /*internal=*/true);
  networks::Sandbox a = MakeContainer("a", "inside", {Port("", 8080, 80)});
  networks::Sandbox b = MakeContainer("b", "inside");
  base::UniqueFd in_a = Netns("a"), in_b = Netns("b");
  EXPECT_EQ(a.ports_size(), 0);
  Greeter server(in_b.get(), "b", "0.0.0.0", 80);
  Greeter world(outside(), "world", "10.99.0.2", 80);
  EXPECT_EQ(Ask(in_a.get(), AddressOf(b), 80), "b " + AddressOf(a));
  EXPECT_EQ(Ask(in_a.get(), "10.99.0.2", 80), "Network is unreachable");
  // Not even if the container makes itself a route.
  std::string gateway = manager_->Get(kNs, "inside")->network().ipam(0).gateway();
  RunIn(in_a.get(), {"ip", "route", "add", "default", "via", gateway});
  RunIn(outside(), {"ip", "route", "add", "172.16.0.0/12", "via", "10.99.0.1"});
  EXPECT_EQ(Ask(in_a.get(), "10.99.0.2", 80), "timeout");
  RunIn(outside(), {"ip", "route", "del", "172.16.0.0/12"});
}

TEST_F(NetworkManagerTest, ConnectsAndDisconnectsRunningContainers) {
  MakeNetwork("one");
  MakeNetwork("two");
  MakeContainer("a", "one", {Port("", 8080, 80)});
  networks::Sandbox b = MakeContainer("b", "two");
  base::UniqueFd in_a = Netns("a"), in_b = Netns("b");
  Greeter web(in_a.get(), "a", "0.0.0.0", 80);
  Greeter server(in_b.get(), "b", "0.0.0.0", 80);
  networks::ConnectRequest connect;
  connect.set_container_id("a");
  connect.mutable_endpoint()->set_network("two");
  auto sandbox = manager_->Connect(kNs, connect);
  ASSERT_TRUE(sandbox.ok()) << sandbox.status();
  EXPECT_EQ(sandbox->endpoints(1).interface(), "eth1");
  EXPECT_THAT(Ask(in_a.get(), AddressOf(b), 80), HasSubstr("b "));
  EXPECT_EQ(manager_->Connect(kNs, connect).status().code(), absl::StatusCode::kAlreadyExists);
  // The network with the way out goes: the other one takes over, ports too.
  networks::DisconnectRequest disconnect;
  disconnect.set_container_id("a");
  disconnect.set_network("one");
  EXPECT_EQ(manager_->Disconnect(kNs, disconnect), absl::OkStatus());
  EXPECT_EQ(Ask(outside(), "10.99.0.1", 8080), "a 10.99.0.2");
  EXPECT_EQ(manager_->GetSandbox(kNs, "a")->endpoints_size(), 1);
  EXPECT_EQ(manager_->Disconnect(kNs, disconnect).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(manager_->Delete(kNs, "one"), absl::OkStatus());
  connect.set_container_id("nobody");
  EXPECT_EQ(manager_->Connect(kNs, connect).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(NetworkManagerTest, GivesStaticAddresses) {
  MakeNetwork("mine", "10.77.0.0/24");
  networks::SetUpRequest request;
  request.set_container_id("a");
  auto* endpoint = request.add_endpoints();
  endpoint->set_network("mine");
  endpoint->set_ipv4_address("10.77.0.50");
  endpoint->set_mac_address("02:00:00:00:00:77");
  auto sandbox = manager_->SetUp(kNs, request);
  ASSERT_TRUE(sandbox.ok()) << sandbox.status();
  EXPECT_EQ(AddressOf(*sandbox), "10.77.0.50");
  EXPECT_THAT(RunIn(Netns("a").get(), {"ip", "link", "show", "dev", "eth0"}),
              HasSubstr("02:00:00:00:00:77"));
  request.set_container_id("b");
  EXPECT_EQ(manager_->SetUp(kNs, request).status().message(), "Address already in use");
  endpoint->set_ipv4_address("10.78.0.1");
  EXPECT_THAT(manager_->SetUp(kNs, request).status().message(),
              HasSubstr("invalid address 10.78.0.1: It does not belong to any of this network's "
                        "subnets"));
}

TEST_F(NetworkManagerTest, WritesFilesInPlace) {
  std::string hosts = dir_ + "/hosts", resolv = dir_ + "/resolv.conf";
  ASSERT_TRUE(base::WriteFile(hosts, std::string(4000, 'x')).ok());
  networks::SetUpRequest request;
  request.set_container_id("a");
  request.set_hostname("box");
  request.set_domainname("example.com");
  request.add_endpoints()->set_network("bridge");
  request.set_hosts_path(hosts);
  request.set_resolv_conf_path(resolv);
  request.add_extra_hosts("db:10.0.0.9");
  request.add_extra_hosts("host.docker.internal:host-gateway");
  request.mutable_dns()->add_servers("9.9.9.9");
  request.mutable_dns()->add_search("corp");
  auto sandbox = manager_->SetUp(kNs, request);
  ASSERT_TRUE(sandbox.ok()) << sandbox.status();
  std::string text = *base::ReadFile(hosts);
  EXPECT_TRUE(absl::StartsWith(text, "127.0.0.1\tlocalhost\n")) << text;
  EXPECT_THAT(text, HasSubstr("10.0.0.9\tdb\n"));
  EXPECT_THAT(text, HasSubstr(sandbox->endpoints(0).ipv4_gateway() + "\thost.docker.internal\n"));
  EXPECT_THAT(text, HasSubstr(AddressOf(*sandbox) + "\tbox.example.com box\n"));
  EXPECT_THAT(*base::ReadFile(resolv), HasSubstr("nameserver 9.9.9.9\nsearch corp\n"));
}

TEST_F(NetworkManagerTest, TearsDownQuicklyAndCompletely) {
  networks::Sandbox first = MakeContainer("first", "bridge");
  ASSERT_TRUE(manager_->TearDown(kNs, "first").ok());
  absl::Time start = absl::Now();
  constexpr int kRounds = 20;
  for (int i = 0; i < kRounds; ++i) {
    networks::Sandbox again = MakeContainer("again", "bridge", {Port("", 8080, 80)});
    EXPECT_EQ(AddressOf(again), AddressOf(first));  // it was given back
    base::UniqueFd inside = Netns("again");
    Greeter server(inside.get(), "again", "0.0.0.0", 80);
    EXPECT_EQ(Ask(outside(), "10.99.0.1", 8080, false, absl::Seconds(2)), "again 10.99.0.2");
    EXPECT_EQ(manager_->TearDown(kNs, "again"), absl::OkStatus());
    EXPECT_EQ(manager_->TearDown(kNs, "again"), absl::OkStatus());
  }
  RecordProperty("ms_a_round",
                 absl::StrCat(absl::ToDoubleMilliseconds(absl::Now() - start) / kRounds));
}

}  // namespace
}  // namespace gantry::services::testing
