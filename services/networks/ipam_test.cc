#include "services/networks/ipam.h"

#include "absl/status/status.h"
#include "gtest/gtest.h"

namespace gantry::services {
namespace {

Cidr C(const char* text) { return *Cidr::Parse(text); }
IpAddress A(const char* text) { return *IpAddress::Parse(text); }

TEST(IpAddressTest, ParsesAndPrints) {
  EXPECT_EQ(A("10.0.0.1").ToString(), "10.0.0.1");
  EXPECT_EQ(A("FD00::0:1").ToString(), "fd00::1");
  EXPECT_TRUE(A("::ffff:1.2.3.4").is_v4());
  for (const char* bad : {"", "10.0.0", "10.0.0.256", "1.2.3.4 ", "::1%lo", "010.0.0.1x", "a"}) {
    EXPECT_FALSE(IpAddress::Parse(bad).ok()) << bad;
  }
  for (const char* bad : {"10.0.0.0", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "/8", "fd00::/129",
                          "10.0.0.0/8/8", "10.0.0.0/+8"}) {
    EXPECT_FALSE(Cidr::Parse(bad).ok()) << bad;
  }
}

TEST(IpAddressTest, Calculates) {
  EXPECT_EQ(A("10.0.0.255").Plus(2), A("10.0.1.1"));
  EXPECT_EQ(A("fd00::ffff").Plus(1), A("fd00::1:0"));
  EXPECT_EQ(A("10.0.0.1").DistanceTo(A("10.0.1.0")), 255u);
  EXPECT_EQ(A("::").DistanceTo(A("ff00::")), ~uint64_t{0});
  EXPECT_EQ(C("10.1.2.3/20").last(), A("10.1.15.255"));
  EXPECT_TRUE(C("10.0.0.0/8").Overlaps(C("10.1.0.0/16")));
  EXPECT_TRUE(C("10.1.0.0/16").Overlaps(C("10.0.0.0/8")));
  EXPECT_FALSE(C("10.1.0.0/16").Overlaps(C("10.2.0.0/16")));
  EXPECT_FALSE(C("0.0.0.0/0").Overlaps(C("::/0")));
}

TEST(IpAddressTest, KnowsMacAddresses) {
  EXPECT_EQ(MacFor(A("172.17.0.2")), "02:42:ac:11:00:02");
  EXPECT_TRUE(ParseMac(RandomMac()).ok());
  for (const char* bad : {"", "02:42:ac:11:00", "02:42:ac:11:00:0g", "01:00:00:00:00:01",
                          "00:00:00:00:00:00", "02:42:ac:11:00:02:03"}) {
    EXPECT_FALSE(ParseMac(bad).ok()) << bad;
  }
}

TEST(ChooseSubnetTest, TakesTheFirstThatOverlapsNothing) {
  std::vector<Cidr> used;
  EXPECT_EQ(*ChooseSubnet(DefaultPools(), false, used), C("172.17.0.0/16"));
  used = {C("172.16.0.0/12")};
  EXPECT_EQ(*ChooseSubnet(DefaultPools(), false, used), C("192.168.0.0/20"));
  used.push_back(C("192.168.1.0/24"));
  EXPECT_EQ(*ChooseSubnet(DefaultPools(), false, used), C("192.168.16.0/20"));
  used.push_back(C("0.0.0.0/0"));
  EXPECT_EQ(ChooseSubnet(DefaultPools(), false, used).status().message(),
            "all predefined address pools have been fully subnetted");
}

TEST(ChooseSubnetTest, CutsUniqueLocalPrefixes) {
  std::vector<AddressPool> pools = {UniqueLocalPool("machine")};
  Cidr first = *ChooseSubnet(pools, true, {});
  EXPECT_EQ(first.prefix, 64);
  EXPECT_TRUE(C("fd00::/8").Contains(first));
  Cidr second = *ChooseSubnet(pools, true, {first});
  EXPECT_EQ(second.address, first.last().Plus(1));
  EXPECT_FALSE(ChooseSubnet(pools, false, {}).ok());
}

TEST(SubnetTest, GivesTheLowestFreeAddress) {
  Subnet subnet(C("10.0.0.0/29"), C("10.0.0.0/29"));
  ASSERT_TRUE(subnet.Take(A("10.0.0.1")).ok());
  EXPECT_EQ(*subnet.TakeAny(), A("10.0.0.2"));
  EXPECT_EQ(*subnet.TakeAny(), A("10.0.0.3"));
  subnet.Release(A("10.0.0.2"));
  EXPECT_EQ(*subnet.TakeAny(), A("10.0.0.2"));
  for (int i = 4; i < 7; ++i) EXPECT_TRUE(subnet.TakeAny().ok());
  EXPECT_EQ(subnet.TakeAny().status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(SubnetTest, StaysWithinItsRange) {
  Subnet subnet(C("10.0.0.0/24"), C("10.0.0.128/30"));
  EXPECT_EQ(*subnet.TakeAny(), A("10.0.0.128"));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(subnet.TakeAny().ok());
  EXPECT_FALSE(subnet.TakeAny().ok());
  EXPECT_TRUE(subnet.Take(A("10.0.0.5")).ok());  // asked for: outside of the range is fine
}

TEST(SubnetTest, RefusesWhatIsNoHostsAddress) {
  Subnet subnet(C("10.0.0.0/24"), C("10.0.0.0/24"));
  for (const char* bad : {"10.0.0.0", "10.0.0.255", "10.0.1.1", "fd00::1"}) {
    EXPECT_EQ(subnet.Take(A(bad)).code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  ASSERT_TRUE(subnet.Take(A("10.0.0.9")).ok());
  EXPECT_EQ(subnet.Take(A("10.0.0.9")).message(), "Address already in use");
  Subnet pair(C("10.0.0.0/31"), C("10.0.0.0/31"));
  EXPECT_EQ(*pair.TakeAny(), A("10.0.0.0"));
  EXPECT_EQ(*pair.TakeAny(), A("10.0.0.1"));
  EXPECT_FALSE(pair.TakeAny().ok());
}

}  // namespace
}  // namespace gantry::services
