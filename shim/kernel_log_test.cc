#include "shim/kernel_log.h"

#include "gtest/gtest.h"

namespace gantry::shim {
namespace {

TEST(KernelLogTest, VictimsOfTheOomKiller) {
  auto kill = ParseOomKill(
      "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=c1,mems_allowed=0,"
      "oom_memcg=/ns/c1,task_memcg=/ns/c1/sub,task=my program,pid=8341,uid=0");
  ASSERT_TRUE(kill.has_value());
  EXPECT_EQ(kill->cgroup, "/ns/c1/sub");
  EXPECT_EQ(kill->program, "my program");
  EXPECT_EQ(kill->pid, 8341);
  EXPECT_FALSE(kill->machine_wide);
  kill = ParseOomKill(
      "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,"
      "task_memcg=/ns/c1,task=dd,pid=3,uid=0");
  ASSERT_TRUE(kill.has_value());
  EXPECT_TRUE(kill->machine_wide);
  for (const char* other : {"", "oom-kill:", "oom-kill:task_memcg=/x", "audit: type=1326 pid=3"})
    EXPECT_FALSE(ParseOomKill(other).has_value()) << other;
}

TEST(KernelLogTest, CallsThatSeccompNotes) {
  struct Case {
    const char *code, *action;
  };
  for (const Case& test :
       {Case{"0x7ffc0000", "logged"}, Case{"0x0", "killed"}, Case{"0x80000000", "killed"},
        Case{"0x50001", "refused"}, Case{"0x30000", "trapped"}}) {
    auto call = ParseAuditedCall(
        std::string("audit: type=1326 audit(1795264828.858:2): auid=4294967295 uid=0 gid=0 ses=4 "
                    "pid=4113 comm=\"a b\" exe=\"/bin/x\" sig=31 arch=c000003e syscall=436 "
                    "compat=0 ip=0x7fbfa4470e89 code=") +
        test.code);
    ASSERT_TRUE(call.has_value());
    EXPECT_EQ(call->pid, 4113);
    EXPECT_EQ(call->program, "a b");
    EXPECT_EQ(call->arch, 0xc000003eu);
    EXPECT_EQ(call->number, 436);
    EXPECT_STREQ(call->action, test.action);
  }
  EXPECT_FALSE(ParseAuditedCall("audit: type=1300 pid=3 arch=c000003e").has_value());
  EXPECT_FALSE(ParseAuditedCall("audit: type=1326 nothing").has_value());
}

}  // namespace
}  // namespace gantry::shim
