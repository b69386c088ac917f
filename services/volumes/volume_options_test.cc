#include "services/volumes/volume_options.h"

#include <sys/mount.h>

#include <map>
#include <string>

#include "gtest/gtest.h"
#include "services/volumes/rootfs_view.h"

namespace gantry::services {
namespace {

using gantry::services::volumes::v1::Volume;

Volume With(std::map<std::string, std::string> options, const std::string& name = "data") {
  Volume volume;
  volume.set_name(name);
  for (const auto& [key, value] : options) (*volume.mutable_options())[key] = value;
  return volume;
}

TEST(VolumeNameTest, DockersRuleAndWords) {
  for (const char* good : {"ab", "a.b", "9_", "A-b_c.d"}) EXPECT_TRUE(CheckVolumeName(good).ok());
  for (const std::string& bad :
       {std::string(), std::string("-a"), std::string(".."), std::string(".a"), std::string("a/b"),
        std::string("a b"), std::string("a\0b", 3), std::string("ä9"), std::string("_x"),
        std::string(256, 'a'), std::string("a")})
    EXPECT_EQ(CheckVolumeName(bad).code(), absl::StatusCode::kInvalidArgument) << bad;
  EXPECT_EQ(CheckVolume(With({}, "a b")).message(),
            "create a b: \"a b\" includes invalid characters for a local volume name, only "
            "\"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, "
            "use absolute path");
  EXPECT_TRUE(CheckVolumeName(std::string(255, 'a')).ok());
}

TEST(VolumeOptionsTest, WhatIsRefused) {
  struct Case {
    std::map<std::string, std::string> options;
    const char* want;
  };
  for (const Case& test :
       {Case{{{"colour", "red"}}, "create data: invalid option: \"colour\""},
        Case{{{"device", "/x"}}, "missing required option: \"type\""},
        Case{{{"type", "nfs"}}, "missing required option: \"device\""},
        Case{{{"o", "ro"}}, "missing required option: \"device\""},
        Case{{{"size", "10m"}}, "quota size requested but no quota support"},
        Case{{{"type", "none"}, {"device", "x"}, {"o", "bind"}}, "absolute path"},
        Case{{{"type", "none"}, {"device", "/x"}}, "no file system"},
        Case{{{"type", "tmpfs"}, {"device", "tmpfs"}, {"o", "remount,ro"}}, "remount"}}) {
    absl::Status status = CheckVolume(With(test.options));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_NE(status.message().find(test.want), absl::string_view::npos) << status;
  }
  Volume other = With({});
  other.set_driver("rexray");
  EXPECT_EQ(CheckVolume(other).code(), absl::StatusCode::kNotFound);
}

TEST(VolumeOptionsTest, AMountFromOptions) {
  EXPECT_FALSE(HasMount(With({})));
  auto tmpfs = ParseVolumeMount(
      With({{"type", "tmpfs"}, {"device", "tmpfs"}, {"o", "size=10m,uid=1000,nosuid,ro"}}));
  ASSERT_TRUE(tmpfs.ok());
  EXPECT_FALSE(tmpfs->bind);
  EXPECT_EQ(tmpfs->flags, MS_NOSUID | MS_RDONLY);
  EXPECT_EQ(tmpfs->data, (std::vector<std::string>{"size=10m", "uid=1000"}));
  auto bind =
      ParseVolumeMount(With({{"type", "none"}, {"device", "/srv"}, {"o", "rbind,rshared,nodev"}}));
  ASSERT_TRUE(bind.ok());
  EXPECT_TRUE(bind->bind);
  EXPECT_TRUE(bind->recursive);
  EXPECT_EQ(bind->flags, static_cast<unsigned long>(MS_NODEV));
  EXPECT_EQ(bind->propagation, static_cast<unsigned long>(MS_SHARED | MS_REC));
}

TEST(ReadOnlyMountsTest, UpperBecomesTheTopmostLower) {
  auto mounts = ReadOnlyMounts({{.type = "overlay",
                                 .source = "overlay",
                                 .options = {"index=off", "workdir=/s/3/work", "upperdir=/s/3/fs",
                                             "lowerdir=/s/2/fs:/s/1/fs"}},
                                {.type = "bind", .source = "/s/1/fs", .options = {"rw", "rbind"}}});
  EXPECT_EQ(mounts[0].options,
            (std::vector<std::string>{"index=off", "lowerdir=/s/3/fs:/s/2/fs:/s/1/fs", "ro"}));
  EXPECT_EQ(mounts[1].options, (std::vector<std::string>{"rbind", "ro"}));
}

}  // namespace
}  // namespace gantry::services
