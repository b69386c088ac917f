#include "services/registry/image.h"

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace gantry::services {
namespace {

const char kD[] = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

std::string Desc(const std::string& type, const std::string& more = "") {
  return absl::StrCat("{\"mediaType\":\"", type, "\",\"digest\":\"", kD, "\",\"size\":7", more,
                      "}");
}
std::string For(const std::string& arch, const std::string& variant = "") {
  return Desc(kOciManifest, absl::StrCat(",\"platform\":{\"os\":\"linux\",\"architecture\":\"",
                                         arch, "\",\"variant\":\"", variant, "\"}"));
}

TEST(ImageTest, ReadsManifestsAndIndexes) {
  auto m = ParseManifest(absl::StrCat("{\"schemaVersion\":2,\"config\":", Desc(kOciConfig),
                                      ",\"layers\":[", Desc(kOciLayerGzip), "]}"),
                         kOciManifest);
  ASSERT_TRUE(m.ok()) << m.status();
  EXPECT_EQ(m->layers.size(), 1u);
  EXPECT_EQ(m->config.size, 7);
  auto i = ParseIndex(absl::StrCat("{\"manifests\":[", For("amd64"), "]}"), kOciIndex);
  ASSERT_TRUE(i.ok()) << i.status();
  EXPECT_EQ(i->manifests[0].platform->architecture, "amd64");
}

TEST(ImageTest, RefusesAmbiguousAndMislabelledDocuments) {
  std::string both = absl::StrCat("{\"manifests\":[", For("amd64"), "],\"layers\":[]}");
  EXPECT_EQ(ParseIndex(both, kOciIndex).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ParseManifest(both, kOciManifest).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(DetectManifestType(both).ok());
  std::string index = absl::StrCat("{\"manifests\":[", For("amd64"), "]}");
  EXPECT_FALSE(ParseManifest(index, kOciManifest).ok());
  std::string typed = absl::StrCat("{\"mediaType\":\"", kDockerManifest,
                                   "\",\"config\":", Desc(kDockerConfig), ",\"layers\":[]}");
  EXPECT_FALSE(ParseManifest(typed, kOciManifest).ok());
  EXPECT_TRUE(ParseManifest(typed, kDockerManifest).ok());
  EXPECT_FALSE(ParseManifest("{\"fsLayers\":[]}", kOciManifest).ok());
  EXPECT_FALSE(ParseManifest("[]", kOciManifest).ok());
}

TEST(ImageTest, RefusesBadDigestsAndSizes) {
  for (const char* bad :
       {"{\"digest\":\"sha256:..\",\"size\":1}", "{\"digest\":\"md5:00\",\"size\":1}", "3",
        "{\"digest\":\"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\","
        "\"size\":-1}"}) {
    EXPECT_FALSE(
        ParseManifest(absl::StrCat("{\"config\":", bad, ",\"layers\":[]}"), kOciManifest).ok())
        << bad;
  }
}

TEST(ImageTest, ChoosesThePlatform) {
  auto index =
      ParseIndex(absl::StrCat("{\"manifests\":[", For("386"), ",", For("arm", "v6"), ",",
                              For("amd64"), ",", For("arm64", "v8"), ",", For("arm", "v7"), "]}"),
                 kOciIndex);
  ASSERT_TRUE(index.ok());
  auto amd = SelectManifests(*index, {{"linux", "amd64", "v3", ""}});
  ASSERT_EQ(amd.size(), 1u);
  EXPECT_EQ(amd[0].platform->architecture, "amd64");
  auto arm = SelectManifests(*index, {{"linux", "arm64", "", ""}});
  ASSERT_EQ(arm.size(), 1u);
  EXPECT_EQ(arm[0].platform->architecture, "arm64");
  auto two = SelectManifests(*index, {{"linux", "arm", "v8", ""}, {"linux", "amd64", "", ""}});
  ASSERT_EQ(two.size(), 2u);
  EXPECT_EQ(two[0].platform->variant, "v7");
  EXPECT_TRUE(SelectManifests(*index, {{"windows", "amd64", "", ""}}).empty());
  EXPECT_EQ(SelectManifests(*index, {}).size(), 5u);
}

TEST(ImageTest, PlatformsHaveManySpellings) {
  EXPECT_EQ(ParsePlatform("linux/x86_64")->str(), "linux/amd64");
  EXPECT_EQ(ParsePlatform("linux/arm")->str(), "linux/arm/v7");
  EXPECT_EQ(ParsePlatform("linux/aarch64/v8")->str(), "linux/arm64");
  EXPECT_EQ(ParsePlatform("linux")->os, "linux");
  EXPECT_EQ(ParsePlatform("arm64")->str(), "linux/arm64");
  EXPECT_FALSE(ParsePlatform("a/b/c/d").ok());
  EXPECT_FALSE(ParsePlatform("linux//v8").ok());
}

TEST(ImageTest, ChainIdsFollowTheSpecification) {
  base::Digest a = base::DigestOf("a"), b = base::DigestOf("b");
  auto ids = ChainIds({a, b});
  EXPECT_EQ(ids[0], a);
  EXPECT_EQ(ids[1], base::DigestOf(a.str() + " " + b.str()));
}

}  // namespace
}  // namespace gantry::services
