// What a process of the engine carries into a container, and what the container can do with it on
// its way.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "tests/security/attack.h"

namespace gantry::tests {
namespace {

using oci::RunOutcome;

// Descriptors of the engine's process as a working directory, by every way that takes one.
TEST(CVE_2024_21626, CwdInLeakedDescriptor) {
  MustHold({Mistake::kAnyWorkingDirectory}, [](Attack& attack) {
    base::UniqueFd leak(open("/", O_RDONLY | O_DIRECTORY));
    std::vector<std::string> tries = {"/cwd"};
    for (int fd = 3; fd < 30; ++fd) tries.push_back(absl::StrCat("/proc/self/fd/", fd));
    attack.Link("/cwd", absl::StrCat("/proc/self/fd/", leak.get()));
    for (const std::string& cwd : tries) {
      attack.bundle.spec["process"]["cwd"] = cwd;
      RunOutcome outcome = attack.bundle.RunScript("pwd; ls -a");
      EXPECT_FALSE(outcome.status.ok()) << cwd << ": " << outcome.out;
    }
    attack.bundle.spec["process"]["cwd"] = "/";
    attack.bundle.Script("sleep 100");
    ASSERT_TRUE(attack.bundle.Create().ok());
    ASSERT_TRUE(attack.bundle.container()->Start().ok());
    for (const std::string& cwd : tries) {
      base::Json process = attack.bundle.spec["process"];
      process["cwd"] = cwd;
      EXPECT_FALSE(attack.bundle.ExecScript("pwd", process).status.ok()) << cwd;
    }
  });
}

// A program named by a descriptor of the engine.
TEST(CVE_2024_21626, ProgramInLeakedDescriptor) {
  MustHold({Mistake::kLeaksDescriptors}, [](Attack& attack) {
    base::UniqueFd leak(open("/", O_RDONLY | O_DIRECTORY));
    for (int fd = 3; fd < 30; ++fd) {
      attack.bundle.spec["process"]["args"] = {absl::StrCat("/proc/self/fd/", fd, "/bin/true")};
      EXPECT_FALSE(attack.bundle.Run().status.ok()) << fd;
    }
  });
}

// Whoever starts the engine may hold anything.
TEST(CVE_2024_21626, DescriptorsOfTheCallerStayOutside) {
  MustHold({Mistake::kLeaksDescriptors}, [](Attack& attack) {
    std::vector<base::UniqueFd> held;
    for (int i = 0; i < 20; ++i) held.emplace_back(open("/", O_RDONLY));  // not close-on-exec
    std::string list = "ls /proc/self/fd";
    EXPECT_EQ(attack.bundle.RunScript(list).out, "0\n1\n2\n3\n");  // 3 is the directory itself
    attack.bundle.Script("sleep 100");
    ASSERT_TRUE(attack.bundle.Create().ok());
    ASSERT_TRUE(attack.bundle.container()->Start().ok());
    EXPECT_EQ(attack.bundle.ExecScript(list).out, "0\n1\n2\n3\n");
  });
}

// A process of the engine, seen from inside a container: its program can be asked for, and is none
// of the container's.
bool IsOfTheEngine(pid_t pid) {
  char path[64], exe[256];
  snprintf(path, sizeof path, "/proc/%d/exe", pid);
  ssize_t length = readlink(path, exe, sizeof exe);
  return length > 0 && !absl::EndsWith(absl::string_view(exe, length), "/busybox");
}

TEST(CVE_2016_9962, NobodyLooksIntoAProcessThatEnters) {
  MustHold({Mistake::kDumpable}, [](Attack& attack) {
    attack.bundle.Script("sleep 100");
    ASSERT_TRUE(attack.bundle.Create().ok());
    ASSERT_TRUE(attack.bundle.container()->Start().ok());
    Hunter hunter(attack.bundle.init().pidfd.get(), IsOfTheEngine);
    for (int i = 0; i < 200 && hunter.Running(); ++i) {
      EXPECT_TRUE(attack.bundle.ExecScript("true").status.ok());
    }
    EXPECT_FALSE(hunter.Caught());
  });
}

TEST(CVE_2016_9962, TheFirstProcessIsNotDumpableBeforeItRuns) {
  MustHold({Mistake::kDumpable}, [](Attack& attack) {
    attack.bundle.Script("true");
    attack.SetUser(1000, 1000);
    ASSERT_TRUE(attack.bundle.Create().ok());
    struct stat st;
    // The owner of /proc/PID of a process that is not dumpable is root, whatever its uid.
    ASSERT_EQ(stat(absl::StrCat("/proc/", attack.bundle.init().pid, "/fd").c_str(), &st), 0);
    EXPECT_EQ(st.st_uid, 0u);
  });
}

// Names and values of kernel parameters; a value with a separator must not become two.
TEST(CVE_2022_0811, SysctlsStayInTheirNamespaces) {
  MustHold({Mistake::kAnySysctl}, [](Attack& attack) {
    std::string pattern = base::ReadFile("/proc/sys/kernel/core_pattern").value_or("");
    std::string same = pattern.substr(0, pattern.find('\n'));  // harmless where it succeeds
    for (const auto& [key, value] : std::vector<std::pair<std::string, std::string>>{
             {"kernel.core_pattern", same},
             {"net.ipv4/../../kernel/core_pattern", same},
             {"net/ipv4/../../kernel/core_pattern", same},
             {"net//ipv4/ip_forward", "1"},
             {"kernel/shm_rmid_forced", "1\n"},
             {"kernel.shm_rmid_forced ", "1"},
             {"vm.swappiness", "60"},
             {"", "1"}}) {
      attack.bundle.spec["linux"]["sysctl"] = {{key, value}};
      EXPECT_EQ(attack.bundle.RunScript("true").status.code(), absl::StatusCode::kInvalidArgument)
          << key;
    }
    // Literally: "+" starts no second parameter.
    attack.bundle.spec["linux"]["sysctl"] = {
        {"kernel.shm_rmid_forced", "1+kernel.core_pattern=|/evil"}};
    EXPECT_FALSE(attack.bundle.RunScript("true").status.ok());
    EXPECT_EQ(base::ReadFile("/proc/sys/kernel/core_pattern").value_or(""), pattern);
  });
}

}  // namespace
}  // namespace gantry::tests
