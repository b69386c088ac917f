#include "docker/system/filters.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::docker {
namespace {

using ::testing::HasSubstr;

TEST(FiltersTest, ReadsBothForms) {
  for (const char* text : {R"({"label":["a=b"]})", R"({"label":{"a=b":true,"c":false}})"}) {
    auto filters = Filters::Parse(text, {"label"});
    ASSERT_TRUE(filters.ok()) << filters.status();
    EXPECT_TRUE(filters->MatchLabels({{"a", "b"}}));
    EXPECT_FALSE(filters->MatchLabels({{"a", "c"}}));
    EXPECT_FALSE(filters->MatchLabels({}));
  }
  EXPECT_TRUE(Filters::Parse("", {})->all().empty());
  EXPECT_FALSE(Filters::Parse(R"({"label":[]})", {"label"})->Has("label"));
}

TEST(FiltersTest, RefusesWithDockersWords) {
  const struct {
    const char* text;
    const char* message;
  } cases[] = {
      {R"({"nosuch":["a"]})", "invalid filter 'nosuch'"},
      {R"(["a"])", "invalid filter"},
      {R"({"label":"a"})", "invalid filter"},
      {R"({"label":[1]})", "invalid filter"},
      {R"({"label":{"a":1}})", "invalid filter"},
      {R"({"label":)", "invalid filter"},
  };
  for (const auto& c : cases) {
    auto filters = Filters::Parse(c.text, {"label"});
    EXPECT_EQ(filters.status().code(), absl::StatusCode::kInvalidArgument) << c.text;
    EXPECT_THAT(filters.status().message(), HasSubstr(c.message)) << c.text;
  }
  auto filters = Filters::Parse(R"({"dangling":["maybe"]})", {"dangling"});
  EXPECT_EQ(filters->Bool("dangling", false).status().message(),
            "invalid filter 'dangling=[maybe]'");
}

TEST(FiltersTest, MatchesLabelsAndTheirAbsence) {
  auto filters = Filters::Parse(R"({"label":["a"],"label!":["b=1"]})", {"label", "label!"});
  EXPECT_TRUE(filters->MatchLabels({{"a", ""}}));
  EXPECT_TRUE(filters->MatchLabels({{"a", "x"}, {"b", "2"}}));
  EXPECT_FALSE(filters->MatchLabels({{"a", "x"}, {"b", "1"}}));
  EXPECT_FALSE(filters->MatchLabels({{"b", "2"}}));
}

TEST(FiltersTest, ReadsMoments) {
  const absl::Time now = absl::FromUnixSeconds(1'000'000);
  EXPECT_EQ(*ParseMoment("1h", now), now - absl::Hours(1));
  EXPECT_EQ(*ParseMoment("1h30m", now), now - absl::Minutes(90));
  EXPECT_EQ(*ParseMoment("1700000000", now), absl::FromUnixSeconds(1'700'000'000));
  EXPECT_EQ(*ParseMoment("1700000000.5", now),
            absl::FromUnixSeconds(1'700'000'000) + absl::Milliseconds(500));
  EXPECT_EQ(*ParseMoment("1700000000.000000001", now),
            absl::FromUnixSeconds(1'700'000'000) + absl::Nanoseconds(1));
  EXPECT_EQ(*ParseMoment("1970-01-02", now), absl::FromUnixSeconds(86400));
  EXPECT_EQ(*ParseMoment("1970-01-01T00:01", now), absl::FromUnixSeconds(60));
  EXPECT_EQ(*ParseMoment("1970-01-01T00:00:01.5Z", now), absl::FromUnixMillis(1500));
  EXPECT_EQ(*ParseMoment("1970-01-01T01:00:00+01:00", now), absl::UnixEpoch());
  for (const char* bad : {"", "yesterday", "1970-13-01", "-", "12x"}) {
    EXPECT_FALSE(ParseMoment(bad, now).ok()) << bad;
  }
}

}  // namespace
}  // namespace gantry::docker
