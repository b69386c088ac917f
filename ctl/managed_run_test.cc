#include "ctl/managed_run.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gtest/gtest.h"

namespace gantry::ctl {
namespace {

// "ip:host[-end]->port/protocol" of each.
std::string Published(const std::string& text) {
  auto bindings = ParsePublish(text);
  if (!bindings.ok()) return "error";
  std::vector<std::string> parts;
  for (const auto& binding : *bindings) {
    std::string end =
        binding.host_port_end() == 0 ? "" : absl::StrCat("-", binding.host_port_end());
    parts.push_back(absl::StrCat(binding.host_ip(), ":", binding.host_port(), end, "->",
                                 binding.container_port(), "/", binding.protocol()));
  }
  return absl::StrJoin(parts, " ");
}

TEST(ManagedRunTest, PublishedPorts) {
  EXPECT_EQ(Published("80"), ":0->80/tcp");
  EXPECT_EQ(Published("8080:80/udp"), ":8080->80/udp");
  EXPECT_EQ(Published("127.0.0.1:8080:80"), "127.0.0.1:8080->80/tcp");
  EXPECT_EQ(Published("127.0.0.1::80"), "127.0.0.1:0->80/tcp");
  EXPECT_EQ(Published("[::1]:8080:80"), "::1:8080->80/tcp");
  EXPECT_EQ(Published("8000-8001:80-81"), ":8000->80/tcp :8001->81/tcp");
  EXPECT_EQ(Published("8000-8009:80"), ":8000-8009->80/tcp");
  for (const char* bad :
       {"", "x", "0", "80:65536", "81-80", "8000-8001:80-82", "80/icmp", "1:2:3:"})
    EXPECT_EQ(Published(bad), "error") << bad;
}

TEST(ManagedRunTest, RestartPolicies) {
  EXPECT_EQ(ParseRestart("always")->name(), "always");
  EXPECT_EQ(ParseRestart("on-failure:3")->maximum_retries(), 3u);
  for (const char* bad : {"always:3", "on-failure:x", "on-failure:-1"})
    EXPECT_FALSE(ParseRestart(bad).ok()) << bad;
}

TEST(ManagedRunTest, VolumesHaveNamesAndPathsHaveSlashes) {
  for (const char* name : {"data:/d", "data:/d:ro"}) EXPECT_TRUE(IsNamedVolume(name)) << name;
  for (const char* path : {"/data:/d", "./data:/d", "a/b:/d", "~:/d", "relative", ":/d"})
    EXPECT_FALSE(IsNamedVolume(path)) << path;
}

TEST(ManagedRunTest, Statuses) {
  life::State state;
  state.set_status("running");
  state.set_health("none");
  EXPECT_EQ(ManagedStatus(state), "running");
  state.set_health("healthy");
  EXPECT_EQ(ManagedStatus(state), "running (healthy)");
  state.set_status("exited");
  state.set_exit_code(3);
  EXPECT_EQ(ManagedStatus(state), "exited (3)");
}

}  // namespace
}  // namespace gantry::ctl
