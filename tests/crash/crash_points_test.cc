// gantryd is killed between any two steps of its operations: the next start undoes or finishes
// each, nothing is left without an owner, and the same operation then succeeds.

#include <signal.h>

#include <functional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "tests/integration/docker_registry.h"
#include "tests/integration/gantryd_fixture.h"

namespace gantry::tests {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Arguments = std::vector<std::string>;

class CrashPointsTest : public GantrydTest {
 protected:
  std::string Busybox() { return std::string(kBusybox); }

  // Runs the command on a gantryd that dies at `point`, then starts another one.
  void CrashAt(const std::string& point, const Arguments& gantryctl) {
    CrashAt(point, [&] { Gantryctl(gantryctl); });
  }
  void CrashAt(const std::string& point, const std::function<void()>& act) {
    StopGantryd();
    daemon_env = {absl::StrCat("GANTRY_CRASH_POINT=", point)};
    StartGantryd();
    act();
    bool died = WaitForGantryd(absl::Seconds(5)).signal == SIGKILL;
    EXPECT_TRUE(died) << point << " was not passed";
    if (!died) KillGantryd();
    daemon_env.clear();
    log_before_ = Log().size();
    StartGantryd();
  }
  // ctr waits for a daemon that is gone.
  void CtrBriefly(const Arguments& arguments) {
    Arguments argv = {"timeout", "3", "ctr", "-a", socket(), "-n", ns()};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    tests::Run(argv);
  }
  std::string Log() {
    auto text = base::ReadFile(dir() + "/gantryd.log", 64 << 20);
    return text.ok() ? *text : "";
  }
  std::string LogOfThisStart() { return Log().substr(log_before_); }

  // Every object has its owner, and nothing is begun and not ended.
  void ExpectInOrder(const std::string& point) {
    base::RunResult check = Gantryctl({"fsck", "--young", "--verify"});
    EXPECT_EQ(check.exit.code, 0) << point << ":\n" << check.out << check.err;
    EXPECT_THAT(check.out, HasSubstr(" 0 intents")) << point;
  }
  void ExpectNoTasks(const std::string& point) {
    EXPECT_EQ(CtrOk({"task", "ls", "-q"}), "") << point;
    std::vector<std::string> left = FindLeftovers(absl::StrCat("/", ns(), "/crash"));
    EXPECT_TRUE(left.empty()) << point << ":\n" << absl::StrJoin(left, "\n");
  }

 private:
  size_t log_before_ = 0;
};

TEST_F(CrashPointsTest, SnapshotsAreMadeWholeOrNotAtAll) {
  StartGantryd();
  for (const char* point :
       {"snapshot.prepare.begun", "snapshot.prepare.made", "snapshot.prepare.recorded"}) {
    SCOPED_TRACE(point);
    CrashAt(point, [this] { CtrBriefly({"snapshot", "prepare", "crash"}); });
    bool recorded = absl::StrContains(CtrOk({"snapshot", "ls"}), "crash");
    EXPECT_EQ(recorded, std::string(point) == "snapshot.prepare.recorded");
    if (!recorded) {
      EXPECT_THAT(LogOfThisStart(), HasSubstr("undoing the preparation of a snapshot"));
      CtrOk({"snapshot", "prepare", "crash"});
    }
    ExpectInOrder(point);
    CrashAt("snapshot.remove.recorded", [this] { CtrBriefly({"snapshot", "rm", "crash"}); });
    EXPECT_FALSE(absl::StrContains(CtrOk({"snapshot", "ls"}), "crash"));
    ExpectInOrder("snapshot.remove.recorded");
  }
}

TEST_F(CrashPointsTest, TasksAreCreatedWholeOrNotAtAll) {
  StartGantryd();
  ImportBusybox();
  for (const char* point : {"task.create.begun", "task.create.bundled", "task.create.launched",
                            "task.create.started", "task.create.created"}) {
    SCOPED_TRACE(point);
    CtrOk({"container", "create", Busybox(), "crash", "sleep", "1000"});
    CrashAt(point, {"start", "crash"});
    EXPECT_THAT(LogOfThisStart(), HasSubstr("undoing the creation of a task"));
    ExpectNoTasks(point);
    ExpectInOrder(point);
    GantryctlOk({"start", "crash"});
    EXPECT_THAT(CtrOk({"task", "ls"}), HasSubstr("RUNNING"));
    GantryctlOk({"rm", "-f", "crash"});
    ExpectNoTasks(point);
  }
}

TEST_F(CrashPointsTest, TasksAreDeletedWholeOrNotAtAll) {
  StartGantryd();
  ImportBusybox();
  struct Case {
    const char* point;
    bool stays;
  } cases[] = {{"task.delete.begun", true},
               {"task.delete.deleted", false},
               {"task.delete.trashed", false},
               {"task.delete.removed", false}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.point);
    CtrOk({"container", "create", Busybox(), "crash", "false"});
    GantryctlOk({"start", "crash"});
    GantryctlOk({"wait", "crash"});
    CrashAt(c.point, [this] { CtrBriefly({"task", "rm", "crash"}); });
    if (c.stays) {
      EXPECT_THAT(LogOfThisStart(), HasSubstr("undoing the deletion of a task"));
      EXPECT_THAT(CtrOk({"task", "ls"}), HasSubstr("STOPPED"));
      CtrOk({"task", "rm", "crash"});
    } else {
      EXPECT_THAT(LogOfThisStart(), HasSubstr("finishing the deletion of a task"));
    }
    ExpectNoTasks(c.point);
    ExpectInOrder(c.point);
    GantryctlOk({"rm", "-f", "crash"});
  }
}

TEST_F(CrashPointsTest, PullsAreUndoneButWhatWasFetchedStays) {
  ASSERT_TRUE(base::MakeDirs(dir() + "/registry").ok());
  DockerRegistry registry({dir() + "/registry", "", false, false});
  StartGantryd();
  ImportBusybox();
  const std::string name = registry.host() + "/busybox:1";
  GantryctlOk({"tag", Busybox(), name});
  GantryctlOk({"push", name});
  GantryctlOk({"rmi", name});
  GantryctlOk({"rmi", Busybox()});
  for (const char* point :
       {"transfer.begun", "content.published:2", "snapshot.prepare.made", "transfer.fetched",
        "transfer.unpacked", "snapshot.commit.done", "transfer.done"}) {
    SCOPED_TRACE(point);
    CrashAt(point, {"pull", name});
    EXPECT_THAT(LogOfThisStart(), HasSubstr("a transfer was cut off"));
    bool saved = absl::StrContains(CtrOk({"image", "ls", "-q"}), name);
    EXPECT_EQ(saved, std::string(point) == "transfer.done");
    EXPECT_THAT(CtrOk({"snapshot", "ls"}), Not(HasSubstr("extract-")));
    ExpectInOrder(point);
    GantryctlOk({"pull", name});
    EXPECT_THAT(GantryctlOk({"run", "--rm", name, "echo", "works"}), HasSubstr("works"));
    // The lease of what was cut off keeps for an hour, and nothing for good.
    std::string leases = CtrOk({"leases", "ls", "-q"});
    EXPECT_THAT(leases, HasSubstr("transfer-"));
    for (absl::string_view lease : absl::StrSplit(leases, '\n', absl::SkipEmpty())) {
      CtrOk({"leases", "rm", std::string(lease)});
    }
    CtrOk({"image", "rm", "--sync", name});
    EXPECT_EQ(CtrOk({"content", "ls", "-q"}), "");
    ExpectInOrder(point);
    if (HasFailure()) break;
  }
}

}  // namespace
}  // namespace gantry::tests
