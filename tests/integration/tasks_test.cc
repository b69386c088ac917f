// Tasks through the containerd API with Debian's ctr, by a foreign shim (Debian's
// containerd-shim-runc-v2 and runc) and by gantry-shim: the same tests for both.
#include <signal.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/integration/gantryd_fixture.h"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kForeignShim[] = "/usr/bin/containerd-shim-runc-v2";

class TasksTest : public GantrydTest, public ::testing::WithParamInterface<const char*> {
 protected:
  bool foreign() const { return GetParam() == std::string("foreign"); }
  std::string Binary() const { return foreign() ? kForeignShim : BinDir() + "/gantry-shim"; }

  void SetUp() override {
    GantrydTest::SetUp();
    if (!base::Exists(Binary())) GTEST_SKIP() << Binary() << " is missing";
    MakeRootfs();
    StartGantryd();
  }
  void TearDown() override {
    if (running()) GantrydTest::TearDown();
  }

  // A root directory of its own, so that these tests need nothing of images and snapshots.
  void MakeRootfs() {
    for (const char* name : {"bin", "dev", "etc", "proc", "sys", "tmp"}) {
      ASSERT_TRUE(base::MakeDirs(rootfs() + "/" + name, 0755).ok());
    }
    fs::copy_file("/bin/busybox", rootfs() + "/bin/busybox");
    for (const char* name : {"sh", "sleep", "echo", "true", "cat", "stty", "id"}) {
      fs::create_symlink("busybox", absl::StrCat(rootfs(), "/bin/", name));
    }
  }
  std::string rootfs() const { return dir() + "/rootfs"; }

  std::vector<std::string> RunArguments(const std::vector<std::string>& flags,
                                        const std::string& id,
                                        const std::vector<std::string>& command) {
    std::vector<std::string> arguments = {"run"};
    if (foreign()) arguments.insert(arguments.end(), {"--runtime", kForeignShim});
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    arguments.insert(arguments.end(), {"--rootfs", rootfs(), id});
    arguments.insert(arguments.end(), command.begin(), command.end());
    return arguments;
  }
  base::RunResult RunTask(const std::string& id, const std::vector<std::string>& command) {
    return Ctr(RunArguments({"--rm"}, id, command));
  }
  void Detach(const std::string& id, const std::vector<std::string>& command) {
    CtrOk(RunArguments({"-d"}, id, command));
  }
  void Remove(const std::string& id) {
    Ctr({"task", "kill", "-s", "KILL", id});
    EXPECT_TRUE(Eventually([&] { return !absl::StrContains(StatusOf(id), "RUNNING"); })) << id;
    CtrOk({"task", "rm", id});
    CtrOk({"container", "rm", id});
  }
  // The line of `task ls`, empty if there is none.
  std::string StatusOf(const std::string& id) {
    std::string listed = CtrOk({"task", "ls"});
    for (absl::string_view line : absl::StrSplit(listed, '\n')) {
      if (absl::StartsWith(line, id + " ")) return std::string(line);
    }
    return "";
  }
  template <typename Condition>
  static bool Eventually(Condition condition, absl::Duration limit = absl::Seconds(10)) {
    for (absl::Time end = absl::Now() + limit; absl::Now() < end;) {
      if (condition()) return true;
      absl::SleepFor(absl::Milliseconds(20));
    }
    return false;
  }
  // The process that serves the shim of `id`, by its working directory, which is the bundle.
  pid_t ShimOf(const std::string& id) {
    std::string bundle = absl::StrCat(state(), "/io.containerd.runtime.v2.task/", ns(), "/", id);
    for (const auto& entry : fs::directory_iterator("/proc")) {
      std::error_code error;
      fs::path cwd = fs::read_symlink(entry.path() / "cwd", error);
      if (!error && cwd == bundle) return atoi(entry.path().filename().c_str());
    }
    return -1;
  }
  // No bundle of any task is left.
  void ExpectNoBundles() {
    for (const std::string& dir : {state(), root()}) {
      std::string tasks = absl::StrCat(dir, "/io.containerd.runtime.v2.task/", ns());
      EXPECT_TRUE(Eventually([&] { return !fs::exists(tasks) || fs::is_empty(tasks); })) << tasks;
    }
  }
};

