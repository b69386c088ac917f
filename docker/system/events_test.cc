#include "docker/system/events.h"

#include "gtest/gtest.h"

namespace gantry::docker {
namespace {

gantry::types::ObjectEvent MakeEvent(const std::string& kind, const std::string& action,
                                     const std::string& id,
                                     const std::map<std::string, std::string>& attributes) {
  gantry::types::ObjectEvent event;
  event.set_kind(kind);
  event.set_action(action);
  event.set_id(id);
  event.mutable_attributes()->insert(attributes.begin(), attributes.end());
  return event;
}

TEST(EventsTest, HaveTheKeysOfBothAges) {
  const absl::Time time = absl::FromUnixSeconds(1'700'000'000) + absl::Nanoseconds(5);
  EXPECT_EQ(EventJson(MakeEvent("container", "start", "abc", {{"image", "x"}, {"name", "n"}}), time)
                .dump(),
            R"({"status":"start","id":"abc","from":"x","Type":"container","Action":"start",)"
            R"("Actor":{"ID":"abc","Attributes":{"image":"x","name":"n"}},"scope":"local",)"
            R"("time":1700000000,"timeNano":1700000000000000005})");
  EXPECT_EQ(EventJson(MakeEvent("volume", "create", "v", {}), time).dump(),
            R"({"Type":"volume","Action":"create","Actor":{"ID":"v","Attributes":{}},)"
            R"("scope":"local","time":1700000000,"timeNano":1700000000000000005})");
}

TEST(EventsTest, Filters) {
  const auto container = MakeEvent("container", "health_status: healthy", "abcdef",
                                   {{"image", "nginx:1"}, {"name", "web"}, {"k", "v"}});
  const auto image = MakeEvent("image", "pull", "nginx:1", {{"name", "nginx"}});
  const auto network = MakeEvent("network", "connect", "net1", {{"name", "front"}});
  const struct {
    const char* filters;
    bool container, image, network;
  } cases[] = {
      {"", true, true, true},
      {R"({"type":["container"]})", true, false, false},
      {R"({"type":["container","image"]})", true, true, false},
      {R"({"event":["health_status"]})", true, false, false},
      {R"({"event":["health_status: healthy"]})", true, false, false},
      {R"({"event":["health_status: unhealthy"]})", false, false, false},
      {R"({"event":["pull"]})", false, true, false},
      {R"({"container":["web"]})", true, false, false},
      {R"({"container":["abc"]})", true, false, false},
      {R"({"container":["bcd"]})", false, false, false},
      {R"({"container":[""]})", false, false, false},
      {R"({"image":["nginx"]})", true, true, false},
      {R"({"image":["nginx:1"]})", true, true, false},
      {R"({"image":["nginx:2"]})", false, false, false},
      {R"({"network":["front"]})", false, false, true},
      {R"({"network":["net1"]})", false, false, true},
      {R"({"label":["k=v"]})", true, false, false},
      {R"({"scope":["local"]})", true, true, true},
      {R"({"scope":["swarm"]})", false, false, false},
  };
  for (const auto& c : cases) {
    auto filters = Filters::Parse(
        c.filters, {"type", "event", "container", "image", "network", "label", "scope"});
    ASSERT_TRUE(filters.ok()) << c.filters;
    EXPECT_EQ(EventMatches(container, *filters), c.container) << c.filters;
    EXPECT_EQ(EventMatches(image, *filters), c.image) << c.filters;
    EXPECT_EQ(EventMatches(network, *filters), c.network) << c.filters;
  }
}

}  // namespace
}  // namespace gantry::docker
