// gantry-shim as a runtime of Debian's containerd, driven by Debian's ctr: the daemon and the
// client must not notice that it is not containerd's own shim.

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/json.h"
#include "base/process.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/integration/gantryd_fixture.h"

namespace gantry::tests {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kImage[] = "docker.io/library/busybox:latest";

// One containerd for all tests of the program; each test has its own containers.
class ShimUnderContainerdTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    dir_ = absl::StrCat("/tmp/gsc-", getpid(), "-", base::RandomHex(3));
    ns_ = absl::StrCat("shim-", base::RandomHex(4));
    ASSERT_TRUE(base::MakeDirs(dir_).ok());
    StartContainerd();
    // From 2.0 on the daemon imports by itself, and only into its default snapshotter.
    std::vector<std::string> import = {"image", "import", "--snapshotter", "native"};
    if (absl::StrContains(tests::Run({"ctr", "--version"}).out, " 2.")) import.push_back("--local");
    import.push_back(BusyboxImage());
    ASSERT_EQ(Ctr(import).exit.code, 0);
  }
  static void TearDownTestSuite() {
    StopContainerd();
    if (dir_.empty()) return;
    tests::Run(
        {"/bin/sh", "-c",
         absl::StrCat("grep -o ' ", dir_, "[^ ]*' /proc/self/mountinfo | xargs -r umount -l")});
    EXPECT_TRUE(base::RemoveTree(dir_).ok());
    tests::Run({"/bin/sh", "-c", absl::StrCat("rmdir /sys/fs/cgroup/*/", ns_)});
  }
  void SetUp() override {
    if (!containerd_) GTEST_SKIP() << "containerd does not run";
  }

  static std::string Socket() { return dir_ + "/c.sock"; }
  static void StartContainerd() {
    std::string config =
        absl::StrCat("version = 2\nroot = \"", dir_, "/root\"\nstate = \"", dir_,
                     "/state\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\", "
                     "\"io.containerd.internal.v1.opt\"]\n[grpc]\n  address = \"",
                     Socket(), "\"\n[ttrpc]\n  address = \"", Socket(), ".ttrpc\"\n");
    ASSERT_TRUE(base::WriteFile(dir_ + "/config.toml", config).ok());
    auto log = base::Open(dir_ + "/containerd.log", O_CREAT | O_WRONLY | O_APPEND, 0600);
    ASSERT_TRUE(log.ok());
    base::SpawnOptions options;
    options.argv = {"containerd", "--config", dir_ + "/config.toml"};
    options.fds = {{1, log->get()}, {2, log->get()}};
    auto daemon = base::Process::Spawn(options);
    ASSERT_TRUE(daemon.ok()) << daemon.status();
    containerd_ = *std::move(daemon);
    for (int i = 0; i < 300; ++i) {
      if (tests::Run({"ctr", "-a", Socket(), "version"}).exit.code == 0) return;
      absl::SleepFor(absl::Milliseconds(100));
    }
    FAIL() << "containerd did not come up: " << *base::ReadFile(dir_ + "/containerd.log");
  }
  static void StopContainerd(int signal = SIGTERM) {
    if (!containerd_) return;
    (void)containerd_->Signal(signal);
    (void)containerd_->Wait(absl::Seconds(20));
    containerd_.reset();
  }

  static base::RunResult Ctr(const std::vector<std::string>& arguments) {
    std::vector<std::string> argv = {"ctr", "-a", Socket(), "-n", ns_};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    return tests::Run(argv, {}, absl::Seconds(30));
  }
  static std::string Shim() { return BinDir() + "/gantry-shim"; }
  // `ctr run` of busybox under our shim.
  static base::RunResult RunContainer(const std::vector<std::string>& flags, const std::string& id,
                                      const std::vector<std::string>& command) {
    std::vector<std::string> arguments = {"run", "--runtime", Shim(), "--snapshotter", "native"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    arguments.push_back(kImage);
    arguments.push_back(id);
    arguments.insert(arguments.end(), command.begin(), command.end());
    return Ctr(arguments);
  }
  static std::string TaskStatus(const std::string& id) {
    for (absl::string_view line : absl::StrSplit(Ctr({"task", "ls"}).out, '\n')) {
      std::vector<std::string> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
      if (words.size() == 3 && words[0] == id) return words[2];
    }
    return "";
  }
  static bool Becomes(const std::string& id, const std::string& status) {
    for (int i = 0; i < 100; ++i) {
      if (TaskStatus(id) == status) return true;
      absl::SleepFor(absl::Milliseconds(50));
    }
    return false;
  }
  static void Remove(const std::string& id) {
    Ctr({"task", "kill", "-s", "KILL", id});
    EXPECT_TRUE(Becomes(id, "STOPPED")) << id;
    Ctr({"task", "rm", id});
    EXPECT_EQ(Ctr({"container", "rm", id}).exit.code, 0);
  }
  // The shim that serves `id`, by the parent of the container's first process.
  static pid_t ShimOf(const std::string& id) {
    auto text = base::ReadFile(
        absl::StrCat(dir_, "/state/io.containerd.runtime.v2.task/", ns_, "/", id, "/init.pid"));
    auto stat = base::ReadFile(absl::StrCat("/proc/", text.ok() ? *text : "x", "/stat"));
    if (!stat.ok()) return -1;
    std::vector<std::string> words = absl::StrSplit(stat->substr(stat->rfind(')') + 2), ' ');
    int parent = -1;
    return absl::SimpleAtoi(words[1], &parent) ? parent : -1;
  }

  static std::string dir_, ns_;
  static std::optional<base::Process> containerd_;
};

