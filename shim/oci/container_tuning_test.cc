// Time namespaces, schedulers, priorities, memory policies and CPU affinity of real containers.

#include <linux/ioprio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "shim/oci/container_test_util.h"

namespace gantry::oci {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(ContainerTuningTest, ShiftsTheClocksOfATimeNamespace) {
  for (bool user : {false, true}) {
    TestBundle bundle;
    bundle.spec["linux"]["namespaces"].push_back({{"type", "time"}});
    if (user) bundle.UseUserNamespace();
    bundle.spec["linux"]["timeOffsets"] = {{"boottime", {{"secs", 1000000}, {"nanosecs", 5}}},
                                           {"monotonic", {{"secs", 3}}}};
    RunOutcome outcome =
        bundle.RunScript("cat /proc/self/timens_offsets; cat /proc/uptime; id -u; echo pid $$");
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
    EXPECT_THAT(outcome.out, ::testing::ContainsRegex("monotonic +3 +0\n"));
    EXPECT_THAT(outcome.out, ::testing::ContainsRegex("boottime +1000000 +5\n1[0-9]{6}\\."));
    EXPECT_THAT(outcome.out, HasSubstr("0\npid 1\n"));
  }
}

TEST(ContainerTuningTest, ExecSeesTheShiftedClocks) {
  TestBundle bundle;
  bundle.spec["linux"]["namespaces"].push_back({{"type", "time"}});
  bundle.spec["linux"]["timeOffsets"] = {{"boottime", {{"secs", 1000000}}}};
  bundle.Script("sleep 100");
  ASSERT_TRUE(bundle.Create().ok());
  ASSERT_TRUE(bundle.container()->Start().ok());
  EXPECT_THAT(bundle.ExecScript("cat /proc/uptime").out, ::testing::ContainsRegex("^1[0-9]{6}\\."));
}

TEST(ContainerTuningTest, RefusesOffsetsWithoutANewTimeNamespace) {
  TestBundle bundle;
  bundle.spec["linux"]["timeOffsets"] = {{"boottime", {{"secs", 1}}}};
  EXPECT_THAT(bundle.Run().status.message(), HasSubstr("needs a new namespace of type \"time\""));
}

TEST(ContainerTuningTest, SetsSchedulerAndIoPriority) {
  TestBundle bundle;
  bundle.spec["process"]["scheduler"] = {{"policy", "SCHED_BATCH"}, {"nice", 7}};
  bundle.spec["process"]["ioPriority"] = {{"class", "IOPRIO_CLASS_IDLE"}};
  bundle.Script("sleep 100");
  ASSERT_TRUE(bundle.Create().ok());
  ASSERT_TRUE(bundle.container()->Start().ok());
  pid_t pid = bundle.init().pid;
  EXPECT_EQ(sched_getscheduler(pid), SCHED_BATCH);
  std::string stat = base::ReadFile(absl::StrCat("/proc/", pid, "/stat")).value_or("");
  EXPECT_THAT(stat, HasSubstr(" 27 7 "));  // priority and nice value
  EXPECT_EQ(IOPRIO_PRIO_CLASS(syscall(SYS_ioprio_get, 1, pid)), IOPRIO_CLASS_IDLE);
}

TEST(ContainerTuningTest, NamesTheSchedulerThatTheKernelRefuses) {
  TestBundle bundle;
  // Less than the kernel's shortest period (sysctl kernel.sched_deadline_period_min_us).
  bundle.spec["process"]["scheduler"] = {
      {"policy", "SCHED_DEADLINE"}, {"runtime", 2000}, {"deadline", 3000}, {"period", 3000}};
  EXPECT_THAT(bundle.Run().status.message(), HasSubstr("set scheduler \"SCHED_DEADLINE\""));
}

TEST(ContainerTuningTest, SetsTheMemoryPolicy) {
  if (!base::Exists("/proc/self/numa_maps")) GTEST_SKIP() << "the kernel has no NUMA";
  TestBundle bundle;
  bundle.spec["linux"]["memoryPolicy"] = {
      {"mode", "MPOL_BIND"}, {"nodes", "0"}, {"flags", {"MPOL_F_STATIC_NODES"}}};
  RunOutcome outcome = bundle.RunScript("head -n 1 /proc/self/numa_maps");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_THAT(outcome.out, HasSubstr(" bind=static:0 "));
}

TEST(ContainerTuningTest, ExecRunsOnTheCpusAskedFor) {
  TestBundle bundle;
  bundle.Script("sleep 100");
  ASSERT_TRUE(bundle.Create().ok());
  ASSERT_TRUE(bundle.container()->Start().ok());
  base::Json process = bundle.spec["process"];
  process["execCPUAffinity"] = {{"initial", "0"}, {"final", "0"}};
  RunOutcome exec = bundle.ExecScript("grep Cpus_allowed_list /proc/self/status", process);
  ASSERT_TRUE(exec.status.ok()) << exec.status;
  EXPECT_EQ(exec.out, "Cpus_allowed_list:\t0\n");
  process["execCPUAffinity"] = {{"final", "1023"}};
  EXPECT_THAT(bundle.ExecScript("true", process).status.message(),
              HasSubstr("set CPU affinity \"process.execCPUAffinity\": invalid argument"));
}

TEST(ContainerTuningTest, SetsThePersonality) {
  TestBundle bundle;
  bundle.spec["linux"]["personality"] = {{"domain", "LINUX32"}};
  RunOutcome outcome = bundle.RunScript("cat /proc/self/personality");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_THAT(outcome.out, HasSubstr("00000008"));  // PER_LINUX32
}

}  // namespace
}  // namespace gantry::oci
