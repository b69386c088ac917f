// kill -9 of shims: their tasks end with status 137 for everybody who watches, nothing of them is
// left, and the others do not notice.

#include <fcntl.h>
#include <signal.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "tests/integration/gantryd_fixture.h"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

class KillShimsTest : public GantrydTest {
 protected:
  void SetUp() override {
    GantrydTest::SetUp();
    StartGantryd();
    ImportBusybox();
  }
  std::string Busybox() { return std::string(kBusybox); }
  std::string Bundles() { return absl::StrCat(state(), "/io.containerd.runtime.v2.task/", ns()); }

  // By its working directory, which is the bundle.
  pid_t ShimOf(const std::string& id) {
    for (const auto& entry : fs::directory_iterator("/proc")) {
      std::error_code error;
      fs::path cwd = fs::read_symlink(entry.path() / "cwd", error);
      if (!error && cwd == absl::StrCat(Bundles(), "/", id)) {
        return atoi(entry.path().filename().c_str());
      }
    }
    return -1;
  }
  // The program of a task, 0 when it has none.
  pid_t PidOf(const std::string& id) {
    for (absl::string_view line : absl::StrSplit(CtrOk({"task", "ls"}), '\n')) {
      std::vector<std::string> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
      if (fields.size() == 3 && fields[0] == id) return atoi(fields[1].c_str());
    }
    return 0;
  }
  template <typename Condition>
  static bool Eventually(Condition condition) {
    for (int i = 0; i < 500; ++i) {
      if (condition()) return true;
      absl::SleepFor(absl::Milliseconds(20));
    }
    return false;
  }
  // Mounts, cgroups, processes and the bundle that name the container.
  std::vector<std::string> LeftOf(const std::string& id) {
    std::vector<std::string> left;
    for (std::string& line : FindLeftovers(absl::StrCat("/", ns(), "/", id))) {
      left.push_back(std::move(line));
    }
    for (const char* controller : {"memory", "pids", "cpu", "devices", "freezer", "systemd"}) {
      std::string path = absl::StrCat("/sys/fs/cgroup/", controller, "/", ns(), "/", id);
      if (base::Exists(path)) left.push_back(path);
    }
    if (base::Exists(Bundles() + "/" + id)) left.push_back("bundle");
    return left;
  }
  void ExpectGone(const std::string& id) {
    std::vector<std::string> left;
    EXPECT_TRUE(Eventually([&] { return (left = LeftOf(id)).empty(); }))
        << id << ":\n"
        << ::testing::PrintToString(left);
  }
};

