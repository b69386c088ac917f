// Images and volumes made to break out; the canary is a directory of the host that must not change.

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "shim/oci/container_test_util.h"

namespace gantry::oci {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

class ContainerAttackTest : public ::testing::Test {
 protected:
  void SetUp() override {
    canary_ = bundle_.dir() + "/canary";
    ASSERT_EQ(mkdir(canary_.c_str(), 0755), 0);
    WriteTestFile(canary_ + "/file", "untouched");
    WriteTestFile(canary_ + "/ptmx", "untouched");
  }
  void ExpectCanaryUntouched() {
    EXPECT_THAT(*base::ListDir(canary_), UnorderedElementsAre("file", "ptmx"));
    EXPECT_EQ(base::ReadFile(canary_ + "/file").value_or(""), "untouched");
    EXPECT_EQ(base::ReadFile(canary_ + "/ptmx").value_or(""), "untouched");
  }
  void ReplaceByLink(const std::string& path, const std::string& target) {
    rmdir((bundle_.rootfs() + path).c_str());
    ASSERT_EQ(symlink(target.c_str(), (bundle_.rootfs() + path).c_str()), 0);
  }
  void AddTmpfs(const std::string& destination) {
    bundle_.spec["mounts"].push_back(
        {{"destination", destination}, {"type", "tmpfs"}, {"source", "tmpfs"}});
  }

