#include "docker/volumes/volume_json.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::docker {
namespace {

namespace api = gantry::services::volumes::v1;
using ::testing::HasSubstr;

api::VolumeInfo MakeVolume() {
  api::VolumeInfo info;
  info.mutable_volume()->set_name("data");
  info.mutable_volume()->set_driver("local");
  info.mutable_volume()->mutable_created_at()->set_seconds(1'700'000'000);
  info.mutable_volume()->set_mountpoint("/v/data/_data");
  (*info.mutable_volume()->mutable_labels())["k"] = "v";
  return info;
}

TEST(VolumeJsonTest, HasDockersTypes) {
  api::VolumeInfo info = MakeVolume();
  EXPECT_EQ(VolumeJson(info, false).dump(),
            R"({"CreatedAt":"2023-11-14T22:13:20Z","Driver":"local","Labels":{"k":"v"},)"
            R"("Mountpoint":"/v/data/_data","Name":"data","Options":null,"Scope":"local"})");
  info.add_containers("c");
  info.mutable_usage()->set_size(42);
  EXPECT_EQ(VolumeJson(info, true)["UsageData"].dump(), R"({"RefCount":1,"Size":42})");
}

TEST(VolumeJsonTest, Filters) {
  api::VolumeInfo info = MakeVolume();
  const struct {
    const char* filters;
    bool matches;
  } cases[] = {
      {R"({"name":["at"]})", true},       {R"({"name":["zz"]})", false},
      {R"({"driver":["local"]})", true},  {R"({"driver":["nfs"]})", false},
      {R"({"label":["k"]})", true},       {R"({"label":["k=x"]})", false},
      {R"({"dangling":["true"]})", true}, {R"({"dangling":["false"]})", false},
  };
  for (const auto& c : cases) {
    auto filters = Filters::Parse(c.filters, {"name", "driver", "label", "dangling"});
    EXPECT_EQ(*VolumeMatches(info, *filters), c.matches) << c.filters;
  }
}

TEST(VolumeJsonTest, ReadsRequests) {
  auto volume = VolumeFromJson(*base::ParseJson(
      R"({"Name":"n","Driver":"local","DriverOpts":{"type":"tmpfs"},"Labels":null})"));
  ASSERT_TRUE(volume.ok()) << volume.status();
  EXPECT_EQ(volume->name(), "n");
  EXPECT_EQ(volume->options().at("type"), "tmpfs");
  EXPECT_TRUE(VolumeFromJson(base::Json()).ok());
  const struct {
    const char* body;
    const char* message;
  } cases[] = {
      {R"([])", "invalid JSON"},
      {R"({"Name":1})", "Name must be a string"},
      {R"({"Labels":["a"]})", "Labels must be an object"},
      {R"({"DriverOpts":{"a":1}})", "DriverOpts.a must be a string"},
      {R"({"Name":"n","Driver":"rexray"})", "plugin \"rexray\" not found"},
  };
  for (const auto& c : cases) {
    EXPECT_THAT(VolumeFromJson(*base::ParseJson(c.body)).status().message(), HasSubstr(c.message))
        << c.body;
  }
}

}  // namespace
}  // namespace gantry::docker
