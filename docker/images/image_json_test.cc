#include "docker/images/image_json.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::docker {
namespace {

using base::Json;
using ::testing::ElementsAre;

LocalImage MakeImage(const std::string& config, const std::vector<std::string>& tags) {
  auto content = std::make_shared<ImageContent>();
  content->id = base::DigestOf(config);
  content->config = *base::ParseJson(config);
  content->platform = {"linux", "amd64", ""};
  content->diff_ids = {base::DigestOf("layer")};
  absl::Time created;
  if (absl::ParseTime(absl::RFC3339_full, base::JsonString(content->config, "created"), &created,
                      nullptr)) {
    content->created = created;
  }
  LocalImage image;
  image.content = content;
  image.tagged = absl::FromUnixSeconds(5);
  for (const std::string& tag : tags) image.tags.push_back(*ParseImageReference(tag));
  return image;
}

constexpr char kConfig[] = R"({
  "created": "2024-05-06T07:08:09.5Z", "author": "me", "architecture": "amd64", "os": "linux",
  "config": {"Env": ["A=b"], "Cmd": ["sh"], "Labels": {"k": "v"}, "ExposedPorts": {"80/tcp": {}}},
  "rootfs": {"type": "layers", "diff_ids": []},
  "history": [{"created": "2024-05-06T07:08:09Z", "created_by": "ADD x"},
              {"created": "2024-05-06T07:08:10Z", "created_by": "CMD y", "empty_layer": true,
               "comment": "c"}]})";

TEST(ImageJsonTest, SummaryHasDockersTypes) {
  LocalImage image = MakeImage(kConfig, {"x:1"});
  base::OrderedJson json = ImageSummary(image, 123, -1, -1, {});
  EXPECT_EQ(json.dump(),
            R"({"Containers":-1,"Created":1714979289,"Id":")" + image.id().str() +
                R"(","Labels":{"k":"v"},"ParentId":"","RepoDigests":[],"RepoTags":["x:1"],)" +
                R"("SharedSize":-1,"Size":123})");
  // What old clients are told of images without a name.
  image.tags.clear();
  json = ImageSummary(image, 123, -1, -1, {.minor_version = 40});
  EXPECT_EQ(json["RepoTags"].dump(), R"(["<none>:<none>"])");
  EXPECT_EQ(json["VirtualSize"], 123);
}

TEST(ImageJsonTest, InspectFollowsTheVersion) {
  LocalImage image = MakeImage(kConfig, {"x:1"});
  base::OrderedJson json = ImageInspect(image, 7, "overlayfs", {.minor_version = 51});
  EXPECT_EQ(json["Created"], "2024-05-06T07:08:09.5Z");
  EXPECT_EQ(json["Author"], "me");
  EXPECT_EQ(json["Comment"], "c");
  EXPECT_EQ(json["Config"].dump(),
            R"({"ExposedPorts":{"80/tcp":{}},"Env":["A=b"],"Cmd":["sh"],"Labels":{"k":"v"}})");
  EXPECT_EQ(json["RootFS"]["Layers"].size(), 1u);
  EXPECT_EQ(json["GraphDriver"].dump(), R"({"Data":null,"Name":"overlayfs"})");
  EXPECT_FALSE(json.contains("ContainerConfig"));
  json = ImageInspect(image, 7, "overlayfs", {.minor_version = 41});
  EXPECT_EQ(json["Config"]["Hostname"], "");
  EXPECT_TRUE(json["Config"]["Entrypoint"].is_null());
  EXPECT_TRUE(json["Config"]["Volumes"].is_null());
  EXPECT_EQ(json["Config"]["AttachStdin"], false);
  EXPECT_EQ(json["VirtualSize"], 7);
  EXPECT_TRUE(json.contains("ContainerConfig"));
}

TEST(ImageJsonTest, HistoryIsNewestFirstAndSizesGoToLayers) {
  LocalImage image = MakeImage(kConfig, {"x:1"});
  base::OrderedJson json = ImageHistory(image, {42});
  ASSERT_EQ(json.size(), 2u);
  EXPECT_EQ(json[0]["CreatedBy"], "CMD y");
  EXPECT_EQ(json[0]["Id"], image.id().str());
  EXPECT_EQ(json[0]["Tags"].dump(), R"(["x:1"])");
  EXPECT_EQ(json[0]["Size"], 0);
  EXPECT_EQ(json[1]["Size"], 42);
  EXPECT_EQ(json[1]["Id"], "<missing>");
  EXPECT_TRUE(json[1]["Tags"].is_null());
}

