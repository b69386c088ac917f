// Exit records from end to end: why a container ended, while it is there, after it was removed,
// after its shim was killed, and after gantryd was.

#include <signal.h>

#include <filesystem>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/integration/gantryd_fixture.h"

namespace gantry::tests {
namespace {

using ::testing::HasSubstr;

class WhyIntegrationTest : public GantrydTest {
 protected:
  void SetUp() override {
    GantrydTest::SetUp();
    StartGantryd();
    ImportBusybox();
  }
  std::string Why(const std::string& name) { return GantryctlOk({"why", name}); }
  // Of the newest end.
  base::Json Record(const std::string& name) {
    auto json = base::ParseJson(GantryctlOk({"why", "--format", "json", name}));
    EXPECT_TRUE(json.ok() && json->is_array() && !json->empty());
    return json.ok() && !json->empty() ? json->at(0) : base::Json();
  }
  bool Eventually(const std::function<bool()>& condition) {
    for (int i = 0; i < 200; ++i) {
      if (condition()) return true;
      absl::SleepFor(absl::Milliseconds(50));
    }
    return false;
  }
};

TEST_F(WhyIntegrationTest, AfterTheContainerWasRemoved) {
  EXPECT_EQ(
      Gantryctl({"run", "--rm", "--name", "seven", "busybox", "sh", "-c", "exit 7"}).exit.code, 7);
  EXPECT_THAT(Why("seven"), HasSubstr("with exit code 7."));
  EXPECT_THAT(Why("seven"), HasSubstr("docker.io/library/busybox:latest"));
  EXPECT_EQ(Record("seven")["signal"], 0);
  // The memory of ends outlives gantryd.
  KillGantryd();
  StartGantryd();
  EXPECT_THAT(Why("seven"), HasSubstr("with exit code 7."));
  EXPECT_NE(Gantryctl({"why", "eight"}).exit.code, 0);
}

TEST_F(WhyIntegrationTest, KilledByAClientAndByAStranger) {
  GantryctlOk({"run", "-d", "--name", "client", "busybox", "sleep", "1000"});
  GantryctlOk({"kill", "--signal", "KILL", "client"});
  ASSERT_TRUE(Eventually([&] { return Gantryctl({"why", "client"}).exit.code == 0; }));
  EXPECT_THAT(Why("client"), HasSubstr("A client of the task API sent SIGKILL"));
  auto inspected = base::ParseJson(GantryctlOk({"inspect", "client"}));
  ASSERT_TRUE(inspected.ok());
  EXPECT_EQ(inspected->at(0)["exits"][0]["exitStatus"], 137);
  GantryctlOk({"rm", "client"});

  GantryctlOk({"run", "-d", "--name", "stranger", "busybox", "sleep", "1000"});
  inspected = base::ParseJson(GantryctlOk({"inspect", "stranger"}));
  EXPECT_TRUE(inspected->at(0)["exits"].empty());
  ASSERT_EQ(kill(inspected->at(0)["pid"].get<int>(), SIGKILL), 0);
  ASSERT_TRUE(Eventually([&] { return Gantryctl({"why", "stranger"}).exit.code == 0; }));
  EXPECT_THAT(Why("stranger"), HasSubstr("No client of the task API sent SIGKILL"));
  GantryctlOk({"rm", "stranger"});
}

TEST_F(WhyIntegrationTest, OutOfMemoryNamesVictimAndPeak) {
  EXPECT_EQ(Gantryctl({"run", "--rm", "--name", "hungry", "--memory", "20m", "busybox", "dd",
                       "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1"})
                .exit.code,
            137);
  EXPECT_THAT(Why("hungry"), HasSubstr("reached its memory limit of 20"));
  base::Json memory = Record("hungry")["outOfMemory"];
  EXPECT_EQ(memory["kills"], 1);
  EXPECT_EQ(memory["limitBytes"], 20 << 20);
  EXPECT_GT(memory["peakBytes"].get<int64_t>(), 15 << 20);
  if (access("/dev/kmsg", R_OK) == 0) {
    EXPECT_EQ(memory["victim"], "dd");
  }
}

// By ctr with a specification of our own, because only there a filter can say "log".
TEST_F(WhyIntegrationTest, SystemCallsThatTheFilterNotes) {
  if (access("/dev/kmsg", R_OK) != 0) GTEST_SKIP() << "the kernel's log cannot be read";
  if (base::ReadFile("/proc/sys/kernel/seccomp/actions_logged").value_or("").find("log") ==
      std::string::npos)
    GTEST_SKIP() << "the kernel does not log seccomp actions";
  std::string rootfs = dir() + "/rootfs";
  for (const char* name : {"bin", "dev", "proc", "tmp"})
    ASSERT_TRUE(base::MakeDirs(rootfs + "/" + name, 0755).ok());
  std::filesystem::copy_file("/bin/busybox", rootfs + "/bin/busybox");
  base::Json spec = base::Json::parse(R"({"ociVersion":"1.0.2",
    "process":{"user":{"uid":0,"gid":0},"cwd":"/","env":["PATH=/bin"],
      "args":["/bin/busybox","mkdir","/tmp/x"]},
    "root":{"path":"ROOTFS"},
    "mounts":[{"destination":"/proc","type":"proc","source":"proc"}],
    "linux":{"namespaces":[{"type":"pid"},{"type":"mount"},{"type":"ipc"}],
      "seccomp":{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],
        "syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_LOG"}]}}})");
  spec["root"]["path"] = rootfs;
  ASSERT_TRUE(base::WriteFile(dir() + "/config.json", base::DumpJson(spec)).ok());
  // The kernel prints its notes from a thread of its own, sometimes after the container's end.
  std::string why;
  for (int i = 0; i < 20 && !absl::StrContains(why, "seccomp"); ++i) {
    EXPECT_EQ(Ctr({"run", "--rm", "--config", dir() + "/config.json", "noted"}).exit.code, 0);
    std::filesystem::remove(rootfs + "/tmp/x");
    why = Why("noted");
  }
  EXPECT_THAT(why, HasSubstr("Its seccomp filter logged mkdir 1 time (by busybox)."));
}

TEST_F(WhyIntegrationTest, AKilledShim) {
  GantryctlOk({"run", "-d", "--name", "victim", "busybox", "sleep", "1000"});
  auto inspected = base::ParseJson(GantryctlOk({"inspect", "victim"}));
  int pid = inspected->at(0)["pid"].get<int>();
  auto stat = base::ReadFile(absl::StrCat("/proc/", pid, "/stat"));
  ASSERT_TRUE(stat.ok());
  int shim = atoi(stat->substr(stat->rfind(')') + 4).c_str());
  ASSERT_GT(shim, 1);
  ASSERT_EQ(kill(shim, SIGKILL), 0);
  ASSERT_TRUE(Eventually([&] { return Gantryctl({"why", "victim"}).exit.code == 0; }));
  EXPECT_THAT(Why("victim"), HasSubstr("Its shim died"));
  GantryctlOk({"rm", "victim"});
}

}  // namespace
}  // namespace gantry::tests