TEST_F(KillShimsTest, EndsTheirTasksAndNothingElse) {
  std::set<std::string> ids;
  for (int i = 0; i < 3; ++i) {
    ids.insert(absl::StrCat("ctr-", i));
    CtrOk({"run", "-d", Busybox(), absl::StrCat("ctr-", i), "sleep", "1000"});
    std::string id = GantryctlOk({"run", "-d", "--name", absl::StrCat("n", i), Busybox(), "sh",
                                  "-c", "sleep 1000 & while :; do echo x; sleep 1; done"});
    ids.insert(id.substr(0, id.find('\n')));
  }
  ASSERT_EQ(ids.size(), 6u);
  std::map<std::string, pid_t> programs;
  for (const std::string& id : ids) ASSERT_GT(programs[id] = PidOf(id), 0) << id;

  auto log = base::Open(dir() + "/events", O_WRONLY | O_CREAT, 0600);
  ASSERT_TRUE(log.ok());
  auto events = base::Process::Spawn(
      {.argv = {"ctr", "-a", socket(), "-n", ns(), "events"}, .fds = {{1, log->get()}}});
  ASSERT_TRUE(events.ok());
  absl::SleepFor(absl::Milliseconds(500));

  // Two of each kind, all at once; somebody waits for each.
  std::vector<std::string> killed;
  std::vector<pid_t> shims;
  int of_ctr = 0, of_gantryctl = 0;
  for (const std::string& id : ids) {
    int& taken = absl::StartsWith(id, "ctr-") ? of_ctr : of_gantryctl;
    if (taken++ >= 2) continue;
    killed.push_back(id);
    shims.push_back(ShimOf(id));
    ASSERT_GT(shims.back(), 0) << id;
  }
  std::vector<std::thread> waiters;
  std::vector<base::RunResult> waited(killed.size());
  for (size_t i = 0; i < killed.size(); ++i) {
    waiters.emplace_back([&, i] { waited[i] = Gantryctl({"wait", killed[i]}); });
  }
  absl::SleepFor(absl::Milliseconds(500));
  for (pid_t shim : shims) EXPECT_EQ(kill(shim, SIGKILL), 0);
  for (std::thread& waiter : waiters) waiter.join();
  for (size_t i = 0; i < killed.size(); ++i) {
    EXPECT_THAT(waited[i].out, HasSubstr("137")) << killed[i] << ": " << waited[i].err;
    EXPECT_TRUE(Eventually([&] { return kill(programs[killed[i]], 0) != 0; }));
    ExpectGone(killed[i]);
  }
  for (const auto& [id, pid] : programs) {
    if (std::count(killed.begin(), killed.end(), id) > 0) continue;
    EXPECT_EQ(PidOf(id), pid) << id;
    EXPECT_EQ(CtrOk({"task", "exec", "--exec-id", "e", id, "echo", "here"}), "here\n");
  }

  std::string text;
  Eventually([&] {
    text = *base::ReadFile(dir() + "/events");
    size_t exits = 0;
    for (absl::string_view line : absl::StrSplit(text, '\n')) {
      exits += absl::StrContains(line, "/tasks/exit") && absl::StrContains(line, "137");
    }
    return exits >= killed.size();
  });
  for (const std::string& id : killed) {
    bool said = false;
    for (absl::string_view line : absl::StrSplit(text, '\n')) {
      said |= absl::StrContains(line, "/tasks/exit") && absl::StrContains(line, id) &&
              absl::StrContains(line, "137");
    }
    EXPECT_TRUE(said) << "no TaskExit with 137 of " << id << " in\n" << text;
  }
  events->Signal(SIGKILL).IgnoreError();
  events->Wait().IgnoreError();

  // The records stay, and can be started again.
  for (const std::string& id : killed) {
    EXPECT_THAT(CtrOk({"container", "ls", "-q"}), HasSubstr(id));
    EXPECT_THAT(GantryctlOk({"ps", "-a", "--no-trunc"}), HasSubstr(id));
    GantryctlOk({"start", id});
    EXPECT_GT(PidOf(id), 0) << id;
  }
  for (const std::string& id : ids) GantryctlOk({"rm", "-f", id});
  EXPECT_EQ(CtrOk({"container", "ls", "-q"}), "");
  EXPECT_TRUE(Eventually([&] { return !fs::exists(Bundles()) || fs::is_empty(Bundles()); }));
}

TEST_F(KillShimsTest, NobodyHangsWhoUsedThem) {
  CtrOk({"run", "-d", Busybox(), "box", "sleep", "1000"});
  pid_t shim = ShimOf("box");
  ASSERT_GT(shim, 0);
  base::RunResult exec, ctl;
  std::thread first([&] {
    exec = Ctr({"task", "exec", "--exec-id", "e1", "box", "sleep", "1000"});
  });
  std::thread second([&] { ctl = Gantryctl({"exec", "box", "sleep", "1000"}); });
  absl::SleepFor(absl::Seconds(1));
  absl::Time begin = absl::Now();
  EXPECT_EQ(kill(shim, SIGKILL), 0);
  first.join();
  second.join();
  EXPECT_LT(absl::Now() - begin, absl::Seconds(10));
  EXPECT_NE(exec.exit.code, 0);
  EXPECT_NE(ctl.exit.code, 0);
  ExpectGone("box");
  // Foreground runs end as well.
  base::RunResult run;
  std::thread third([&] {
    run = Gantryctl({"run", "--rm", "--name", "front", Busybox(), "sleep", "1000"});
  });
  std::string id;
  ASSERT_TRUE(Eventually([&] {
    for (absl::string_view line : absl::StrSplit(CtrOk({"task", "ls", "-q"}), '\n')) {
      if (!line.empty() && PidOf(std::string(line)) > 0) id = std::string(line);
    }
    return !id.empty();
  }));
  absl::SleepFor(absl::Milliseconds(200));
  shim = ShimOf(id);
  EXPECT_GT(shim, 0);
  if (shim > 0) kill(shim, SIGKILL);
  third.join();
  EXPECT_EQ(run.exit.code, 137) << run.err;
  ExpectGone(id);
  EXPECT_THAT(CtrOk({"container", "ls", "-q"}), Not(HasSubstr(id)));
  CtrOk({"container", "rm", "box"});
}

}  // namespace
}  // namespace gantry::tests
