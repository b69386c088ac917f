#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "shim/oci/container_test_util.h"

namespace gantry::oci {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

base::Json Shell(const std::string& script) {
  return base::Json::array({{{"path", "/bin/sh"}, {"args", {"sh", "-c", script}}}});
}

TEST(ContainerHookTest, RunsHooksOfAllKinds) {
  TestBundle bundle;
  std::string log = bundle.dir() + "/hooks";
  auto host = [&](const std::string& kind) {
    return base::Json::array(
        {{{"path", "/bin/sh"}, {"args", {"sh", "-c", "echo " + kind + " $(cat) >> " + log}}}});
  };
  auto inside = [&](const std::string& kind) {
    return base::Json::array(
        {{{"path", "/bin/sh"}, {"args", {"sh", "-c", "echo " + kind + " >> /tmp/hooks"}}}});
  };
  bundle.spec["hooks"] = {{"prestart", host("prestart")},
                          {"createRuntime", host("createRuntime")},
                          {"createContainer", host("createContainer")},
                          {"startContainer", inside("startContainer")},
                          {"poststart", host("poststart")},
                          {"poststop", host("poststop")}};
  RunOutcome outcome = bundle.RunScript("cat /tmp/hooks");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.out, "startContainer\n");
  std::string text = base::ReadFile(log).value_or("");
  EXPECT_THAT(text, MatchesRegex("prestart .*createRuntime .*createContainer .*poststart "
                                 ".*poststop .*"))
      << text;
  EXPECT_THAT(text, AllOf(HasSubstr("\"status\":\"creating\""), HasSubstr("\"pid\":"),
                          HasSubstr("\"status\":\"stopped\""), HasSubstr(bundle.id())));
}

TEST(ContainerHookTest, AFailingHookStopsCreation) {
  for (const char* kind : {"createRuntime", "createContainer"}) {
    TestBundle bundle;
    bundle.spec["hooks"][kind] = {{{"path", "/bin/sh"}, {"args", {"sh", "-c", "exit 9"}}}};
    RunOutcome outcome = bundle.RunScript("true");
    EXPECT_FALSE(outcome.status.ok());
    EXPECT_THAT(outcome.status.message(), AllOf(HasSubstr("/bin/sh"), HasSubstr("status 9")));
  }
  TestBundle bundle;
  bundle.spec["hooks"]["createContainer"] = {
      {{"path", "/bin/sleep"}, {"args", {"sleep", "100"}}, {"timeout", 1}}};
  RunOutcome outcome = bundle.RunScript("true");
  EXPECT_THAT(outcome.status.message(), HasSubstr("timeout"));
}

// nvidia's and others' hooks add files and mounts to the root file system where the bundle has it.
TEST(ContainerHookTest, FindsTheRootInTheBundle) {
  TestBundle bundle;
  ASSERT_EQ(mkdir((bundle.rootfs() + "/mnt").c_str(), 0755), 0);
  bundle.spec["hooks"]["createContainer"] =
      Shell("test -e rootfs/proc/self && mount -t tmpfs hook rootfs/mnt && touch rootfs/mnt/made");
  RunOutcome outcome = bundle.RunScript("ls /mnt; grep -c ' /mnt ' /proc/mounts");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.out, "made\n1\n");
}

TEST(ContainerHookTest, HasItsOwnEnvironmentOrOurs) {
  setenv("GANTRY_HOOK_TEST", "ours", 1);
  for (const char* kind : {"createRuntime", "createContainer"}) {
    TestBundle bundle;
    std::string log = bundle.dir() + "/log";
    base::Json own = Shell("echo ${GANTRY_HOOK_TEST:-none} $MINE >> " + log)[0];
    own["env"] = {"MINE=own"};
    bundle.spec["hooks"][kind] = {own, Shell("echo $GANTRY_HOOK_TEST >> " + log)[0]};
    RunOutcome outcome = bundle.Run();
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
    EXPECT_EQ(base::ReadFile(log).value_or(""), "none own\nours\n") << kind;
  }
  unsetenv("GANTRY_HOOK_TEST");
}

TEST(ContainerHookTest, APoststartFailureEndsTheContainer) {
  TestBundle bundle;
  bundle.spec["hooks"]["poststart"] = Shell("echo why >&2; exit 3");
  bundle.Script("sleep 100");
  ASSERT_TRUE(bundle.Create().ok());
  absl::Status status = bundle.container()->Start();
  EXPECT_THAT(status.message(),
              AllOf(HasSubstr("poststart hook /bin/sh"), HasSubstr("status 3"), HasSubstr("why")));
  EXPECT_EQ(TestBundle::Reap(bundle.init().pid), 128 + SIGKILL);
}

TEST(ContainerHookTest, APoststopFailureDoesNotKeepTheOthersFromRunning) {
  TestBundle bundle;
  std::string log = bundle.dir() + "/log";
  bundle.spec["hooks"]["poststop"] = {Shell("exit 1")[0], Shell("echo second > " + log)[0]};
  ASSERT_TRUE(bundle.Run().status.ok());
  EXPECT_EQ(base::ReadFile(log).value_or(""), "second\n");
}

}  // namespace
}  // namespace gantry::oci
