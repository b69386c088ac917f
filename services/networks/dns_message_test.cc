#include "services/networks/dns_message.h"

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/networks/dns_names.h"

namespace gantry::services {
namespace {

std::string Query(const std::string& wire_name, uint16_t type, const std::string& rest = "") {
  std::string message("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00", 12);
  if (!rest.empty()) message[11] = 1;
  message += wire_name;
  message.push_back('\0');
  message += std::string({static_cast<char>(type >> 8), static_cast<char>(type), 0, 1});
  return message + rest;
}

TEST(DnsMessageTest, ReadsAQuestion) {
  auto query =
      ParseDnsQuery(Query("\x03WWW\x07"
                          "example",
                          kDnsA));
  ASSERT_TRUE(query.has_value());
  EXPECT_EQ(query->id, 0x1234);
  EXPECT_EQ(query->name, "www.example");
  EXPECT_EQ(query->type, kDnsA);
  EXPECT_EQ(query->udp_limit, 512u);
  EXPECT_TRUE(query->recursion_wanted);
  std::string opt("\0\0\x29\x10\0\0\0\0\0\0\0", 11);
  EXPECT_EQ(ParseDnsQuery(Query("\x01"
                                "a",
                                kDnsA, opt))
                ->udp_limit,
            4096u);
}

TEST(DnsMessageTest, RefusesWhatIsNone) {
  std::string good = Query("\x03www", kDnsA);
  for (size_t n = 0; n < good.size(); ++n)
    EXPECT_FALSE(ParseDnsQuery(good.substr(0, n)).has_value()) << n;
  std::string response = good;
  response[2] = static_cast<char>(0x81);
  EXPECT_FALSE(ParseDnsQuery(response).has_value());
  std::string two = good;
  two[5] = 2;
  EXPECT_FALSE(ParseDnsQuery(two).has_value());
  EXPECT_FALSE(ParseDnsQuery(Query("\xc0\x0c", kDnsA)).has_value());  // compressed: a loop
  EXPECT_FALSE(ParseDnsQuery(Query("\x03"
                                   "a.b",
                                   kDnsA))
                   .has_value());
  std::string long_name;
  for (int i = 0; i < 10; ++i) long_name += "\x3f" + std::string(63, 'x');
  EXPECT_FALSE(ParseDnsQuery(Query(long_name, kDnsA)).has_value());
}

TEST(DnsMessageTest, ReadsReverseNames) {
  EXPECT_EQ(ParseReverseName("2.0.17.172.in-addr.arpa"), *IpAddress::Parse("172.17.0.2"));
  std::string v6 = "2.0.0.0";
  for (int i = 0; i < 26; ++i) v6 += ".0";
  EXPECT_EQ(ParseReverseName(v6 + ".d.f.ip6.arpa"), *IpAddress::Parse("fd00::2"));
  for (const char* bad : {"", "in-addr.arpa", "0.17.172.in-addr.arpa", "256.0.17.172.in-addr.arpa",
                          "x.ip6.arpa", "2.0.17.172.in-addr.arp"}) {
    EXPECT_FALSE(ParseReverseName(bad).has_value()) << bad;
  }
}

TEST(DnsMessageTest, CutsLongAnswers) {
  std::string message = Query("\x03www", kDnsA);
  DnsQuery query = *ParseDnsQuery(message);
  std::vector<DnsAnswer> many(100, DnsAnswer{.address = *IpAddress::Parse("10.0.0.1")});
  std::string answer = BuildDnsAnswer(message, query, many, DnsError::kNone, 512);
  EXPECT_LE(answer.size(), 512u);
  EXPECT_EQ(answer[2] & 0x02, 0x02);
  EXPECT_TRUE(AnswersQuestion(answer, message, query));
  std::string other = Query("\x03wwx", kDnsA);
  EXPECT_FALSE(AnswersQuestion(answer, other, *ParseDnsQuery(other)));
  std::string whole = BuildDnsAnswer(message, query, many, DnsError::kNone, 65535);
  EXPECT_EQ(whole[2] & 0x02, 0);
  EXPECT_EQ(whole.size(), 12u + 9u + 100u * 16u);
}

class DnsNamesTest : public ::testing::Test {
 protected:
  void Put(const std::string& id, const std::string& network, const std::string& address,
           std::vector<std::string> names) {
    gantry::services::networks::v1::Endpoint endpoint;
    endpoint.set_id(id);
    endpoint.set_network_id(network);
    endpoint.set_network_name(network + "-net");
    endpoint.set_ipv4_address(address);
    for (std::string& name : names) endpoint.add_dns_names(name);
    names_.Put(endpoint);
  }
  DnsNames::Result Look(const std::string& name, uint16_t type = kDnsA) {
    return names_.Look(scope_, {.name = name, .type = type, .type_class = 1});
  }
  DnsNames names_;
  DnsScope scope_{.networks = {"n"}, .subnets = {*Cidr::Parse("10.0.0.0/24")}};
};

TEST_F(DnsNamesTest, KnowsOnlyItsNetworks) {
  Put("1", "n", "10.0.0.2/24", {"Web", "alias"});
  Put("2", "m", "10.0.1.2/24", {"db"});
  EXPECT_EQ(Look("web").answers.at(0).address.ToString(), "10.0.0.2");
  EXPECT_TRUE(Look("alias").found);
  EXPECT_TRUE(Look("web.n-net").found);
  EXPECT_FALSE(Look("db").found);
  EXPECT_TRUE(Look("web", kDnsAaaa).found);
  EXPECT_TRUE(Look("web", kDnsAaaa).answers.empty());
  EXPECT_EQ(Look("2.0.0.10.in-addr.arpa", kDnsPtr).answers.at(0).target, "Web.n-net");
  EXPECT_FALSE(Look("2.1.0.10.in-addr.arpa", kDnsPtr).found);
  EXPECT_EQ(Look("9.0.0.10.in-addr.arpa", kDnsPtr).error, DnsError::kNoSuchName);
  names_.Remove("1");
  EXPECT_FALSE(Look("web").found);
}

TEST_F(DnsNamesTest, TakesTurnsAndFollowsLinks) {
  Put("1", "n", "10.0.0.2/24", {"a", "web"});
  Put("2", "n", "10.0.0.3/24", {"b", "web"});
  std::string first = Look("web").answers.at(0).address.ToString();
  EXPECT_NE(Look("web").answers.at(0).address.ToString(), first);
  EXPECT_EQ(Look("web").answers.size(), 2u);
  scope_.links["database"] = "b";
  EXPECT_EQ(Look("database").answers.at(0).address.ToString(), "10.0.0.3");
}

}  // namespace
}  // namespace gantry::services
