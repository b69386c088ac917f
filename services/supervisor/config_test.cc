#include "services/supervisor/config.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::services {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(Config, ReadsContainerdVersion2) {
  auto config = ParseConfig(R"(
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
  uid = 10
  gid = 20
[debug]
  level = "debug"
[metrics]
  address = "127.0.0.1:1338"
[plugins."io.containerd.gc.v1.scheduler"]
  mutation_threshold = 5
  schedule_delay = "20ms"
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "/etc/containerd/certs.d"
[proxy_plugins.stargz]
  type = "snapshot"
  address = "/run/stargz.sock"
)",
                            "config.toml");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->root, "/var/lib/containerd");
  EXPECT_EQ(config->grpc.address, "/run/containerd/containerd.sock");
  EXPECT_EQ(config->grpc.uid, 10u);
  EXPECT_EQ(config->log_level, "debug");
  EXPECT_EQ(config->metrics_address, "127.0.0.1:1338");
  EXPECT_EQ(config->gc.mutation_threshold, 5);
  EXPECT_EQ(config->gc.schedule_delay, absl::Milliseconds(20));
  EXPECT_EQ(config->registry_config_path, "/etc/containerd/certs.d");
  EXPECT_EQ(config->proxy_snapshotters.at("stargz"), "/run/stargz.sock");
  EXPECT_THAT(config->warnings, IsEmpty());
}

TEST(Config, NamesKeysWithoutMeaning) {
  auto config = ParseConfig(
      "version = 3\ndisabled_plugins = []\n[plugins.'io.containerd.nri.v1.nri']\ndisable = "
      "true\n[grpc]\nfoo = 1\n",
      "c");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_THAT(config->warnings, Contains(HasSubstr("\"disabled_plugins\" (line 2)")));
  EXPECT_THAT(config->warnings,
              Contains(HasSubstr("\"plugins.io.containerd.nri.v1.nri.disable\"")));
  EXPECT_THAT(config->warnings, Contains(HasSubstr("\"grpc.foo\"")));
}

TEST(Config, RefusesWhatItCannotMean) {
  struct Case {
    const char* name;
    const char* text;
    const char* want;
  } cases[] = {
      {"syntax", "root = ", "line 1"},
      {"type", "version = 2\nroot = 5", "line 2: \"root\" must be a string"},
      {"nested type", "version = 2\n[grpc]\nuid = \"x\"", "\"grpc.uid\" must be an integer"},
      {"version", "version = 1", "version 1 is not supported"},
      {"level", "version = 2\n[debug]\nlevel = \"loud\"", "\"loud\" is unknown"},
      {"range", "version = 2\n[grpc]\nuid = 4294967296", "\"grpc.uid\" must be an integer in its"},
      {"oom score", "version = 2\noom_score = -1001", "between -1000 and 1000"},
      {"pause", "version = 2\n[plugins.'io.containerd.gc.v1.scheduler']\npause_threshold = 7.5",
       "between 0 and 1"},
      {"duration",
       "version = 2\n[plugins.'io.containerd.gc.v1.scheduler']\nschedule_delay = \"soon\"",
       "must be a duration"},
  };
  for (const Case& c : cases) {
    auto config = ParseConfig(c.text, "file");
    EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument) << c.name;
    EXPECT_THAT(std::string(config.status().message()), HasSubstr(c.want)) << c.name;
  }
}

TEST(Config, DumpIsReadBackTheSame) {
  Config config;
  config.root = "/a";
  config.proxy_snapshotters["x"] = "/x.sock";
  config.runtimes["io.containerd.runc.v2"] = "/usr/bin/containerd-shim-runc-v2";
  config.runtimes["it's \\ \"a\"\n\x01"] = "";
  config.oom_score = -5;
  config.gc.schedule_delay = absl::Seconds(2);
  config.gc.deletion_threshold = 7;
  config.gc.pause_threshold = 0;
  std::string text = FormatConfig(config);
  auto again = ParseConfig(text, "dump");
  ASSERT_TRUE(again.ok()) << again.status() << text;
  EXPECT_EQ(FormatConfig(*again), text);
  EXPECT_EQ(again->runtimes, config.runtimes);
  EXPECT_EQ(again->oom_score, -5);
  EXPECT_EQ(again->gc.deletion_threshold, 7);
  EXPECT_EQ(again->gc.pause_threshold, 0);
  EXPECT_THAT(again->warnings, IsEmpty());
}

}  // namespace
}  // namespace gantry::services
