#include "docker/images/registry_auth.h"

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "gtest/gtest.h"

namespace gantry::docker {
namespace {

TEST(RegistryAuthTest, ReadsEveryFormOfBase64) {
  const std::string json = R"({"username":"us~?~er","password":"p~~~","serveraddress":"r:5000"})";
  std::string padded = absl::Base64Escape(json);
  std::string url = absl::WebSafeBase64Escape(json);
  ASSERT_NE(padded, url);
  for (const std::string& header : {padded, url}) {
    auto auth = ParseRegistryAuth(header);
    ASSERT_TRUE(auth.ok()) << auth.status();
    EXPECT_EQ(auth->username, "us~?~er");
    EXPECT_EQ(auth->password, "p~~~");
    EXPECT_EQ(auth->server_address, "r:5000");
  }
}

TEST(RegistryAuthTest, TokensAndOldForms) {
  auto auth = ParseRegistryAuth(absl::Base64Escape(R"({"identitytoken":"t"})"));
  EXPECT_EQ(auth->identity_token, "t");
  auth = ParseRegistryAuth(absl::Base64Escape(R"({"registrytoken":"b"})"));
  EXPECT_EQ(auth->registry_token, "b");
  auth =
      ParseRegistryAuth(absl::Base64Escape(R"({"auth":")" + absl::Base64Escape("u:p:q") + R"("})"));
  EXPECT_EQ(auth->username, "u");
  EXPECT_EQ(auth->password, "p:q");
  for (const std::string& none :
       {std::string(), absl::Base64Escape("{}"), absl::Base64Escape("null")}) {
    EXPECT_TRUE(ParseRegistryAuth(none)->empty());
  }
}

TEST(RegistryAuthTest, RefusesAndShowsNoSecret) {
  for (const std::string& bad :
       {std::string("%%%"), absl::Base64Escape("{\"password\":\"geheim\""),
        absl::Base64Escape("[\"geheim\"]"), absl::Base64Escape(R"({"password":["geheim"]})"),
        std::string(100 << 10, 'A')}) {
    auto auth = ParseRegistryAuth(bad);
    EXPECT_EQ(auth.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_FALSE(absl::StrContains(auth.status().message(), "geheim")) << auth.status();
  }
}

}  // namespace
}  // namespace gantry::docker