std::string ShimUnderContainerdTest::dir_;
std::string ShimUnderContainerdTest::ns_;
std::optional<base::Process> ShimUnderContainerdTest::containerd_;

TEST_F(ShimUnderContainerdTest, OutputAndExitCode) {
  auto result =
      RunContainer({"--rm"}, "out", {"sh", "-c", "echo to-out; echo to-err >&2; exit 42"});
  EXPECT_EQ(result.exit.code, 42);
  EXPECT_EQ(result.out, "to-out\n");
  EXPECT_THAT(result.err, HasSubstr("to-err"));
  EXPECT_EQ(TaskStatus("out"), "");
}

TEST_F(ShimUnderContainerdTest, MuchOutputArrivesCompletely) {
  auto result =
      RunContainer({"--rm"}, "much", {"sh", "-c", "head -c 5000000 /dev/zero | tr '\\0' x"});
  EXPECT_EQ(result.exit.code, 0);
  EXPECT_EQ(result.out.size(), 5000000u);
}

TEST_F(ShimUnderContainerdTest, MissingProgramIsSaidSo) {
  auto result = RunContainer({"--rm"}, "missing", {"no-such-program"});
  EXPECT_NE(result.exit.code, 0);
  EXPECT_THAT(result.err, HasSubstr("OCI runtime create failed"));
  EXPECT_THAT(result.err, HasSubstr("\"no-such-program\": executable file not found in $PATH"));
}

TEST_F(ShimUnderContainerdTest, LifeOfADetachedTask) {
  ASSERT_EQ(RunContainer({"-d"}, "life", {"sleep", "1000"}).exit.code, 0);
  EXPECT_EQ(TaskStatus("life"), "RUNNING");
  auto exec = Ctr({"task", "exec", "--exec-id", "e1", "life", "sh", "-c", "echo inside; exit 7"});
  EXPECT_EQ(exec.exit.code, 7);
  EXPECT_EQ(exec.out, "inside\n");
  auto bad = Ctr({"task", "exec", "--exec-id", "e2", "life", "no-such-program"});
  EXPECT_NE(bad.exit.code, 0);
  EXPECT_THAT(bad.err, HasSubstr("executable file not found in $PATH"));
  EXPECT_EQ(Ctr({"task", "pause", "life"}).exit.code, 0);
  EXPECT_EQ(TaskStatus("life"), "PAUSED");
  EXPECT_EQ(Ctr({"task", "resume", "life"}).exit.code, 0);
  EXPECT_EQ(TaskStatus("life"), "RUNNING");
  auto metrics = Ctr({"task", "metrics", "life"});
  EXPECT_THAT(metrics.out, HasSubstr("pids.current"));
  EXPECT_THAT(metrics.out, HasSubstr("memory.usage_in_bytes"));
  EXPECT_EQ(absl::StrSplit(Ctr({"task", "ps", "life"}).out, '\n').begin()->substr(0, 3), "PID");
  EXPECT_NE(Ctr({"task", "rm", "life"}).exit.code, 0);
  Remove("life");
}

// CVE-2019-5736: the processes that enter a container are forks of the shim, so what a container
// can open as their program must lie on a read-only mount. (While it runs, an open for writing
// would fail anyhow.)
TEST_F(ShimUnderContainerdTest, ItsProgramCannotBeWrittenThroughProc) {
  ASSERT_EQ(RunContainer({"-d"}, "exe", {"sleep", "1000"}).exit.code, 0);
  struct statvfs fs;
  ASSERT_EQ(statvfs(absl::StrCat("/proc/", ShimOf("exe"), "/exe").c_str(), &fs), 0);
  EXPECT_NE(fs.f_flag & ST_RDONLY, 0u);
  Remove("exe");
}

