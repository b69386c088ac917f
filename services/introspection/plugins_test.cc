#include "services/introspection/plugins.h"

#include <unistd.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "base/ids.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::services {
namespace {

namespace api = containerd::services::introspection::v1;

class IntrospectionTest : public ::testing::Test {
 protected:
  IntrospectionTest()
      : dir_(absl::StrCat(::testing::TempDir(), "gantry-intro-", base::RandomHex(6))),
        introspection_(dir_, BuiltinPlugins("/root", {"overlayfs", "native"})) {}
  ~IntrospectionTest() override { std::filesystem::remove_all(dir_); }

  const std::string dir_;
  Introspection introspection_;
};

TEST_F(IntrospectionTest, FiltersPlugins) {
  EXPECT_GT(introspection_.Plugins({})->size(), 20u);
  auto snapshotters = introspection_.Plugins({"type==io.containerd.snapshotter.v1"});
  ASSERT_TRUE(snapshotters.ok());
  ASSERT_EQ(snapshotters->size(), 2u);
  const Plugin& overlay = (*snapshotters)[0];
  EXPECT_EQ(overlay.id(), "overlayfs");
  EXPECT_EQ(overlay.exports().at("root"), "/root/io.containerd.snapshotter.v1.overlayfs");
  ASSERT_EQ(overlay.platforms_size(), 1);
  EXPECT_EQ(overlay.platforms(0).os(), "linux");
  EXPECT_EQ(introspection_.Plugins({"type==io.containerd.snapshotter.v1,id==native"})->size(), 1u);
  EXPECT_EQ(introspection_.Plugins({"type=="}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(IntrospectionTest, KeepsItsUuid) {
  auto first = introspection_.Server();
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->pid(), static_cast<uint64_t>(getpid()));
  EXPECT_NE(first->pidns(), 0u);
  EXPECT_THAT(first->uuid(),
              ::testing::MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-"
                                      "[0-9a-f]{12}"));
  Introspection again(dir_, {});
  EXPECT_EQ(again.Server()->uuid(), first->uuid());
}

TEST_F(IntrospectionTest, AsksPluginsForMore) {
  api::PluginInfoRequest request;
  request.set_type("io.containerd.runtime.v2");
  request.set_id("nope");
  EXPECT_EQ(introspection_.PluginInfo(request).status().code(), absl::StatusCode::kNotFound);
  request.set_id("task");
  EXPECT_EQ(introspection_.PluginInfo(request)->plugin().id(), "task");
  request.mutable_options()->set_type_url("x");
  EXPECT_EQ(introspection_.PluginInfo(request).status().code(), absl::StatusCode::kUnimplemented);
  introspection_.SetInfoProvider("io.containerd.runtime.v2", "task",
                                 [](const google::protobuf::Any& options) {
                                   google::protobuf::Any extra;
                                   extra.set_value(options.type_url() + "!");
                                   return extra;
                                 });
  EXPECT_EQ(introspection_.PluginInfo(request)->extra().value(), "x!");
}

}  // namespace
}  // namespace gantry::services
