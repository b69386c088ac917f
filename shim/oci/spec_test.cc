#include "shim/oci/spec.h"

#include <sched.h>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::oci {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(SpecTest, ReadsWhatClientsWrite) {
  auto spec = ParseSpec(R"({"ociVersion": "1.1.0",
    "process": {"terminal": true, "consoleSize": {"height": 2, "width": 3},
      "user": {"uid": 4294967294, "gid": 5, "additionalGids": [6, 7], "umask": 18},
      "args": ["a", "b"], "cwd": "/w", "oomScoreAdj": -5,
      "capabilities": {"bounding": ["CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_FUTURE"]},
      "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 18446744073709551615}]},
    "root": {"path": "rootfs", "readonly": true}, "hostname": "h",
    "mounts": [{"destination": "proc", "type": "proc", "source": "proc"}],
    "annotations": {"k": "v"},
    "linux": {"namespaces": [{"type": "pid"}, {"type": "network", "path": "/x"}],
      "resources": {"memory": {"limit": -1, "swappiness": 18446744073709551615},
                    "cpu": {"quota": -1, "cpus": "0-1,3"}, "pids": {"limit": 7},
                    "devices": [{"allow": true, "type": "c", "major": 1, "access": "rw"}]},
      "seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}, "windows": {"x": 1}})");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->process->uid, 4294967294u);
  EXPECT_THAT(spec->process->additional_gids, ElementsAre(6u, 7u));
  EXPECT_EQ(spec->process->capabilities->bounding, (uint64_t{1} << 0) | (uint64_t{1} << 21));
  EXPECT_EQ(spec->process->rlimits[0].hard, UINT64_MAX);
  EXPECT_EQ(*spec->process->oom_score_adj, -5);
  EXPECT_EQ(spec->mounts[0].destination, "/proc");
  EXPECT_EQ(spec->FindNamespace(CLONE_NEWNET)->path, "/x");
  EXPECT_EQ(spec->FindNamespace(CLONE_NEWNS), nullptr);
  EXPECT_EQ(*spec->linux_.resources.memory.limit, -1);
  EXPECT_FALSE(spec->linux_.resources.memory.swappiness);
  EXPECT_EQ(spec->linux_.resources.devices[0].minor, -1);
  EXPECT_EQ(spec->linux_.seccomp_json, R"({"defaultAction": "SCMP_ACT_ALLOW"})");
}

TEST(SpecTest, TakesSeccompAsItIsWritten) {
  struct Case {
    const char* json;
    const char* seccomp;
  };
  const Case kCases[] = {
      {R"({"linux": {"seccomp": {"a": ["}", "]"], "b": {}}, "sysctl": {}}, "root": {}})",
       R"({"a": ["}", "]"], "b": {}})"},
      {R"({"hostname": "seccomp", "linux" : { "sysctl" : {"x": "1"} , "seccomp" : {"a":1} }})",
       R"({"a":1})"},
      {R"({"linux": {"seccomp": null}})", ""},
      {R"({"seccomp": {"a": 1}, "linux": {}})", ""},
      {R"({"annotations": {"linux": "{"}, "linux": {"seccomp": {"a": 1}, "seccomp": {"b":2}}})",
       R"({"b":2})"},
  };
  for (const Case& c : kCases) {
    auto spec = ParseSpec(c.json);
    ASSERT_TRUE(spec.ok()) << c.json << ": " << spec.status();
    EXPECT_EQ(spec->linux_.seccomp_json, c.seccomp) << c.json;
  }
  // With escapes the text might be anything.
  auto escaped = ParseSpec(R"({"linux": {"seccomp": {"\u006cistenerPath": "/a", "b": "\"}"}}})");
  ASSERT_TRUE(escaped.ok()) << escaped.status();
  EXPECT_EQ(escaped->linux_.seccomp_listener, "/a");
  EXPECT_EQ(escaped->linux_.seccomp_json, R"({"b":"\"}","listenerPath":"/a"})");
  for (const char* json : {R"({"linux": {"seccomp": {"a": )", R"({"linux": {"seccomp": {}]}})",
                           R"({"linux": {"seccomp": {} x}})", R"({"linux": {"seccomp": {})"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseSpec(json).status())) << json;
  }
}

TEST(SpecTest, NamesWhatIsWrong) {
  struct Case {
    const char* json;
    const char* message;
  };
  const Case kCases[] = {
      {"[]", "must be a JSON object"},
      {"{", "config.json"},
      {R"({"process": {"cwd": "x"}})", "process.cwd: must be an absolute path"},
      {R"({"process": {"cwd": "/", "user": {"uid": 4294967295}}})", "process.user.uid"},
      {R"({"process": {"cwd": "/", "user": {"uid": 4294967296}}})", "process.user.uid"},
      {R"({"process": {"cwd": "/", "user": {"uid": -1}}})", "process.user.uid"},
      {R"({"process": {"cwd": "/", "user": {"uid": 0.5}}})", "process.user.uid"},
      {R"({"process": {"cwd": "/", "user": {"uid": "0"}}})", "process.user.uid"},
      {R"({"process": {"cwd": "/", "args": ["a\u0000b"]}})", "NUL"},
      {R"({"process": {"cwd": "/", "args": "sh"}})", "process.args: must be an array"},
      {R"({"process": {"cwd": "/", "rlimits": [{"type": "RLIMIT_FOO"}]}})", "RLIMIT_FOO"},
      {R"({"process": {"cwd": "/", "rlimits": [{"type": "RLIMIT_AS", "soft": 2, "hard": 1}]}})",
       "process.rlimits[0]"},
      {R"({"process": {"cwd": "/", "oomScoreAdj": 1001}})", "oomScoreAdj"},
      {R"({"linux": {"namespaces": [{"type": "foo"}]}})",
       "linux.namespaces[0].type: unknown namespace \"foo\""},
      {R"({"linux": {"namespaces": [{"type": "pid"}, {"type": "pid"}]}})", "second entry"},
      {R"({"linux": {"namespaces": [{"type": "pid", "path": "rel"}]}})", "absolute"},
      {R"({"linux": {"resources": {"cpu": {"cpus": "0;1"}}}})", "cpu.cpus"},
      {R"({"linux": {"resources": {"unified": {"../x": "1"}}}})", "unified"},
      {R"({"linux": {"resources": {"devices": [{"access": "x"}]}}})", "access"},
      {R"({"linux": {"devices": [{"type": "x", "path": "/d"}]}})", "linux.devices[0].type"},
      {R"({"hooks": {"prestart": [{"path": "x"}]}})", "hooks.prestart[0].path"},
      {R"({"mounts": [{"destination": ""}]})", "mounts[0].destination"},
      {R"({"root": 5})", "root: must be an object"},
  };
  for (const Case& c : kCases) {
    auto spec = ParseSpec(c.json);
    EXPECT_EQ(spec.status().code(), absl::StatusCode::kInvalidArgument) << c.json;
    EXPECT_THAT(std::string(spec.status().message()), HasSubstr(c.message)) << c.json;
  }
}

TEST(SpecTest, DepthAndSizeAreBounded) {
  std::string deep(100000, '[');
  EXPECT_FALSE(ParseSpec(deep).ok());
  EXPECT_FALSE(ParseSpec(std::string(17 << 20, ' ')).ok());
}

TEST(SpecTest, NullsCountAsAbsent) {
  auto spec = ParseSpec(R"({"process": {"cwd": "/", "args": null, "capabilities": null},
    "linux": null, "hooks": {"prestart": null}, "mounts": null})");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_FALSE(spec->process->capabilities);
}

}  // namespace
}  // namespace gantry::oci