TEST_F(ShimUnderContainerdTest, Terminal) {
  std::string command =
      absl::StrJoin(std::vector<std::string>{"ctr", "-a", Socket(), "-n", ns_, "run", "--rm", "-t",
                                             "--runtime", Shim(), "--snapshotter", "native", kImage,
                                             "pty", "sh -c 'tty; exit 9'"},
                    " ");
  auto result = tests::Run({"script", "-qec", command, "/dev/null"}, {}, absl::Seconds(30));
  EXPECT_EQ(result.exit.code, 9);
  EXPECT_THAT(result.out, HasSubstr("/dev/pts/0"));
}

TEST_F(ShimUnderContainerdTest, LogsIntoFilesOfItsOwn) {
  std::string raw = dir_ + "/logs/raw.txt", json = dir_ + "/logs/x-json.log";
  EXPECT_EQ(RunContainer({"--rm", "--log-uri", "file://" + raw}, "log1",
                         {"sh", "-c", "echo one; echo two >&2"})
                .exit.code,
            0);
  EXPECT_EQ(*base::ReadFile(raw), "one\ntwo\n");
  EXPECT_EQ(RunContainer({"--rm", "--log-uri", "json-file://" + json + "?max-size=1m"}, "log2",
                         {"echo", "one"})
                .exit.code,
            0);
  auto line = base::ParseJson(*base::ReadFile(json));
  ASSERT_TRUE(line.ok());
  EXPECT_EQ(base::JsonString(*line, "log"), "one\n");
}

TEST_F(ShimUnderContainerdTest, MemoryLimitKillsAndSaysSo) {
  auto result = RunContainer({"--rm", "--memory-limit", "20971520"}, "oom",
                             {"dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1"});
  EXPECT_EQ(result.exit.code, 137);
}

// kill -9 of the shim: the daemon runs `gantry-shim delete`, which ends the container.
TEST_F(ShimUnderContainerdTest, AKilledShimLeavesNothing) {
  ASSERT_EQ(RunContainer({"-d"}, "victim", {"sleep", "1000"}).exit.code, 0);
  pid_t shim = ShimOf("victim");
  ASSERT_GT(shim, 1);
  auto init = base::ReadFile(
      absl::StrCat(dir_, "/state/io.containerd.runtime.v2.task/", ns_, "/victim/init.pid"));
  ASSERT_TRUE(init.ok());
  ASSERT_EQ(kill(shim, SIGKILL), 0);
  bool gone = false;
  for (int i = 0; i < 100 && !gone; ++i) {
    absl::SleepFor(absl::Milliseconds(100));
    auto stat = base::ReadFile(absl::StrCat("/proc/", *init, "/stat"));
    gone = (!stat.ok() || absl::StrContains(*stat, ") Z ")) && TaskStatus("victim") != "RUNNING";
  }
  EXPECT_TRUE(gone);
  Ctr({"task", "rm", "-f", "victim"});
  EXPECT_EQ(Ctr({"container", "rm", "victim"}).exit.code, 0);
  auto mounts = base::ReadFile("/proc/self/mountinfo");
  EXPECT_THAT(*mounts, Not(HasSubstr("/victim/rootfs")));
}

// kill -9 of the daemon: container and shim go on and are found again.
TEST_F(ShimUnderContainerdTest, ARestartedDaemonFindsItsTasks) {
  std::string log = dir_ + "/ticks";
  ASSERT_EQ(RunContainer({"-d", "--log-uri", "file://" + log}, "keeps",
                         {"sh", "-c", "i=0; while sleep 0.1; do i=$((i+1)); echo $i; done"})
                .exit.code,
            0);
  StopContainerd(SIGKILL);
  auto before = base::ReadFile(log);
  absl::SleepFor(absl::Milliseconds(500));
  EXPECT_GT(base::ReadFile(log)->size(), before.ok() ? before->size() : 0);
  StartContainerd();
  EXPECT_EQ(TaskStatus("keeps"), "RUNNING");
  auto exec = Ctr({"task", "exec", "--exec-id", "e", "keeps", "echo", "again"});
  EXPECT_EQ(exec.out, "again\n");
  Remove("keeps");
}

// The last test: nothing of all the others is there, but for the cgroup of the namespace, which is
// shared by its containers and stays, as with runc.
TEST_F(ShimUnderContainerdTest, ZNothingIsLeftOver) {
  auto leftovers = [] {
    std::vector<std::string> found = FindLeftovers(ns_);
    std::erase_if(found, [](const std::string& item) { return absl::EndsWith(item, "/" + ns_); });
    return found;
  };
  for (int i = 0; i < 50 && !leftovers().empty(); ++i) absl::SleepFor(absl::Milliseconds(100));
  EXPECT_THAT(leftovers(), IsEmpty());
}

}  // namespace
}  // namespace gantry::tests
