#include "docker/containers/network_plan.h"

#include <string>

#include "base/json.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::docker {
namespace {

using base::Json;
using gantry::services::lifecycle::v1::Policy;
using ::testing::HasSubstr;

constexpr char kId[] = "0123456789abcdef0123456789abcdef";

TEST(NetworkPlanTest, ParsesPorts) {
  EXPECT_EQ(ParsePort("80")->protocol, "tcp");
  EXPECT_EQ(ParsePort("8000-8010/UDP")->last, 8010u);
  for (const char* bad : {"", "x", "80/icmp", "90-80", "70000", "80-", "-1"}) {
    EXPECT_FALSE(ParsePort(bad).ok()) << bad;
  }
}

TEST(NetworkPlanTest, TheDefaultIsTheBridge) {
  Policy policy;
  ASSERT_TRUE(PlanNetworks(kId, {}, {}, Json::object(), &policy).ok());
  EXPECT_EQ(policy.network_mode(), "networks");
  ASSERT_EQ(policy.endpoints_size(), 1);
  EXPECT_EQ(policy.endpoints(0).network(), "bridge");
  EXPECT_EQ(policy.endpoints(0).aliases_size(), 0);
}

TEST(NetworkPlanTest, SeveralNetworksWithTheirSettings) {
  HostConfig host;
  host.network_mode = "front";
  Json endpoints = {
      {"front", {{"Aliases", {"web"}}, {"IPAMConfig", {{"IPv4Address", "10.1.2.3"}}}}},
      {"back", nullptr}};
  Policy policy;
  ASSERT_TRUE(PlanNetworks(kId, {}, host, endpoints, &policy).ok());
  ASSERT_EQ(policy.endpoints_size(), 2);
  EXPECT_EQ(policy.endpoints(0).network(), "front");
  EXPECT_EQ(policy.endpoints(0).ipv4_address(), "10.1.2.3");
  EXPECT_EQ(policy.endpoints(0).aliases(0), "web");
  EXPECT_EQ(policy.endpoints(0).aliases(1), "0123456789ab");
  EXPECT_EQ(policy.endpoints(1).network(), "back");
}

TEST(NetworkPlanTest, PortsOfTheHost) {
  ContainerConfig config;
  config.exposed_ports = {"53/udp", "80/tcp"};
  HostConfig host;
  host.port_bindings["80/tcp"] = {{"127.0.0.1", "8080-8090"}, {"", ""}};
  Policy policy;
  ASSERT_TRUE(PlanNetworks(kId, config, host, Json::object(), &policy).ok());
  ASSERT_EQ(policy.ports_size(), 2);
  EXPECT_EQ(policy.ports(0).host_port(), 8080u);
  EXPECT_EQ(policy.ports(0).host_port_end(), 8090u);
  EXPECT_EQ(policy.ports(1).host_port(), 0u);
  host.publish_all_ports = true;
  Policy all;
  ASSERT_TRUE(PlanNetworks(kId, config, host, Json::object(), &all).ok());
  ASSERT_EQ(all.ports_size(), 3);
  EXPECT_EQ(all.ports(2).container_port(), 53u);
  EXPECT_EQ(all.ports(2).protocol(), "udp");
}

TEST(NetworkPlanTest, WhatContradictsItself) {
  HostConfig host;
  host.network_mode = "container:abc";
  host.port_bindings["80/tcp"] = {};
  Policy policy;
  EXPECT_THAT(std::string(PlanNetworks(kId, {}, host, Json::object(), &policy).message()),
              HasSubstr("conflicting options: port publishing"));
  host.port_bindings.clear();
  ASSERT_TRUE(PlanNetworks(kId, {}, host, Json::object(), &policy).ok());
  EXPECT_EQ(policy.network_mode(), "container");
  EXPECT_EQ(policy.network_container(), "abc");
}

}  // namespace
}  // namespace gantry::docker