  TestBundle bundle_;
  std::string canary_;
};

// CVE-2019-18837, CVE-2024-45310: destinations through links are resolved inside.
TEST_F(ContainerAttackTest, MountDestinationsThroughLinksStayInside) {
  ReplaceByLink("/abs", canary_);
  ReplaceByLink("/up", "../../../../../../../../.." + canary_);
  ReplaceByLink("/dangling", "/not/there/yet");
  AddTmpfs("/abs/a");
  AddTmpfs("/up/b");
  AddTmpfs("/dangling/c");
  AddTmpfs("/abs/../../../../up");
  bundle_.spec["mounts"].push_back({{"destination", "/abs/new-file"},
                                    {"type", "bind"},
                                    {"source", canary_ + "/file"},
                                    {"options", {"bind", "ro"}}});
  RunOutcome outcome = bundle_.RunScript("grep -c tmpfs /proc/mounts; ls /not/there/yet");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_THAT(outcome.out, HasSubstr("c\n"));
  ExpectCanaryUntouched();
}

// CVE-2019-19921, CVE-2023-27561: /proc and /sys as links.
TEST_F(ContainerAttackTest, ProcAndSysMustBeDirectories) {
  for (const char* path : {"/proc", "/sys"}) {
    for (const char* target : {"/etc", ".", "/nosuch"}) {
      ReplaceByLink(path, target);
      RunOutcome outcome = bundle_.RunScript("true");
      EXPECT_EQ(outcome.status.code(), absl::StatusCode::kInvalidArgument) << outcome.status;
      EXPECT_THAT(outcome.status.message(), HasSubstr("symbolic link"));
      unlink((bundle_.rootfs() + path).c_str());
      mkdir((bundle_.rootfs() + path).c_str(), 0755);
    }
  }
}

// CVE-2019-16884, CVE-2025-52881: nothing but procfs over /proc.
TEST_F(ContainerAttackTest, MountsOverProcAreRefused) {
  base::Json mounts = bundle_.spec["mounts"];
  ReplaceByLink("/alias", "/proc");
  for (const char* destination : {"/proc", "/proc/self", "/proc/sys", "/proc/self/attr", "/alias",
                                  "/alias/sys", "/tmp/../proc/1"}) {
    bundle_.spec["mounts"] = mounts;
    AddTmpfs(destination);
    RunOutcome outcome = bundle_.RunScript("true");
    EXPECT_EQ(outcome.status.code(), absl::StatusCode::kInvalidArgument)
        << destination << ": " << outcome.status;
  }
  bundle_.spec["mounts"] = mounts;
  bundle_.spec["mounts"].push_back({{"destination", "/proc/uptime"},
                                    {"type", "bind"},
                                    {"source", canary_ + "/file"},
                                    {"options", {"bind", "ro"}}});
  RunOutcome outcome = bundle_.RunScript("cat /proc/uptime");
  EXPECT_EQ(outcome.out, "untouched") << outcome.status;  // as lxcfs does
}

// CVE-2024-21626: no way in through descriptors of the engine.
TEST_F(ContainerAttackTest, WorkingDirectoryIsNeverADescriptor) {
  int leak = open("/", O_RDONLY | O_DIRECTORY);
  ReplaceByLink("/cwd", "/proc/self/fd/7");
  std::vector<std::string> tries = {"/cwd"};
  for (int fd = 3; fd < 30; ++fd) tries.push_back(absl::StrCat("/proc/self/fd/", fd));
  for (const std::string& cwd : tries) {
    bundle_.spec["process"]["cwd"] = cwd;
    RunOutcome outcome = bundle_.RunScript("pwd; ls -a");
    EXPECT_FALSE(outcome.status.ok()) << cwd << ": " << outcome.out;
  }
  close(leak);
  bundle_.spec["process"]["cwd"] = "/";
  bundle_.Script("sleep 100");
  ASSERT_TRUE(bundle_.Create().ok());
  ASSERT_TRUE(bundle_.container()->Start().ok());
  for (int fd = 3; fd < 30; ++fd) {
    base::Json process = bundle_.spec["process"];
    process["cwd"] = absl::StrCat("/proc/self/fd/", fd);
    EXPECT_FALSE(bundle_.ExecScript("pwd", process).status.ok()) << fd;
  }
}

// CVE-2025-31133: masks come from the host's /dev/null, not from the image's.
TEST_F(ContainerAttackTest, MasksDoNotUseTheImagesDevNull) {
  base::Json mounts = base::Json::array();
  for (const auto& mount : bundle_.spec["mounts"]) {
    if (!absl::StartsWith(mount["destination"].get<std::string>(), "/dev")) mounts.push_back(mount);
  }
  bundle_.spec["mounts"] = mounts;
  bundle_.spec["mounts"].push_back(
      {{"destination", "/dev"}, {"type", "bind"}, {"source", canary_}, {"options", {"bind"}}});
  ASSERT_EQ(symlink("/proc/sys/kernel/core_pattern", (canary_ + "/null").c_str()), 0);
  std::string before = base::ReadFile("/proc/sys/kernel/core_pattern").value_or("");
  RunOutcome outcome = bundle_.RunScript("cat /proc/keys; echo evil > /proc/keys; true");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(base::ReadFile("/proc/sys/kernel/core_pattern").value_or(""), before);
  unlink((canary_ + "/null").c_str());
  ExpectCanaryUntouched();
}

// CVE-2026-41579, CVE-2026-47766: /dev as a link, without a mount on it.
TEST_F(ContainerAttackTest, DevicesAreNotMadeThroughALink) {
  base::Json mounts = base::Json::array();
  for (const auto& mount : bundle_.spec["mounts"]) {
    if (!absl::StartsWith(mount["destination"].get<std::string>(), "/dev")) mounts.push_back(mount);
  }
  bundle_.spec["mounts"] = mounts;
  for (const std::string& target : {canary_, std::string("/etc")}) {
    ReplaceByLink("/dev", target);
    RunOutcome outcome = bundle_.RunScript("true");
    EXPECT_EQ(outcome.status.code(), absl::StatusCode::kInvalidArgument) << outcome.status;
    unlink((bundle_.rootfs() + "/dev").c_str());
    ExpectCanaryUntouched();
  }
  mkdir((bundle_.rootfs() + "/dev").c_str(), 0755);
  ReplaceByLink("/dev/sub", canary_);
  bundle_.spec["linux"]["devices"] = {
      {{"path", "/dev/sub/x"}, {"type", "c"}, {"major", 1}, {"minor", 3}}};
  bundle_.RunScript("true");
  ExpectCanaryUntouched();
}

// CVE-2025-52565: the console is bound beneath the container's own /dev.
TEST_F(ContainerAttackTest, ConsoleIsNotBoundThroughALink) {
  base::Json mounts = base::Json::array();
  for (const auto& mount : bundle_.spec["mounts"]) {
    if (mount["destination"] != "/dev") mounts.push_back(mount);
  }
  bundle_.spec["mounts"] = mounts;
  ReplaceByLink("/dev/console", "/proc/sysrq-trigger");
  bundle_.spec["process"]["terminal"] = true;
  RunOutcome outcome = bundle_.RunScript("true");
  EXPECT_FALSE(outcome.status.ok());
  EXPECT_THAT(outcome.status.message(), HasSubstr("/dev/console"));
}

// CVE-2016-9962: nobody inside looks into a process of the engine that enters the container.
TEST_F(ContainerAttackTest, TheProcessIsNotDumpableBeforeExec) {
  bundle_.Script("true");
  bundle_.spec["process"]["user"] = {{"uid", 1000}, {"gid", 1000}};
  ASSERT_TRUE(bundle_.Create().ok());
  struct stat st;
  // The owner of /proc/PID of a process that is not dumpable is root, whatever its uid.
  ASSERT_EQ(stat(absl::StrCat("/proc/", bundle_.init().pid, "/fd").c_str(), &st), 0);
  EXPECT_EQ(st.st_uid, 0u);
}

// CVE-2021-30465, CVE-2024-45310: a volume in which another container swaps a directory and a link
// while mount points are looked up and made.
TEST_F(ContainerAttackTest, SwappedMountPointsNeverLeadOutside) {
  std::string volume = bundle_.dir() + "/volume";
  ASSERT_EQ(mkdir(volume.c_str(), 0755), 0);
  ASSERT_EQ(mkdir((volume + "/a").c_str(), 0755), 0);
  ASSERT_EQ(symlink(canary_.c_str(), (volume + "/b").c_str()), 0);
  pid_t swapper = fork();
  if (swapper == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    std::string a = volume + "/a", b = volume + "/b";
    while (true) renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE);
  }
  bundle_.spec["mounts"].push_back(
      {{"destination", "/v"}, {"type", "bind"}, {"source", volume}, {"options", {"bind", "rw"}}});
  AddTmpfs("/v/a/new/dir");
  bundle_.spec["mounts"].push_back({{"destination", "/v/a/new-file"},
                                    {"type", "bind"},
                                    {"source", "/etc/hostname"},
                                    {"options", {"bind", "ro"}}});
  AddTmpfs("/v/a");
  int started = 0;
  for (int i = 0; i < 60; ++i) {
    // Some rounds fail cleanly, when the walk meets what is being moved.
    started += bundle_.RunScript("true").status.ok();
  }
  kill(swapper, SIGKILL);
  waitpid(swapper, nullptr, 0);
  EXPECT_GT(started, 0);
  ExpectCanaryUntouched();
}

