#include "services/metadata/filters.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gtest/gtest.h"

namespace gantry::services {
namespace {

struct Item {
  std::string name;
  std::string other;
  google::protobuf::Map<std::string, std::string> labels;
};

std::vector<Item> Items() {
  std::vector<Item> items(9);
  items[0].name = "foo";
  items[0].labels["foo"] = "true";
  items[1].name = "bar";
  items[2].name = "foo";
  items[2].labels["foo"] = "present";
  items[2].labels["more complex label"] = "present";
  items[3].name = "bar";
  items[3].labels["bar"] = "true";
  items[4].name = "fooer";
  items[4].labels["more complex label with \\ and \""] = "present";
  items[5].name = "fooer";
  items[5].labels["more complex label with \\ and \".post"] = "present";
  items[6].name = "baz";
  items[6].other = "too complex, yo";
  items[7].name = "bazo";
  items[7].other = "abc";
  items[8].name = "compound";
  items[8].labels["foo"] = "omg_asdf.asdf-qwer";
  return items;
}

// The indexes that match, or the error without its code's text.
std::string Matching(const std::vector<std::string>& filters) {
  absl::StatusOr<Filter> filter = Filter::Parse(filters);
  if (!filter.ok()) {
    EXPECT_TRUE(absl::IsInvalidArgument(filter.status()));
    return std::string(filter.status().message());
  }
  std::vector<int> matched;
  const std::vector<Item> items = Items();
  for (size_t i = 0; i < items.size(); ++i) {
    auto lookup = [&](absl::Span<const std::string> path) -> std::optional<std::string> {
      const auto present = [](const std::string& value) {
        return value.empty() ? std::nullopt : std::optional<std::string>(value);
      };
      if (path[0] == "name") return present(items[i].name);
      if (path[0] == "other") return present(items[i].other);
      if (path[0] == "labels") return LookupLabel(items[i].labels, path.subspan(1));
      return std::nullopt;
    };
    if (filter->Match(lookup)) matched.push_back(static_cast<int>(i));
  }
  return absl::StrJoin(matched, ",");
}

struct Case {
  std::string filter;
  std::string want;
};

TEST(FilterTest, MatchesAsContainerdDoes) {
  const std::vector<Case> cases = {
      {"", "0,1,2,3,4,5,6,7,8"},
      {"name", "0,1,2,3,4,5,6,7,8"},
      {"labels.foo", "0,2,8"},
      {"labels.foo,name", "0,2,8"},
      {"labels.foo==true", "0"},
      {"labels.foo==omg_asdf.asdf-qwer", "8"},
      {"name==bar", "1,3"},
      {"name!=bar", "0,2,4,5,6,7,8"},
      {"name==bar,labels.bar", "3"},
      {"other==\"too complex, yo\"", "6"},
      {"other~=[abc]+,name!=foo", "6,7"},
      {"other~=/[abc]+/,name!=foo", "6,7"},
      {"other~=/[abc]{1,2}/,name!=foo", "6,7"},
      {"other~=|^abc$|", "7"},
      {"other~=/[abc]{0,1}\"\\//,name!=foo", ""},
      {"name==bar,labels.bar==true", "3"},
      {"name==bar,labels.bar==wrong", ""},
      {R"(name==foo,labels."more complex label")", "2"},
      {R"(labels."more complex label with \\ and \""==present)", "4"},
      {R"(labels."more complex label with \\ and \"".post==present)", "5"},
      {"labels.absent!=x", "0,1,2,3,4,5,6,7,8"},
      {"labels.absent==\"\"", ""},
      {"other~=^$", "0,1,2,3,4,5,8"},
      {"name~=[", ""},
      {"unknown", ""},
      {"name == bar , labels.bar", "[name == bar >| |< , labels.bar]: unexpected input:  "},
      {R"(name=="\x66oo")", "0,2"},
      {R"(name=="\u0066\157o")", "0,2"},
  };
  for (const Case& c : cases) {
    std::string want = c.want;
    if (want.rfind('[', 0) == 0) {
      want = absl::StrCat("filters: parse error: ", want, ": invalid argument");
    }
    EXPECT_EQ(Matching({c.filter}), want) << c.filter;
  }
}

TEST(FilterTest, ParseErrorsSayWhere) {
  const std::vector<Case> cases = {
      {"labels.|foo|==omg_asdf.asdf-qwer",
       "[labels. >|||< foo|==omg_asdf.asdf-qwer]: invalid quote encountered"},
      {R"(labels.?"more complex label with \\ and \"".post==present)",
       R"([labels. >|?|< "more complex label with \\ and \"".post==present]: )"
       "expected field or quoted"},
      {"name==foo,", "[name==foo,]: expected field or quoted"},
      {"labels.", "[labels.]: expected field or quoted"},
      {"image~=,id?=?fbaq", "[image~= >|,|< id?=?fbaq]: expected value or quoted"},
      {"labels.ns/key==value", "[labels.ns >|/|< key==value]: quoted literal not terminated"},
      {"labels.key==/value", "[labels.key== >|/|< value]: quoted literal not terminated"},
      {"name===x", "[name >|=|< ==x]: unsupported operator \"===\""},
      {"name=x", "[name >|=|< x]: unsupported operator \"=\""},
      {"name?x", R"([name >|?|< x]: expected an operator ("=="|"!="|"~="))"},
      {"name==\"\\q\"", "[name== >|\"|< \\q\"]: illegal escape sequence"},
      {"name==\"\\x6\"", "[name== >|\"|< \\x6\"]: illegal numeric escape sequence"},
      {"name==\"a\nb\"", "[name== >|\"|< a\nb\"]: quoted literal not terminated"},
      {"name==\xff", "[name== >|\xff|< ]: rune error"},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(Matching({c.filter}),
              absl::StrCat("filters: parse error: ", c.want, ": invalid argument"));
  }
}

TEST(FilterTest, OneOfSeveralFiltersIsEnough) {
  EXPECT_EQ(Matching({}), "0,1,2,3,4,5,6,7,8");
  EXPECT_EQ(Matching({"name==foo", "name==baz"}), "0,2,6");
  EXPECT_EQ(Matching({"name==foo", ""}), "0,1,2,3,4,5,6,7,8");
}

TEST(FilterTest, AnyBytesParseOrFailCleanly) {
  const absl::string_view alphabet = "a.,=!~\"/|\\ x0\n\xc3\xa9";
  for (size_t seed = 0; seed < 20000; ++seed) {
    std::string text;
    for (size_t n = seed; n != 0; n /= alphabet.size()) text += alphabet[n % alphabet.size()];
    Matching({text});
  }
}

}  // namespace
}  // namespace gantry::services
