#include "docker/networks/network_json.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::docker {
namespace {

namespace api = gantry::services::networks::v1;
using ::testing::HasSubstr;

TEST(NetworkJsonTest, HasDockersTypes) {
  api::Network network;
  network.set_name("n");
  network.set_id("abc");
  network.set_driver("bridge");
  network.set_enable_ipv4(true);
  api::IpamConfig* ipam = network.add_ipam();
  ipam->set_subnet("172.18.0.0/16");
  ipam->set_gateway("172.18.0.1");
  (*network.mutable_labels())["k"] = "v";
  api::Endpoint endpoint;
  endpoint.set_container_id("c1");
  endpoint.set_container_name("web");
  endpoint.set_id("e1");
  endpoint.set_mac_address("02:42:ac:12:00:02");
  endpoint.set_ipv4_address("172.18.0.2/16");
  EXPECT_EQ(NetworkJson(network, {endpoint}, 51).dump(),
            R"({"Name":"n","Id":"abc","Created":"1970-01-01T00:00:00Z","Scope":"local",)"
            R"("Driver":"bridge","EnableIPv4":true,"EnableIPv6":false,"IPAM":{"Driver":"default",)"
            R"("Options":{},"Config":[{"Subnet":"172.18.0.0/16","Gateway":"172.18.0.1"}]},)"
            R"("Internal":false,"Attachable":false,"Ingress":false,"ConfigFrom":{"Network":""},)"
            R"("ConfigOnly":false,"Containers":{"c1":{"Name":"web","EndpointID":"e1",)"
            R"("MacAddress":"02:42:ac:12:00:02","IPv4Address":"172.18.0.2/16","IPv6Address":""}},)"
            R"("Options":{},"Labels":{"k":"v"}})");
  EXPECT_FALSE(NetworkJson(network, {}, 46).contains("EnableIPv4"));
  network.set_driver("none");
  EXPECT_EQ(NetworkJson(network, {}, 51)["Driver"], "null");
}

TEST(NetworkJsonTest, Filters) {
  api::Network network;
  network.set_name("mynet");
  network.set_id("abcdef");
  network.set_driver("bridge");
  const struct {
    const char* filters;
    bool matches;
  } cases[] = {
      {R"({"name":["net"]})", true},      {R"({"name":["x"]})", false},
      {R"({"id":["abc"]})", true},        {R"({"id":["bcd"]})", false},
      {R"({"driver":["bridge"]})", true}, {R"({"driver":["host"]})", false},
      {R"({"type":["custom"]})", true},   {R"({"type":["builtin"]})", false},
      {R"({"scope":["local"]})", true},   {R"({"scope":["swarm"]})", false},
      {R"({"dangling":["true"]})", true}, {R"({"dangling":["false"]})", false},
      {R"({"label":["k"]})", false},      {R"({"name":["x","my"]})", true},
  };
  for (const auto& c : cases) {
    auto filters =
        Filters::Parse(c.filters, {"name", "id", "driver", "type", "scope", "dangling", "label"});
    ASSERT_TRUE(filters.ok());
    EXPECT_EQ(*NetworkMatches(network, false, *filters), c.matches) << c.filters;
  }
  auto filters = Filters::Parse(R"({"type":["odd"]})", {"type"});
  EXPECT_FALSE(NetworkMatches(network, false, *filters).ok());
}

TEST(NetworkJsonTest, ReadsWhatComposeSends) {
  auto network = NetworkFromJson(*base::ParseJson(R"({
    "Name":"p_default","CheckDuplicate":true,"Driver":"bridge","EnableIPv6":true,"Attachable":true,
    "IPAM":{"Driver":"default","Config":[{"Subnet":"10.5.0.0/16","IPRange":"10.5.1.0/24",
      "Gateway":"10.5.0.9","AuxiliaryAddresses":{"r":"10.5.0.3"}}]},
    "Options":{"com.docker.network.bridge.name":"br9"},"Labels":{"a":"b"}})"));
  ASSERT_TRUE(network.ok()) << network.status();
  EXPECT_TRUE(network->enable_ipv6());
  EXPECT_TRUE(network->attachable());
  EXPECT_EQ(network->ipam(0).ip_range(), "10.5.1.0/24");
  EXPECT_EQ(network->ipam(0).auxiliary_addresses().at("r"), "10.5.0.3");
  EXPECT_EQ(network->options().at("com.docker.network.bridge.name"), "br9");
}

TEST(NetworkJsonTest, Refuses) {
  const struct {
    const char* body;
    absl::StatusCode code;
    const char* message;
  } cases[] = {
      {"[]", absl::StatusCode::kInvalidArgument, "an object is expected"},
      {R"({"Name":7})", absl::StatusCode::kInvalidArgument, "Name must be a string"},
      {R"({"Name":"x","Internal":"yes"})", absl::StatusCode::kInvalidArgument, "true or false"},
      {R"({"Name":"x","IPAM":[]})", absl::StatusCode::kInvalidArgument, "IPAM must be an object"},
      {R"({"Name":"x","IPAM":{"Config":[1]}})", absl::StatusCode::kInvalidArgument,
       "IPAM.Config must be"},
      {R"({"Name":"x","Driver":"host"})", absl::StatusCode::kPermissionDenied,
       "only one instance of \"host\" network is allowed"},
      {R"({"Name":"x","Driver":"overlay"})", absl::StatusCode::kUnavailable,
       "This node is not a swarm manager"},
      {R"({"Name":"x","ConfigOnly":true})", absl::StatusCode::kUnimplemented, "swarms"},
  };
  for (const auto& c : cases) {
    auto network = NetworkFromJson(*base::ParseJson(c.body));
    EXPECT_EQ(network.status().code(), c.code) << c.body;
    EXPECT_THAT(network.status().message(), HasSubstr(c.message)) << c.body;
  }
}

TEST(NetworkJsonTest, ReadsEndpoints) {
  auto endpoint = EndpointFromJson(*base::ParseJson(R"({
    "Aliases":["db"],"Links":["a:b"],"MacAddress":"02:00:00:00:00:01","GwPriority":5,
    "IPAMConfig":{"IPv4Address":"10.5.0.7","LinkLocalIPs":["169.254.1.1"]},
    "DriverOpts":{"o":"v"},"NetworkID":"ignored"})"));
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  EXPECT_EQ(endpoint->aliases(0), "db");
  EXPECT_EQ(endpoint->ipv4_address(), "10.5.0.7");
  EXPECT_EQ(endpoint->gateway_priority(), 5);
  EXPECT_TRUE(EndpointFromJson(base::Json()).ok());
  EXPECT_FALSE(EndpointFromJson(*base::ParseJson(R"({"Aliases":"x"})")).ok());
  EXPECT_FALSE(EndpointFromJson(*base::ParseJson(R"({"IPAMConfig":{"IPv4Address":1}})")).ok());
}

}  // namespace
}  // namespace gantry::docker