TEST(ImageJsonTest, Patterns) {
  const struct {
    const char* name;
    const char* pattern;
    bool matches;
  } cases[] = {
      {"busybox:1", "busybox", true},
      {"busybox:1", "busybox:1", true},
      {"busybox:1", "busy*", true},
      {"busybox:1", "busybox:2", false},
      {"a/b:1", "*", false},
      {"a/b:1", "*/b", true},
      {"a/b:1", "*/*:1", true},
      {"r.io/a/b:1", "*/b", false},
      {"r.io/a/b:1", "r.io/*/*", true},
      {"busybox:1", "b?sybox", true},
      {"busybox:1", "[a-c]usybox", true},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(MatchesPattern(*ParseImageReference(c.name), c.pattern), c.matches)
        << c.name << " " << c.pattern;
  }
}

TEST(FilterImagesTest, FiltersAsDockerDoes) {
  std::vector<LocalImage> all = {
      MakeImage(R"({"created":"2024-03-01T00:00:00Z","config":{"Labels":{"l":"1"}}})",
                {"new:1", "other:1"}),
      MakeImage(R"({"created":"2024-02-01T00:00:00Z"})", {}),
      MakeImage(R"({"created":"2024-01-01T00:00:00Z"})", {"old:1"}),
  };
  const absl::Time now = absl::FromCivil(absl::CivilSecond(2024, 4, 1), absl::UTCTimeZone());
  auto names = [&](const std::string& text, bool with_parents = false) {
    auto filters = Filters::Parse(
        text, {"before", "since", "dangling", "label", "label!", "reference", "until"});
    auto kept = FilterImages(all, *filters, with_parents, now);
    std::vector<std::string> out;
    if (!kept.ok()) return std::vector<std::string>{std::string(kept.status().message())};
    for (const LocalImage& image : *kept) {
      out.push_back(image.tags.empty() ? "<none>" : image.tags[0].Familiar());
    }
    return out;
  };
  EXPECT_THAT(names(""), ElementsAre("new:1", "<none>", "old:1"));
  EXPECT_THAT(names(R"({"dangling":["true"]})"), ElementsAre("<none>"));
  EXPECT_THAT(names(R"({"dangling":["false"]})"), ElementsAre("new:1", "old:1"));
  EXPECT_THAT(names(R"({"before":["new:1"]})"), ElementsAre("<none>", "old:1"));
  EXPECT_THAT(names(R"({"since":["old:1"]})"), ElementsAre("new:1", "<none>"));
  EXPECT_THAT(names(R"({"before":["x:9"]})"), ElementsAre("No such image: x:9"));
  EXPECT_THAT(names(R"({"label":["l=1"]})"), ElementsAre("new:1"));
  EXPECT_THAT(names(R"({"label!":["l"]})"), ElementsAre("<none>", "old:1"));
  EXPECT_THAT(names(R"({"reference":["o*"]})"), ElementsAre("other:1", "old:1"));
  EXPECT_THAT(names(R"({"until":["2024-01-15"]})"), ElementsAre("old:1"));
  // Nameless parents show with all=1 only.
  all[0].parent = all[1].id();
  EXPECT_THAT(names(""), ElementsAre("new:1", "old:1"));
  EXPECT_THAT(names("", true), ElementsAre("new:1", "<none>", "old:1"));
}

TEST(PlatformTest, ParsesWhatPeopleType) {
  EXPECT_EQ(Platform::Parse("linux/arm64/v8")->str(), "linux/arm64");
  EXPECT_EQ(Platform::Parse("linux/arm/v7")->str(), "linux/arm/v7");
  EXPECT_EQ(Platform::Parse("arm64")->str(), "linux/arm64");
  EXPECT_EQ(Platform::Parse("LINUX/x86_64")->str(), "linux/amd64");
  for (const char* bad : {"", "a/b/c/d", "linux/", "a b", "linux/arm64/../x"}) {
    EXPECT_FALSE(Platform::Parse(bad).ok()) << bad;
  }
  EXPECT_TRUE(Platform::Parse("linux/arm")->Accepts({"linux", "arm", "v7"}));
  EXPECT_FALSE(Platform::Parse("linux/arm/v6")->Accepts({"linux", "arm", "v7"}));
}

}  // namespace
}  // namespace gantry::docker
