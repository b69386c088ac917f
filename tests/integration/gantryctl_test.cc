// gantryctl against a gantryd of its own, as a person would use it.

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/json.h"
#include "gmock/gmock.h"
#include "tests/integration/gantryd_fixture.h"

namespace gantry::tests {
namespace {

using ::testing::HasSubstr;

class GantryctlTest : public GantrydTest {
 protected:
  void SetUp() override {
    GantrydTest::SetUp();
    // Logs of containers in the background stay within the test's directory.
    setenv("GANTRY_LOG_DIR", (dir() + "/logs").c_str(), 1);
    StartGantryd();
    GantryctlOk({"import", BusyboxImage()});
  }
};

TEST_F(GantryctlTest, RunPassesOutputInputAndExitCode) {
  auto run = Gantryctl({"run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7"});
  EXPECT_EQ(run.exit.code, 7);
  EXPECT_EQ(run.out, "out\n");
  EXPECT_EQ(run.err, "err\n");
  EXPECT_EQ(Gantryctl({"run", "--rm", "-i", "busybox", "cat"}, "typed").out, "typed");
  EXPECT_EQ(Gantryctl({"run", "--rm", "busybox", "no-such-program"}).exit.code, 127);
  EXPECT_EQ(GantryctlOk({"ps", "-a", "-q"}), "");
}

TEST_F(GantryctlTest, LifeOfAContainerInTheBackground) {
  GantryctlOk({"run", "-d", "--name", "web", "busybox", "sh", "-c",
               "echo up; trap 'exit 3' TERM; while :; do sleep 0.1; done"});
  EXPECT_THAT(GantryctlOk({"ps"}), HasSubstr("running"));
  EXPECT_EQ(GantryctlOk({"exec", "-i", "web", "cat"}, "through exec"), "through exec");
  EXPECT_EQ(Gantryctl({"exec", "web", "sh", "-c", "exit 4"}).exit.code, 4);
  EXPECT_NE(Gantryctl({"rm", "web"}).exit.code, 0);
  std::string logs;
  for (int i = 0; i < 50 && logs.empty(); ++i) {
    logs = Gantryctl({"logs", "web"}).out;
    if (logs.empty()) absl::SleepFor(absl::Milliseconds(50));
  }
  EXPECT_EQ(logs, "up\n");
  GantryctlOk({"stop", "web"});
  EXPECT_EQ(GantryctlOk({"wait", "web"}), "3\n");
  EXPECT_THAT(GantryctlOk({"ps", "-a"}), HasSubstr("exited (3)"));
  GantryctlOk({"rm", "web"});
  EXPECT_EQ(GantryctlOk({"ps", "-a", "-q"}), "");
}

TEST_F(GantryctlTest, ContainersAreFoundByIdPrefixAndName) {
  std::string id = GantryctlOk({"run", "-d", "--name", "a.b-c", "busybox", "sleep", "1000"});
  id.resize(64);
  for (const std::string& typed : {id, id.substr(0, 12), id.substr(0, 3), std::string("a.b-c")}) {
    EXPECT_EQ(GantryctlOk({"exec", typed, "hostname"}), id.substr(0, 12) + "\n") << typed;
  }
  for (const char* typed : {"axb-c", "a.b", "a\"b", "a\\", "g", ".*"}) {
    auto exec = Gantryctl({"exec", typed, "true"});
    EXPECT_EQ(exec.exit.code, 125) << typed;
    EXPECT_THAT(exec.err, HasSubstr("there is no container")) << typed;
  }
  auto taken = Gantryctl({"run", "-d", "--name", "a.b-c", "busybox", "true"});
  EXPECT_THAT(taken.err, HasSubstr("belongs to container"));
  // More than one: no guess.
  std::string others;
  for (int i = 0; i < 17; ++i) others += GantryctlOk({"create", "busybox", "true"})[0];
  char twice = 0;
  for (char c : others) {
    if (std::count(others.begin(), others.end(), c) > 1) twice = c;
  }
  EXPECT_THAT(Gantryctl({"exec", std::string(1, twice), "true"}).err, HasSubstr("could be"));
  GantryctlOk({"rm", "--force", "a.b-c"});
}

TEST_F(GantryctlTest, OptionsReachTheContainer) {
  EXPECT_EQ(GantryctlOk({"run", "--rm", "-e", "A=b", "-w", "/", "--hostname", "hh", "busybox", "sh",
                         "-c", "echo $A $(pwd) $(hostname)"}),
            "b / hh\n");
  EXPECT_THAT(GantryctlOk({"run", "--rm", "--cap-drop", "ALL", "busybox", "grep", "CapEff",
                           "/proc/self/status"}),
              HasSubstr("0000000000000000"));
  EXPECT_NE(Gantryctl({"run", "--rm", "--read-only", "busybox", "sh", "-c", "echo > /x"}).exit.code,
            0);
  EXPECT_EQ(Gantryctl({"run", "--rm", "-u", "4294967296", "busybox", "true"}).exit.code, 125);
}

TEST_F(GantryctlTest, ImagesTravel) {
  std::string tar = dir() + "/export.tar";
  GantryctlOk({"export", tar, "busybox"});
  GantryctlOk({"tag", "busybox", "other:1"});
  EXPECT_THAT(GantryctlOk({"images", "-q"}), HasSubstr("docker.io/library/other:1\n"));
  GantryctlOk({"rmi", "busybox", "other:1"});
  EXPECT_EQ(GantryctlOk({"images", "-q"}), "");
  EXPECT_EQ(GantryctlOk({"import", tar}), "docker.io/library/busybox:latest\n");
  EXPECT_EQ(GantryctlOk({"run", "--rm", "busybox", "echo", "again"}), "again\n");
}

TEST_F(GantryctlTest, JsonIsJson) {
  for (const char* what : {"images", "ps", "content", "snapshots", "containers", "tasks",
                           "namespaces", "leases", "plugins", "info"}) {
    auto json = base::ParseJson(GantryctlOk({what, "--format", "json"}));
    EXPECT_TRUE(json.ok()) << what << ": " << json.status();
  }
}

TEST_F(GantryctlTest, DamagedArchivesLeaveNothing) {
  EXPECT_NE(Gantryctl({"import", "-"}, "this is no archive").exit.code, 0);
  auto leases = GantryctlOk({"leases", "-q"});
  EXPECT_EQ(leases, "");
  auto missing = Gantryctl({"run", "--rm", "--pull", "never", "nothing-like-it"});
  EXPECT_EQ(missing.exit.code, 125);
  EXPECT_THAT(missing.err, HasSubstr("is not here"));
}

}  // namespace
}  // namespace gantry::tests
