#include "docker/http/router.h"

#include <map>
#include <string>

#include "docker/http/errors.h"
#include "docker/http/request.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::docker::http {
namespace {

using ::testing::ElementsAre;

struct PatternCase {
  const char* pattern;
  const char* path;
  const char* name;  // null: no match
};

TEST(RouterTest, MatchesPatterns) {
  const PatternCase cases[] = {
      {"/containers/{name:.*}/json", "/containers/web/json", "web"},
      {"/containers/{name:.*}/json", "/containers/json", nullptr},
      {"/containers/{name:.*}/json", "/containers//json", nullptr},
      {"/images/{name:.*}/json", "/images/docker.io/library/x:1/json", "docker.io/library/x:1"},
      {"/images/{name:.*}/json", "/images/a/json/json", "a/json"},
      {"/networks/{name}", "/networks/a", "a"},
      {"/networks/{name}", "/networks/a/b", nullptr},
      {"/networks/{name}", "/networks/", nullptr},
  };
  for (const PatternCase& c : cases) {
    std::map<std::string, std::string> vars;
    bool matches = MatchPattern(c.pattern, c.path, &vars);
    EXPECT_EQ(matches, c.name != nullptr) << c.pattern << " " << c.path;
    if (c.name == nullptr) continue;
    EXPECT_EQ(vars["name"], c.name) << c.pattern << " " << c.path;
  }
}

TEST(RouterTest, TableHasEveryRouteOnce) {
  Router router;
  auto nothing = [](const std::shared_ptr<Exchange>&) { return absl::OkStatus(); };
  router.Add("POST", "/b/{name:.*}/x", nothing, "half");
  router.Add("GET", "/a", nothing);
  EXPECT_EQ(router.Table(),
            "| method | path | state |\n|---|---|---|\n| GET | /a | yes |\n"
            "| POST | /b/{name}/x | half |\n");
}

TEST(RequestTest, QueriesAreDecoded) {
  Query query = Query::Parse("a=1&b=x+y%2Fz&a=2&c&d=%zz&e=False&f=none");
  EXPECT_EQ(query.Get("a"), "1");
  EXPECT_THAT(query.All("a"), ElementsAre("1", "2"));
  EXPECT_EQ(query.Get("b"), "x y/z");
  EXPECT_TRUE(query.Has("c"));
  EXPECT_FALSE(query.Bool("c"));
  EXPECT_EQ(query.Get("d"), "%zz");
  EXPECT_FALSE(query.Bool("e", true));
  EXPECT_FALSE(query.Bool("f"));
  EXPECT_TRUE(query.Bool("a"));
  EXPECT_TRUE(query.Bool("missing", true));
}

TEST(RequestTest, VersionsAreNumbers) {
  EXPECT_EQ(ApiVersion::Parse("1.24")->minor, 24);
  EXPECT_LT(*ApiVersion::Parse("1.9"), *ApiVersion::Parse("1.24"));
  for (const char* bad : {"", "1", "1.", ".1", "1.x", "1.2.3", "-1.2", "99999.1", "1.+2"}) {
    EXPECT_FALSE(ApiVersion::Parse(bad).ok()) << bad;
  }
}

TEST(ErrorsTest, EveryCodeHasItsStatus) {
  EXPECT_EQ(HttpStatus(absl::NotFoundError("x")), 404);
  EXPECT_EQ(HttpStatus(absl::AlreadyExistsError("x")), 409);
  EXPECT_EQ(HttpStatus(absl::FailedPreconditionError("x")), 409);
  EXPECT_EQ(HttpStatus(absl::InvalidArgumentError("x")), 400);
  EXPECT_EQ(HttpStatus(absl::UnimplementedError("x")), 501);
  EXPECT_EQ(HttpStatus(absl::UnknownError("x")), 500);
}

}  // namespace
}  // namespace gantry::docker::http
