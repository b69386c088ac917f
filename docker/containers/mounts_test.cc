#include "docker/containers/mounts.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::docker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<std::vector<MountPoint>> NoOthers(const std::string&) {
  return absl::NotFoundError("none");
}

struct BindCase {
  const char* text;
  const char* type;  // null: refused
  const char* source;
  const char* destination;
  bool rw;
  const char* error;
};

TEST(MountsTest, ParsesBinds) {
  const BindCase cases[] = {
      {"/a:/b", "bind", "/a", "/b", true, ""},
      {"/a/../c:/b//d/", "bind", "/c", "/b/d", true, ""},
      {"/a:/b:ro,rslave", "bind", "/a", "/b", false, ""},
      {"data:/b:Z", "volume", "", "/b", true, ""},
      {"/b", "volume", "", "/b", true, ""},
      {"/a:b", nullptr, "", "", true, "mount path must be absolute"},
      {"/a:/", nullptr, "", "", true, "destination can't be '/'"},
      {"/a:/x/..", nullptr, "", "", true, "destination can't be '/'"},
      {"/a:/b:bad", nullptr, "", "", true, "invalid mode: bad"},
      {"a/b:/c", nullptr, "", "", true, "includes invalid characters for a local volume name"},
      {"../x:/c", nullptr, "", "", true, "If you intended to pass a host directory"},
      {"a:b:c:d", nullptr, "", "", true, "invalid volume specification: 'a:b:c:d'"},
      {":/b", nullptr, "", "", true, "invalid volume specification: ':/b'"},
  };
  for (const BindCase& c : cases) {
    auto mount = ParseBind(c.text, "");
    ASSERT_EQ(mount.ok(), c.type != nullptr) << c.text << " " << mount.status();
    if (!mount.ok()) {
      EXPECT_THAT(std::string(mount.status().message()), HasSubstr(c.error));
      continue;
    }
    EXPECT_EQ(mount->point.type, c.type) << c.text;
    EXPECT_EQ(mount->point.source, c.source) << c.text;
    EXPECT_EQ(mount->point.destination, c.destination) << c.text;
    EXPECT_EQ(mount->point.rw, c.rw) << c.text;
  }
}

TEST(MountsTest, OneMountForEachDestinationAndParentsFirst) {
  ContainerConfig config;
  config.volumes = {"/data", "/data/deep/er", "/other"};
  HostConfig host;
  host.binds = {"/src:/data/deep"};
  host.tmpfs = {{"/other", "size=1m,exec"}};
  auto mounts = PlanMounts(config, host, NoOthers);
  ASSERT_TRUE(mounts.ok()) << mounts.status();
  std::vector<std::string> found;
  for (const PlannedMount& mount : *mounts) {
    found.push_back(mount.point.type + " " + mount.point.destination);
  }
  EXPECT_THAT(found, ElementsAre("tmpfs /other", "volume /data", "bind /data/deep",
                                 "volume /data/deep/er"));
  EXPECT_THAT(SpecMounts(*mounts)[0].options, ElementsAre("nosuid", "nodev", "size=1m", "exec"));
  host.binds.push_back("vol:/data/deep/");
  EXPECT_EQ(PlanMounts(config, host, NoOthers).status().message(),
            "Duplicate mount point: /data/deep");
}

TEST(MountsTest, VolumesFromAreTheOthersButNotTheirAnonymity) {
  HostConfig host;
  host.volumes_from = {"db:ro"};
  host.binds = {"/mine:/b"};
  auto of = [](const std::string& name) -> absl::StatusOr<std::vector<MountPoint>> {
    EXPECT_EQ(name, "db");
    MountPoint a, b;
    a.type = b.type = "volume";
    a.destination = "/a";
    b.destination = "/b";
    a.anonymous = true;
    return std::vector<MountPoint>{a, b};
  };
  auto mounts = PlanMounts(ContainerConfig(), host, of);
  ASSERT_TRUE(mounts.ok());
  ASSERT_EQ(mounts->size(), 2u);
  EXPECT_EQ((*mounts)[0].point.source, "/mine");
  EXPECT_FALSE((*mounts)[1].point.rw);
  EXPECT_FALSE((*mounts)[1].point.anonymous);
}

TEST(MountsTest, RefusesBadMountRequests) {
  MountRequest request;
  request.type = "bind";
  request.target = "/t";
  EXPECT_THAT(std::string(PlanMount(request).status().message()),
              HasSubstr("field Source must not be empty"));
  request.source = "rel";
  EXPECT_THAT(std::string(PlanMount(request).status().message()), HasSubstr("must be absolute"));
  request.type = "zip";
  EXPECT_THAT(std::string(PlanMount(request).status().message()), HasSubstr("mount type unknown"));
}

TEST(MountsTest, MissingSourcesAreMadeForBindsOnly) {
  auto bind = ParseBind("/nonexistent-gantry-test/x:/b", "");
  ASSERT_TRUE(bind.ok());
  bind->create_source = false;
  EXPECT_EQ(PrepareSources({*bind}).message(),
            "invalid mount config for type \"bind\": bind source path does not exist: "
            "/nonexistent-gantry-test/x");
}

}  // namespace
}  // namespace gantry::docker