// CVE-2019-5736, as for a shim that is started by itself; here the zygote is what it was forked
// from.
TEST_P(TasksTest, TheShimsProgramCannotBeWrittenThroughProc) {
  if (foreign()) GTEST_SKIP() << "about gantry-shim";
  Detach("exe", {"/bin/sleep", "1000"});
  struct statvfs fs;
  ASSERT_EQ(statvfs(absl::StrCat("/proc/", ShimOf("exe"), "/exe").c_str(), &fs), 0);
  EXPECT_NE(fs.f_flag & ST_RDONLY, 0u);
  Remove("exe");
}

TEST_P(TasksTest, RunsAndReportsTheExitCode) {
  base::RunResult hello = RunTask("hello", {"/bin/echo", "hello"});
  EXPECT_EQ(hello.exit.code, 0) << hello.err;
  EXPECT_EQ(hello.out, "hello\n");
  base::RunResult seven = RunTask("seven", {"/bin/sh", "-c", "echo out; echo err >&2; exit 7"});
  EXPECT_EQ(seven.exit.code, 7);
  EXPECT_THAT(seven.out, HasSubstr("out"));
  EXPECT_THAT(seven.err, HasSubstr("err"));
  ExpectNoBundles();
}

TEST_P(TasksTest, SaysWhatContainerdSays) {
  base::RunResult missing = RunTask("missing", {"/bin/nosuch"});
  EXPECT_NE(missing.exit.code, 0);
  EXPECT_THAT(missing.err, HasSubstr("failed to create shim task"));
  EXPECT_THAT(missing.err, HasSubstr("/bin/nosuch"));
  base::RunResult runtime = Ctr({"run", "--rm", "--runtime", "io.containerd.nosuch.v1", "--rootfs",
                                 rootfs(), "rt", "/bin/true"});
  EXPECT_THAT(runtime.err, HasSubstr("binary not installed \"containerd-shim-nosuch-v1\""));
  EXPECT_THAT(Ctr({"task", "kill", "nobody"}).err, HasSubstr("not found"));
  Detach("one", {"/bin/sleep", "1000"});
  EXPECT_THAT(Ctr({"task", "start", "one"}).err, HasSubstr("task one: already exists"));
  Remove("one");
  EXPECT_THAT(Ctr({"task", "pause", "one"}).err, HasSubstr("not found"));
  ExpectNoBundles();
}

TEST_P(TasksTest, ExecsPausesAndMeasures) {
  Detach("box", {"/bin/sleep", "1000"});
  EXPECT_THAT(StatusOf("box"), HasSubstr("RUNNING"));
  base::RunResult exec =
      Ctr({"task", "exec", "--exec-id", "e1", "box", "/bin/sh", "-c", "echo inside; exit 3"});
  EXPECT_EQ(exec.exit.code, 3);
  EXPECT_EQ(exec.out, "inside\n");
  EXPECT_THAT(CtrOk({"task", "metrics", "box"}), HasSubstr("box"));
  EXPECT_THAT(CtrOk({"task", "ps", "box"}), HasSubstr("PID"));
  CtrOk({"task", "pause", "box"});
  EXPECT_THAT(StatusOf("box"), HasSubstr("PAUSED"));
  CtrOk({"task", "resume", "box"});
  EXPECT_THAT(StatusOf("box"), HasSubstr("RUNNING"));
  Remove("box");
  EXPECT_EQ(StatusOf("box"), "");
  ExpectNoBundles();
}

