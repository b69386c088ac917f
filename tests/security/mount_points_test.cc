// Mount points, devices, masks and the console: whatever an image or a volume puts where the engine
// wants to mount or make something.

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "tests/security/attack.h"

namespace gantry::tests {
namespace {

using oci::RunOutcome;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr absl::StatusCode kRefused = absl::StatusCode::kInvalidArgument;

// Links of every kind as the last and as a middle part of a destination.
TEST(CVE_2019_18837, DestinationsThroughLinksStayInside) {
  MustHold({Mistake::kFollowsLinksOut}, [](Attack& attack) {
    attack.Link("/abs", attack.canary());
    attack.Link("/up", "../../../../../../../../.." + attack.canary());
    attack.Link("/dangling", "/not/there/yet");
    attack.Directory("/middle");
    attack.Link("/middle/link", attack.canary());
    for (const char* destination :
         {"/abs/a", "/up/b", "/dangling/c", "/abs/../../../../up", "/middle/link/dir/d"}) {
      attack.AddTmpfs(destination);
    }
    attack.AddBind(attack.canary() + "/file", "/abs/new-file");
    RunOutcome outcome = attack.bundle.RunScript("grep -c tmpfs /proc/mounts; ls /not/there/yet");
    EXPECT_TRUE(outcome.status.ok()) << outcome.status;
    EXPECT_THAT(outcome.out, HasSubstr("c\n"));
  });
}

// /proc and /sys as links. CVE-2023-27561 and CVE-2023-28642 are its regressions.
TEST(CVE_2019_19921, ProcAndSysMustBeDirectories) {
  MustHold({Mistake::kKernelFsOverLinks}, [](Attack& attack) {
    for (const char* path : {"/proc", "/sys"}) {
      for (const char* target : {"/tmp", ".", "/nosuch", "../../../../../tmp"}) {
        attack.Link(path, target);
        RunOutcome outcome = attack.bundle.RunScript("true");
        EXPECT_EQ(outcome.status.code(), kRefused) << path << " -> " << target << outcome.status;
        EXPECT_THAT(outcome.status.message(), HasSubstr("symbolic link"));
        attack.Directory(path);
      }
    }
  });
}

// As above, while another container of the same volume swaps the directory and the link.
TEST(CVE_2019_19921, SwappedProcIsNeverMountedElsewhere) {
  MustHold({Mistake::kKernelFsOverLinks}, [](Attack& attack) {
    attack.Link("/link", "/tmp");
    Swapper swapper(attack.bundle.rootfs() + "/proc", attack.bundle.rootfs() + "/link");
    int started = 0;
    for (Rounds rounds; rounds.Next();) {
      RunOutcome outcome = attack.bundle.RunScript("ls -d /tmp/self /tmp/keys; cat /proc/keys");
      started += outcome.status.ok();
      if (!outcome.status.ok()) continue;
      // Mounted on the link's target, and what is masked would be there to be read.
      EXPECT_THAT(outcome.out, HasSubstr("/tmp/self: No such file"));
      if (outcome.out.find("/tmp/self: No such file") == std::string::npos) break;
    }
    EXPECT_GT(started, 0);
  });
}

// Over /proc or beneath it, also by another name: who stands there answers what the engine and
// security modules write. CVE-2025-52881 is the same by a race.
TEST(CVE_2019_16884, OnlyProcfsComesOverProc) {
  MustHold({Mistake::kMountsOverProc}, [](Attack& attack) {
    base::Json mounts = attack.bundle.spec["mounts"];
    attack.Link("/alias", "/proc");
    for (const char* destination : {"/proc", "/proc/self", "/proc/sys", "/proc/self/attr", "/alias",
                                    "/alias/sys", "/tmp/../proc/1"}) {
      attack.bundle.spec["mounts"] = mounts;
      attack.AddTmpfs(destination);
      RunOutcome outcome = attack.bundle.RunScript("true");
      EXPECT_EQ(outcome.status.code(), kRefused) << destination << ": " << outcome.status;
      attack.bundle.spec["mounts"] = mounts;
      attack.AddBind(attack.canary(), destination);
      outcome = attack.bundle.RunScript("true");
      EXPECT_EQ(outcome.status.code(), kRefused) << destination << ": " << outcome.status;
    }
    attack.bundle.spec["mounts"] = mounts;
    attack.AddBind(attack.canary() + "/file", "/proc/uptime");
    RunOutcome outcome = attack.bundle.RunScript("cat /proc/uptime");
    EXPECT_EQ(outcome.out, "untouched") << outcome.status;  // as lxcfs does
  });
}

// A volume in which another container swaps a directory and a link to the host. Every mount has to
// be found inside afterwards, wherever the swapping has carried it.
TEST(CVE_2021_30465, SwappedMountPointsNeverLeadOutside) {
  MustHold({Mistake::kFollowsLinksOut}, [](Attack& attack) {
    std::string volume = attack.bundle.dir() + "/volume";
    ASSERT_TRUE(base::MakeDirs(volume + "/a").ok());
    ASSERT_EQ(symlink(attack.canary().c_str(), (volume + "/b").c_str()), 0);
    attack.AddBind(volume, "/m", {"bind", "rw"});
    attack.AddBind(volume, "/m/a", {"bind", "rw"});
    attack.AddBind(attack.bundle.rootfs() + "/etc", "/m/a/y", {"bind", "rw"});
    const std::string count = "wc -l < /proc/mounts; ls -a /m/a /m/b";
    std::string mounts = attack.bundle.RunScript("wc -l < /proc/mounts").out;
    Swapper swapper(volume + "/a", volume + "/b");
    int started = 0;
    for (Rounds rounds; rounds.Next();) {
      RunOutcome outcome = attack.bundle.RunScript(count);
      if (!outcome.status.ok()) continue;
      ++started;
      EXPECT_THAT(outcome.out, StartsWith(mounts));
      EXPECT_THAT(outcome.out, ::testing::Not(HasSubstr("secret")));
      if (!absl::StartsWith(outcome.out, mounts)) break;
    }
    EXPECT_GT(started, 0);
  });
}

// The same, where the mount points have to be made first: nothing is made on the host.
TEST(CVE_2024_45310, SwappedMountPointsAreNotMadeOutside) {
  MustHold({Mistake::kFollowsLinksOut}, [](Attack& attack) {
    std::string volume = attack.bundle.dir() + "/volume";
    ASSERT_TRUE(base::MakeDirs(volume + "/a").ok());
    ASSERT_EQ(symlink(attack.canary().c_str(), (volume + "/b").c_str()), 0);
    attack.AddBind(volume, "/v", {"bind", "rw"});
    attack.AddTmpfs("/v/a/new/dir");
    attack.AddBind("/etc/hostname", "/v/a/new-file");
    attack.AddTmpfs("/v/a");
    Swapper swapper(volume + "/a", volume + "/b");
    int started = 0;
    for (Rounds rounds; rounds.Next();) {
      // Some rounds fail cleanly, when the walk meets what is being moved.
      started += attack.bundle.RunScript("true").status.ok();
      if (!attack.HostUntouched()) break;
    }
    EXPECT_GT(started, 0);
  });
}

// Masks come from the host's /dev/null, not from what the container calls so.
TEST(CVE_2025_31133, MasksDoNotUseTheContainersDevNull) {
  MustHold({Mistake::kContainersDevNull}, [](Attack& attack) {
    std::string dev = attack.bundle.dir() + "/dev";
    ASSERT_TRUE(base::MakeDirs(dev).ok());
    attack.DropMounts("/dev");
    attack.AddBind(dev, "/dev", {"bind", "rw"});
    attack.AddBind(attack.canary(), "/etc/host", {"bind", "rw"});
    for (const char* target : {"/etc/host/file", "/nosuch"}) {
      unlink((dev + "/null").c_str());
      ASSERT_EQ(symlink(target, (dev + "/null").c_str()), 0);
      RunOutcome outcome = attack.bundle.RunScript("cat /proc/keys; echo evil > /proc/keys; true");
      EXPECT_EQ(outcome.out, "") << target;
      EXPECT_TRUE(outcome.status.ok()) << outcome.status;
    }
    ASSERT_EQ(unlink((dev + "/null").c_str()), 0);  // missing
    EXPECT_EQ(attack.bundle.RunScript("cat /proc/keys").out, "");
  });
}

TEST(CVE_2025_31133, MasksSurviveASwappedDevNull) {
  MustHold({Mistake::kContainersDevNull}, [](Attack& attack) {
    std::string dev = attack.bundle.dir() + "/dev";
    ASSERT_TRUE(base::MakeDirs(dev).ok());
    ASSERT_EQ(mknod((dev + "/null").c_str(), S_IFCHR | 0666, makedev(1, 3)), 0);
    ASSERT_EQ(symlink("/etc/host/file", (dev + "/other").c_str()), 0);
    attack.DropMounts("/dev");
    attack.AddBind(dev, "/dev", {"bind", "rw"});
    attack.AddBind(attack.canary(), "/etc/host", {"bind", "rw"});
    Swapper swapper(dev + "/null", dev + "/other");
    for (Rounds rounds; attack.HostUntouched() && rounds.Next();) {
      RunOutcome outcome = attack.bundle.RunScript("cat /proc/keys; echo evil > /proc/keys; true");
      EXPECT_EQ(outcome.out, "");
    }
  });
}

// A linked /dev without a mount on it: its nodes and links would be made on the host.
TEST(CVE_2026_41579, NothingIsMadeThroughALinkedDev) {
  MustHold({Mistake::kKernelFsOverLinks, Mistake::kFollowsLinksOut}, [](Attack& attack) {
    attack.DropMounts("/dev");
    attack.Link("/dev", attack.canary());
    RunOutcome outcome = attack.bundle.RunScript("true");
    EXPECT_EQ(outcome.status.code(), kRefused) << outcome.status;
  });
}

TEST(CVE_2026_47766, DevicesAreNotMadeThroughALink) {
  MustHold({Mistake::kFollowsLinksOut}, [](Attack& attack) {
    attack.DropMounts("/dev");
    attack.Link("/dev/sub", attack.canary());
    attack.Link("/dev/up", "../../../../../../../../.." + attack.canary());
    attack.bundle.spec["linux"]["devices"] = {
        {{"path", "/dev/sub/x"}, {"type", "c"}, {"major", 1}, {"minor", 3}},
        {{"path", "/dev/up/y"}, {"type", "c"}, {"major", 1}, {"minor", 3}}};
    attack.bundle.RunScript("true");
    attack.bundle.spec["linux"].erase("devices");
    attack.Link("/dev/tty", attack.canary() + "/new");
    attack.bundle.RunScript("true");
  });
}

// The console is bound beneath the container's own /dev, never through a link.
TEST(CVE_2025_52565, TheConsoleIsNotBoundThroughALink) {
  MustHold({Mistake::kKernelFsOverLinks}, [](Attack& attack) {
    attack.DropMounts("/dev");
    attack.AddBind(attack.canary(), "/dev/host", {"bind", "rw"});
    attack.Directory("/dev/pts");
    attack.bundle.spec["mounts"].push_back(
        {{"destination", "/dev/pts"},
         {"type", "devpts"},
         {"source", "devpts"},
         {"options", {"newinstance", "ptmxmode=0666", "mode=0620"}}});
    attack.bundle.spec["process"]["terminal"] = true;
    for (const char* target : {"host/file", "/proc/sysrq-trigger", "pts/ptmx"}) {
      attack.Link("/dev/console", target);
      RunOutcome outcome = attack.bundle.RunScript("true");
      EXPECT_FALSE(outcome.status.ok()) << target;
      EXPECT_THAT(outcome.status.message(), HasSubstr("/dev/console"));
    }
  });
}

// Files that the client puts into containers, where an image has links to the host.
TEST(CVE_2024_5154, FilesOfTheClientAreMadeInside) {
  MustHold({Mistake::kFollowsLinksOut}, [](Attack& attack) {
    const std::string up = "../../../../../../../../.." + attack.canary();
    for (const std::string& target : {attack.canary(), up}) {
      attack.Link("/etc", target);
      attack.Link("/mtab", target + "/file");
      attack.Link("/hostname", target + "/dangling");
      base::Json mounts = attack.bundle.spec["mounts"];
      for (const char* path : {"/etc/resolv.conf", "/etc/hosts", "/mtab", "/hostname"}) {
        attack.AddBind("/etc/hostname", path);
      }
      RunOutcome outcome = attack.bundle.RunScript("cat /hostname /etc/hosts");
      EXPECT_TRUE(outcome.status.ok()) << outcome.status;
      attack.bundle.spec["mounts"] = mounts;
      if (!attack.HostUntouched()) break;
    }
  });
}

// Written before anything of the image is mounted, to the host's own procfs.
TEST(CVE_2025_52881, SysctlsReachOnlyProcfs) {
  MustHold({Mistake::kSysctlsInRootfs}, [](Attack& attack) {
    std::string host = base::ReadFile("/proc/sys/net/ipv4/ip_forward").value_or("");
    attack.Directory("/proc/sys/net/ipv4");
    attack.Link("/proc/sys/net/ipv4/ip_forward", attack.canary() + "/file");
    attack.Link("/proc/sys/kernel", attack.canary());
    attack.bundle.spec["linux"]["sysctl"] = {{"net.ipv4.ip_forward", "1"},
                                             {"kernel.shm_rmid_forced", "1"}};
    RunOutcome outcome = attack.bundle.RunScript(
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shm_rmid_forced");
    EXPECT_EQ(outcome.out, "1\n1\n") << outcome.status;
    EXPECT_EQ(base::ReadFile("/proc/sys/net/ipv4/ip_forward").value_or(""), host);
  });
}

// The host's /sys for a container with user ids of its own but no control groups of its own.
TEST(CVE_2023_25809, ControlGroupsBeneathAReadOnlySysAreReadOnly) {
  MustHold({Mistake::kReadonlyAtTopOnly}, [](Attack& attack) {
    base::Json all = base::Json::array({{{"containerID", 0}, {"hostID", 0}, {"size", 65536}}});
    attack.bundle.spec["linux"]["uidMappings"] = attack.bundle.spec["linux"]["gidMappings"] = all;
    attack.bundle.spec["linux"]["namespaces"].push_back({{"type", "user"}});
    attack.DropMounts("/sys");
    attack.AddBind("/sys", "/sys", {"rbind", "nosuid", "noexec", "nodev", "ro"});
    RunOutcome outcome = attack.bundle.RunScript(
        "for d in /sys/fs/cgroup/*; do mkdir $d/gantry-escape 2>/dev/null && echo $d && "
        "rmdir $d/gantry-escape; done; echo end");
    EXPECT_EQ(outcome.out, "end\n") << outcome.status;
  });
}

// A working directory that has to be made, through a link: it is made inside.
TEST(CVE_2026_55686, TheWorkingDirectoryIsMadeInside) {
  MustHold({Mistake::kWorkdirOnHost}, [](Attack& attack) {
    attack.Link("/a", "../../../../../../../../.." + attack.canary());
    attack.Link("/c", attack.canary());
    for (const char* cwd : {"/a/new", "/c/new/er"}) {
      attack.bundle.spec["process"]["cwd"] = cwd;
      RunOutcome outcome = attack.bundle.RunScript("pwd");
      EXPECT_TRUE(outcome.status.ok()) << outcome.status;
    }
    EXPECT_TRUE(base::Exists(attack.bundle.rootfs() + attack.canary() + "/new"));
  });
}

}  // namespace
}  // namespace gantry::tests
