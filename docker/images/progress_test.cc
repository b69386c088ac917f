#include "docker/images/progress.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::docker {
namespace {

using ::testing::ElementsAre;

client::Progress Report(const std::string& event, const std::string& hex, int64_t at, int64_t total,
                        const std::string& type = "application/vnd.oci.image.layer.v1.tar+gzip") {
  client::Progress report;
  report.set_event(event);
  report.set_progress(at);
  report.set_total(total);
  report.mutable_desc()->set_media_type(type);
  report.mutable_desc()->set_digest("sha256:" + hex);
  return report;
}

TEST(ProgressTest, APullShowsEachLayerAsDockerDoes) {
  std::vector<std::string> lines;
  PullProgress pull([&](const base::OrderedJson& line) { lines.push_back(line.dump()); });
  const std::string hex = "0123456789abcdef";
  pull.On(Report("waiting", hex, 0, 100));
  pull.On(Report("waiting", "c0", 0, 10, "application/vnd.oci.image.config.v1+json"));
  EXPECT_FALSE(pull.fetched());
  pull.On(Report("downloading", hex, 50, 100));
  pull.On(Report("complete", hex, 100, 100));
  pull.On(Report("complete", hex, 100, 100));
  EXPECT_TRUE(pull.fetched());
  EXPECT_THAT(
      lines,
      ElementsAre(
          R"({"status":"Pulling fs layer","progressDetail":{},"id":"0123456789ab"})",
          R"({"status":"Downloading","progressDetail":{"current":50,"total":100},"progress":"[=========================>                         ]      50B/100B","id":"0123456789ab"})",
          R"({"status":"Verifying Checksum","progressDetail":{},"id":"0123456789ab"})",
          R"({"status":"Download complete","progressDetail":{},"id":"0123456789ab"})",
          R"({"status":"Extracting","progressDetail":{"current":100,"total":100},"progress":"[==================================================>]     100B/100B","id":"0123456789ab"})",
          R"({"status":"Pull complete","progressDetail":{},"id":"0123456789ab"})"));
}

TEST(ProgressTest, ALayerThatIsHereSaysSoOnce) {
  std::vector<std::string> lines;
  PullProgress pull([&](const base::OrderedJson& line) { lines.push_back(line["status"]); });
  pull.On(Report("waiting", "ab", 0, 5));
  pull.On(Report("already exists", "ab", 5, 5));
  pull.On(Report("already exists", "ab", 5, 5));
  EXPECT_THAT(lines, ElementsAre("Pulling fs layer", "Already exists"));
  EXPECT_FALSE(pull.fetched());
}

TEST(ProgressTest, APush) {
  std::vector<std::string> lines;
  PushProgress push([&](const base::OrderedJson& line) { lines.push_back(line["status"]); });
  push.On(Report("waiting", "ab", 0, 5));
  push.On(Report("uploading", "ab", 2, 5));
  push.On(Report("complete", "ab", 5, 5));
  push.On(Report("already exists", "cd", 5, 5));
  EXPECT_THAT(lines,
              ElementsAre("Preparing", "Pushing", "Pushed", "Preparing", "Layer already exists"));
}

TEST(ProgressTest, Errors) {
  EXPECT_EQ(ErrorLine("x").dump(), R"({"errorDetail":{"message":"x"},"error":"x"})");
  EXPECT_EQ(StatusLine("s").dump(), R"({"status":"s"})");
}

}  // namespace
}  // namespace gantry::docker
