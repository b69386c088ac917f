#include <string>

#include "docker/types/container_config.h"
#include "docker/types/host_config.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::docker {
namespace {

using base::Json;
using base::OrderedJson;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(TypesTest, WrongTypesNameTheField) {
  auto config = ContainerConfig::FromJson(Json{{"Tty", "yes"}});
  EXPECT_EQ(config.status().message(),
            "invalid JSON: json: cannot unmarshal string into Go struct field Config.Tty of type "
            "bool");
  EXPECT_FALSE(HostConfig::FromJson(Json{{"Memory", 1.5}}).ok());
  EXPECT_FALSE(HostConfig::FromJson(Json{{"Memory", 18446744073709551615u}}).ok());
  EXPECT_FALSE(HostConfig::FromJson(Json{{"Binds", "x"}}).ok());
  EXPECT_FALSE(HostConfig::FromJson(Json{{"PortBindings", {{"80/tcp", "x"}}}}).ok());
  EXPECT_FALSE(HostConfig::FromJson(Json::array()).ok());
}

TEST(TypesTest, UnknownFieldsNullsAndOtherCasesOfKeysAreFine) {
  auto config = ContainerConfig::FromJson(
      Json{{"nosuch", 1}, {"Env", nullptr}, {"image", "x"}, {"Cmd", "one"}});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->image, "x");
  EXPECT_FALSE(config->env.has_value());
  EXPECT_THAT(*config->cmd, ElementsAre("one"));
}

TEST(TypesTest, MergesTheImageAsDockerDoes) {
  ContainerConfig image;
  image.entrypoint = StringList{"/entry"};
  image.cmd = StringList{"serve"};
  image.env = StringList{"PATH=/bin", "A=1"};
  image.exposed_ports = {"80/tcp"};
  image.user = "app";
  image.labels = {{"a", "image"}, {"b", "image"}};

  ContainerConfig plain;
  plain.env = StringList{"A=2"};
  plain.labels = {{"a", "mine"}};
  plain.MergeImage(image);
  EXPECT_THAT(*plain.entrypoint, ElementsAre("/entry"));
  EXPECT_THAT(*plain.cmd, ElementsAre("serve"));
  EXPECT_THAT(*plain.env, ElementsAre("A=2", "PATH=/bin"));
  EXPECT_EQ(plain.labels["a"], "mine");
  EXPECT_EQ(plain.labels["b"], "image");

  ContainerConfig other_entry;
  other_entry.entrypoint = StringList{"/mine"};
  other_entry.MergeImage(image);
  EXPECT_FALSE(other_entry.cmd.has_value());  // the image's command is for its own entrypoint

  ContainerConfig no_entry;
  no_entry.entrypoint = StringList{""};
  no_entry.cmd = StringList{"sh"};
  no_entry.MergeImage(image);
  EXPECT_FALSE(no_entry.entrypoint.has_value());
  EXPECT_THAT(*no_entry.cmd, ElementsAre("sh"));
}

TEST(TypesTest, CompleteHostConfigHasEveryKeyAndKeepsWhatWasGiven) {
  OrderedJson json = CompleteHostConfig(Json{{"CapAdd", {"NET_ADMIN"}}, {"Dns", Json::array()}});
  EXPECT_EQ(json["CapAdd"][0], "NET_ADMIN");
  EXPECT_TRUE(json["Dns"].is_array());
  EXPECT_TRUE(json["CapDrop"].is_null());
  EXPECT_EQ(json["ShmSize"], 67108864);
  EXPECT_FALSE(json.contains("Tmpfs"));
  EXPECT_EQ(json.begin().key(), "Binds");
}

TEST(TypesTest, SettingsAreCheckedInDockersWords) {
  ResourceSettings resources;
  resources.memory = 1 << 20;
  EXPECT_EQ(resources.Check().message(), "Minimum memory limit allowed is 6MB");
  resources.memory = 0;
  resources.cpu_period = 1;
  EXPECT_THAT(std::string(resources.Check().message()), HasSubstr("CPU cfs period"));
  EXPECT_THAT(std::string(RestartSettings{"sometimes", 0}.Check().message()),
              HasSubstr("unknown policy 'sometimes'"));
  EXPECT_FALSE((RestartSettings{"always", 3}.Check().ok()));
  EXPECT_TRUE((RestartSettings{"on-failure", 3}.Check().ok()));
  Healthcheck check;
  check.interval = 1000;
  EXPECT_EQ(check.Check().message(), "Interval in Healthcheck cannot be less than 1ms");
}

}  // namespace
}  // namespace gantry::docker
