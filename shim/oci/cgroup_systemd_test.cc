// Containers whose cgroups systemd manages; needs a running systemd, which tests/vm has.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/process.h"
#include "shim/oci/cgroup.h"
#include "shim/oci/container_test_util.h"

namespace gantry::oci {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class CgroupSystemdTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!base::Exists("/run/systemd/private")) GTEST_SKIP() << "systemd does not run here";
    system_ = *DetectCgroups();
    bundle_.options.systemd_cgroup = true;
    bundle_.spec["linux"]["cgroupsPath"] = "gantry-test.slice:gantry:" + bundle_.id();
    unit_ = absl::StrCat("gantry-", bundle_.id(), ".scope");
  }
  void Run(const std::string& script) {
    bundle_.Script(script);
    absl::Status status = bundle_.Create();
    ASSERT_TRUE(status.ok()) << status;
    status = bundle_.container()->Start();
    ASSERT_TRUE(status.ok()) << status;
  }
  std::string Systemctl(std::vector<std::string> words) {
    words.insert(words.begin(), "systemctl");
    auto result = base::RunProcess({.argv = words}, {}, absl::Seconds(60));
    return result.ok() ? result->out + result->err : std::string(result.status().message());
  }
  std::string Show() {
    return Systemctl({"show", unit_, "-p",
                      "ActiveState,Slice,ControlGroup,Delegate,MemoryMax,MemoryLimit,TasksMax,"
                      "CPUWeight,CPUShares,CPUQuotaPerSecUSec"});
  }
  // A file of the container's cgroup, by its names in the two versions.
  std::string Read(const std::string& controller, const std::string& v1, const std::string& v2) {
    std::string own =
        base::ReadFile(absl::StrCat("/proc/", bundle_.init().pid, "/cgroup")).value_or("");
    std::string path = system_.v2 ? system_.root + OwnCgroup(own, "") + "/" + v2
                                  : absl::StrCat("/sys/fs/cgroup/", controller,
                                                 OwnCgroup(own, controller), "/", v1);
    return std::string(absl::StripAsciiWhitespace(base::ReadFile(path).value_or("<none>")));
  }
  absl::Status Update(const char* text) {
    return bundle_.container()->Update(*ParseResources(text));
  }

  CgroupSystem system_;
  TestBundle bundle_;
  std::string unit_;
};

TEST_F(CgroupSystemdTest, RunsInAScopeOfItsSlice) {
  bundle_.spec["linux"]["resources"] = base::Json::parse(
      R"({"memory": {"limit": 67108864}, "pids": {"limit": 40}, "cpu": {"shares": 512}})");
  ASSERT_NO_FATAL_FAILURE(Run("sleep 1000"));
  std::string path = absl::StrCat("/gantry.slice/gantry-test.slice/", unit_);
  std::string own =
      base::ReadFile(absl::StrCat("/proc/", bundle_.init().pid, "/cgroup")).value_or("");
  EXPECT_EQ(OwnCgroup(own, system_.v2 ? "" : "memory"), path);
  EXPECT_THAT(Show(),
              AllOf(HasSubstr("ActiveState=active\n"), HasSubstr("Slice=gantry-test.slice\n"),
                    HasSubstr("ControlGroup=" + path + "\n"), HasSubstr("Delegate=yes\n"),
                    HasSubstr(system_.v2 ? "MemoryMax=67108864\n" : "MemoryLimit=67108864\n"),
                    HasSubstr(system_.v2 ? "CPUWeight=20\n" : "CPUShares=512\n"),
                    HasSubstr("TasksMax=40\n")));
  // The placeholder has left.
  EXPECT_EQ(*bundle_.container()->Pids(), std::vector<pid_t>{bundle_.init().pid});
  RunOutcome exec = bundle_.ExecScript("echo in");
  EXPECT_EQ(exec.out, "in\n") << exec.status;
  EXPECT_TRUE(bundle_.container()->Pause().ok());
  EXPECT_TRUE(bundle_.container()->Resume().ok());
}

TEST_F(CgroupSystemdTest, LimitsOutliveAReloadOfSystemd) {
  ASSERT_NO_FATAL_FAILURE(Run("sleep 1000"));
  absl::Status status = Update(
      R"({"memory": {"limit": 134217728}, "pids": {"limit": 50},
          "cpu": {"shares": 256, "quota": 25000, "period": 100000}})");
  ASSERT_TRUE(status.ok()) << status;
  for (bool reloaded : {false, true}) {
    EXPECT_EQ(Read("memory", "memory.limit_in_bytes", "memory.max"), "134217728") << reloaded;
    EXPECT_EQ(Read("pids", "pids.max", "pids.max"), "50") << reloaded;
    EXPECT_EQ(Read("cpu", "cpu.shares", "cpu.weight"), system_.v2 ? "10" : "256") << reloaded;
    EXPECT_THAT(Read("cpu", "cpu.cfs_quota_us", "cpu.max"), HasSubstr("25000")) << reloaded;
    EXPECT_THAT(Show(), AllOf(HasSubstr("TasksMax=50\n"), HasSubstr("CPUQuotaPerSecUSec=250ms\n")));
    if (!reloaded) Systemctl({"daemon-reload"});
  }
}

TEST_F(CgroupSystemdTest, DeleteEndsTheScope) {
  ASSERT_NO_FATAL_FAILURE(Run("sleep 1000"));
  bundle_.Delete();
  for (int i = 0; i < 100 && Show().find("ActiveState=inactive") == std::string::npos; ++i) {
    usleep(50000);
  }
  EXPECT_THAT(Show(), HasSubstr("ActiveState=inactive\n"));
}

TEST_F(CgroupSystemdTest, AProgramThatEndsByItselfLeavesNothing) {
  RunOutcome outcome = bundle_.RunScript("exit 3");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.exit_status, 3);
  EXPECT_THAT(Show(), HasSubstr("ActiveState=inactive\n"));
}

TEST_F(CgroupSystemdTest, ASecondContainerOfTheNameIsRefused) {
  ASSERT_NO_FATAL_FAILURE(Run("sleep 1000"));
  TestBundle second;
  second.options.systemd_cgroup = true;
  second.spec["linux"]["cgroupsPath"] = bundle_.spec["linux"]["cgroupsPath"];
  EXPECT_EQ(second.Create().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(Show(), HasSubstr("ActiveState=active\n"));
}

}  // namespace
}  // namespace gantry::oci
