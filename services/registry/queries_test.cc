#include "services/registry/queries.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/registry/fake_http_server.h"

namespace gantry::services {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

RegistryOptions As(const std::string& user, const std::string& password) {
  RegistryOptions options;
  options.endpoint.retry = {2, absl::Milliseconds(5), absl::Milliseconds(50)};
  if (!user.empty()) {
    options.endpoint.credentials = [user, password](const std::string&,
                                                    const std::vector<std::string>&) {
      return absl::StatusOr<Credentials>(Credentials{user, password, ""});
    };
  }
  return options;
}

TEST(QueriesTest, ChecksCredentials) {
  FakeHttpServer server([&](const FakeRequest& r, FakeConnection* c) {
    auto given = r.headers.find("authorization");
    // "me:geheim"
    if (given != r.headers.end() && given->second == "Basic bWU6Z2VoZWlt") {
      return c->Respond(200, "", "{}");
    }
    c->Respond(401, "WWW-Authenticate: Basic realm=\"x\"\r\n", "");
  });
  EXPECT_TRUE(CheckLogin(server.host(), As("me", "geheim")).ok());
  EXPECT_TRUE(absl::IsPermissionDenied(CheckLogin(server.host(), As("me", "falsch"))));
  EXPECT_TRUE(absl::IsUnauthenticated(CheckLogin(server.host(), As("", ""))));
}

TEST(QueriesTest, Searches) {
  std::string asked;
  FakeHttpServer server([&](const FakeRequest& r, FakeConnection* c) {
    if (absl::StartsWith(r.target, "/v1/search")) asked = r.target;
    c->Respond(200, "", R"({"results": [{"name": "a&b"}]})");
  });
  auto answer = SearchRegistry(server.host(), "a&b c", 1000, As("", ""));
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_THAT(*answer, HasSubstr("results"));
  EXPECT_EQ(asked, "/v1/search?q=a%26b%20c&n=100");
}

TEST(QueriesTest, ASearchThatIsNoJsonIsAnError) {
  FakeHttpServer server(
      [&](const FakeRequest&, FakeConnection* c) { c->Respond(200, "", "<html>"); });
  EXPECT_FALSE(SearchRegistry(server.host(), "x", 0, As("", "")).ok());
}

TEST(QueriesTest, ListsTagsPageAfterPage) {
  FakeHttpServer server([&](const FakeRequest& r, FakeConnection* c) {
    if (r.target == "/v2/a/b/tags/list") {
      return c->Respond(200, "Link: </v2/a/b/tags/list?last=2>; rel=\"next\"\r\n",
                        R"({"tags": ["1", "2", 7]})");
    }
    if (r.target == "/v2/a/b/tags/list?last=2") {
      return c->Respond(200, "", R"({"tags": ["3"]})");
    }
    if (r.target == "/v2/") return c->Respond(200, "", "");
    c->Respond(404, "", R"({"errors": [{"code": "NAME_UNKNOWN", "message": "no"}]})");
  });
  auto tags = ListTags(server.host() + "/a/b", As("", ""));
  ASSERT_TRUE(tags.ok()) << tags.status();
  EXPECT_THAT(*tags, ElementsAre("1", "2", "3"));
  auto none = ListTags(server.host() + "/none", As("", ""));
  EXPECT_TRUE(absl::IsNotFound(none.status())) << none.status();
  EXPECT_THAT(none.status().message(), HasSubstr("NAME_UNKNOWN"));
}

}  // namespace
}  // namespace gantry::services