// CVE-2022-0811 and its class.
TEST_F(ContainerAttackTest, SysctlsStayInTheirNamespaces) {
  for (const auto& [key, value] : std::vector<std::pair<std::string, std::string>>{
           {"kernel.core_pattern", "|/evil"},
           {"net.ipv4/../../kernel/core_pattern", "|/evil"},
           {"net/ipv4/../../kernel/core_pattern", "|/evil"},
           {"kernel/shm_rmid_forced", "1\n"},
           {"vm.swappiness", "1"},
           {"net//ipv4/ip_forward", "1"},
           {"", "1"}}) {
    bundle_.spec["linux"]["sysctl"] = {{key, value}};
    EXPECT_EQ(bundle_.RunScript("true").status.code(), absl::StatusCode::kInvalidArgument) << key;
  }
}

// CVE-2026-47262: a hostile /etc/passwd costs nothing.
TEST_F(ContainerAttackTest, PasswdOfAnyKindIsHarmless) {
  std::string passwd = bundle_.rootfs() + "/etc/passwd";
  unlink(passwd.c_str());
  ASSERT_EQ(mkfifo(passwd.c_str(), 0644), 0);
  EXPECT_EQ(bundle_.RunScript("echo $HOME").out, "/\n");
  unlink(passwd.c_str());
  ASSERT_EQ(symlink("/dev/zero", passwd.c_str()), 0);
  EXPECT_EQ(bundle_.RunScript("echo $HOME").out, "/\n");
  unlink(passwd.c_str());
  int fd = open(passwd.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
  ASSERT_EQ(ftruncate(fd, 2ll << 30), 0);
  close(fd);
  EXPECT_EQ(bundle_.RunScript("echo $HOME").out, "/\n");
}

}  // namespace
}  // namespace gantry::oci