TEST_P(TasksTest, TasksOutliveAKilledSupervisor) {
  Detach("alive", {"/bin/sleep", "1000"});
  Detach("ended", {"/bin/sh", "-c", "sleep 1; exit 5"});
  Detach("dead", {"/bin/sleep", "1000"});
  pid_t shim = ShimOf("dead");
  ASSERT_GT(shim, 0);
  KillGantryd();
  kill(shim, SIGKILL);
  absl::SleepFor(absl::Seconds(1.3));
  StartGantryd();
  EXPECT_THAT(StatusOf("alive"), HasSubstr("RUNNING"));
  EXPECT_THAT(StatusOf("ended"), HasSubstr("STOPPED"));
  EXPECT_EQ(StatusOf("dead"), "");
  EXPECT_EQ(Ctr({"task", "exec", "--exec-id", "e", "alive", "/bin/echo", "yes"}).out, "yes\n");
  EXPECT_THAT(Ctr({"task", "rm", "ended"}).err, HasSubstr("exit code 5")) << "not kept";
  CtrOk({"container", "rm", "ended"});
  CtrOk({"container", "rm", "dead"});
  Remove("alive");
  ExpectNoBundles();
}

TEST_P(TasksTest, AKilledShimEndsItsTask) {
  Detach("victim", {"/bin/sleep", "1000"});
  base::RunResult attached;
  std::thread waiting([&] { attached = Ctr({"task", "attach", "victim"}); });
  absl::SleepFor(absl::Milliseconds(300));
  pid_t shim = ShimOf("victim");
  ASSERT_GT(shim, 0);
  kill(shim, SIGKILL);
  waiting.join();
  EXPECT_EQ(attached.exit.code, 137) << attached.err;
  EXPECT_TRUE(Eventually([&] { return StatusOf("victim").empty(); }));
  CtrOk({"container", "rm", "victim"});
  ExpectNoBundles();
}

TEST_P(TasksTest, AStoppedShimDelaysNobodyElse) {
  Detach("stuck", {"/bin/sleep", "1000"});
  Detach("fine", {"/bin/sleep", "1000"});
  pid_t shim = ShimOf("stuck");
  ASSERT_GT(shim, 0);
  kill(shim, SIGSTOP);
  absl::Time begin = absl::Now();
  std::string listed = CtrOk({"task", "ls"});
  EXPECT_LT(absl::Now() - begin, absl::Seconds(4));
  EXPECT_THAT(listed, HasSubstr("fine"));
  EXPECT_THAT(listed, Not(HasSubstr("stuck")));
  EXPECT_EQ(RunTask("other", {"/bin/echo", "ok"}).out, "ok\n");
  kill(shim, SIGCONT);
  Remove("stuck");
  Remove("fine");
  ExpectNoBundles();
}

TEST_P(TasksTest, EventsComeInOrder) {
  base::RunResult run = RunTask("ev", {"/bin/true"});
  ASSERT_EQ(run.exit.code, 0) << run.err;
  // The history is what gantryd keeps; live subscribers are tested beside the hub.
  std::string log;
  std::thread listener([&] {
    auto result =
        base::RunProcess({.argv = {"timeout", "4", "ctr", "-a", socket(), "-n", ns(), "events"}},
                         "", absl::Seconds(10));
    if (result.ok()) log = result->out;
  });
  absl::SleepFor(absl::Milliseconds(700));
  EXPECT_EQ(RunTask("ev2", {"/bin/true"}).exit.code, 0);
  listener.join();
  size_t at = 0;
  for (const char* topic : {"/containers/create", "/tasks/create", "/tasks/start", "/tasks/exit",
                            "/tasks/delete", "/containers/delete"}) {
    size_t found = log.find(topic, at);
    EXPECT_NE(found, std::string::npos) << topic << " is missing or too early in\n" << log;
    if (found != std::string::npos) at = found;
  }
}

INSTANTIATE_TEST_SUITE_P(Shims, TasksTest, ::testing::Values("foreign", "gantry"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace gantry::tests
