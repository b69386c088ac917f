#include "services/registry/auth.h"

#include "gtest/gtest.h"

namespace gantry::services {
namespace {

TEST(AuthTest, ReadsChallenges) {
  auto c =
      ParseChallenges({"Bearer realm=\"https://a/t?x=1\",service=\"s\", scope=\"r:x:pull,push\","
                       " Basic realm=\"a \\\"b\\\"\"",
                       "Negotiate"});
  ASSERT_EQ(c.size(), 3u);
  EXPECT_EQ(c[0].scheme, "bearer");
  EXPECT_EQ(c[0].parameters["realm"], "https://a/t?x=1");
  EXPECT_EQ(c[0].parameters["scope"], "r:x:pull,push");
  EXPECT_EQ(c[1].scheme, "basic");
  EXPECT_EQ(c[1].parameters["realm"], "a \"b\"");
  EXPECT_EQ(c[2].scheme, "negotiate");
}

TEST(AuthTest, SurvivesNonsense) {
  for (const char* text : {"", ",,,", "=", "Bearer", "Bearer realm=", "Bearer realm=\"", "\"\"",
                           "Bearer =x", "Bearer realm=\"\\"}) {
    ParseChallenges({text});
  }
}

TEST(AuthTest, GivesUpWithoutAUsableChallenge) {
  HttpClient http({});
  Authorizer a("h", "https://h:443", &http, nullptr);
  EXPECT_EQ(*a.Authorization({"s"}), "");
  EXPECT_EQ(a.OnUnauthorized({"Negotiate"}, "", {"s"}).code(), absl::StatusCode::kUnauthenticated);
  ASSERT_TRUE(a.OnUnauthorized({"Basic realm=x"}, "", {"s"}).ok());
  EXPECT_EQ(a.Authorization({"s"}).status().code(), absl::StatusCode::kUnauthenticated);
}

TEST(AuthTest, BasicIsTriedOnce) {
  HttpClient http({});
  Authorizer a("h", "https://h:443", &http, [](const std::string& host, const auto&) {
    EXPECT_EQ(host, "h");
    return Credentials{"u", "p", ""};
  });
  ASSERT_TRUE(a.OnUnauthorized({"Basic realm=x"}, "", {"s"}).ok());
  auto header = a.Authorization({"s"});
  ASSERT_TRUE(header.ok());
  EXPECT_EQ(*header, "Basic dTpw");
  EXPECT_EQ(a.OnUnauthorized({"Basic realm=x"}, *header, {"s"}).code(),
            absl::StatusCode::kPermissionDenied);
}

TEST(AuthTest, SendsNoSecretToATokenServerWithoutTls) {
  HttpClient http({});
  Authorizer a("h", "https://h:443", &http, [](const std::string&, const auto&) {
    return Credentials{"u", "p", ""};
  });
  ASSERT_TRUE(a.OnUnauthorized({"Bearer realm=\"http://127.0.0.1:1/t\""}, "", {"s"}).ok());
  EXPECT_EQ(a.Authorization({"s"}).status().code(), absl::StatusCode::kUnauthenticated);
}

}  // namespace
}  // namespace gantry::services
