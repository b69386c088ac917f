// Who a process becomes: ids, groups and capabilities from specs, command lines and images.

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/file.h"
#include "client/spec/user.h"
#include "gmock/gmock.h"
#include "tests/security/attack.h"

namespace gantry::tests {
namespace {

using oci::RunOutcome;
using ::testing::HasSubstr;
using ::testing::Not;

const char kStatus[] = "grep -E '^(Uid|Gid|Groups|Cap)' /proc/self/status";

absl::StatusOr<client::ResolvedUser> Resolve(const Attack& attack, absl::string_view text) {
  auto request = client::ParseUser(text);
  if (!request.ok()) return request.status();
  base::UniqueFd root(open(attack.bundle.rootfs().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  return client::ResolveUser(root.get(), *request);
}

TEST(CVE_2016_3697, ANumberIsNoName) {
  MustHold({Mistake::kNumbersAreNames}, [](Attack& attack) {
    attack.File("/etc/passwd", "1000:x:0:0::/:/bin/sh\n");
    auto user = Resolve(attack, "1000");
    ASSERT_TRUE(user.ok()) << user.status();
    EXPECT_EQ(user->uid, 1000u);
  });
}

TEST(CVE_2024_40635, NumbersOutOfRangeAreRefused) {
  MustHold({Mistake::kNumbersAreNames}, [](Attack& attack) {
    // CVE-2026-46680: not looked up as names either.
    attack.File("/etc/passwd",
                "root:x:0:0::/:/bin/sh\n4294967296:x:0:0::/:/bin/sh\n2147483648:x:0:0::/:/bin/sh\n"
                "-1:x:0:0::/:/bin/sh\n99999999999999999999:x:0:0::/:/bin/sh\n");
    for (const char* user : {"2147483648", "4294967295", "4294967296", "99999999999999999999", "-1",
                             "4294967296:0", "0:4294967296", "+0", "-0"}) {
      auto found = Resolve(attack, user);
      EXPECT_TRUE(absl::IsInvalidArgument(found.status())) << user << ": " << found.status();
    }
  });
}

// The engine itself, whatever the client let through.
TEST(CVE_2024_40635, SpecsWithIdsOutOfRangeAreRefused) {
  MustHold({}, [](Attack& attack) {
    for (const char* uid : {"4294967295", "4294967296", "-1", "1.5", "\"0\"", "1e3"}) {
      attack.bundle.spec["process"]["user"] =
          base::Json::parse(absl::StrCat("{\"uid\":", uid, ",\"gid\":1}"));
      RunOutcome outcome = attack.bundle.RunScript("id -u");
      EXPECT_TRUE(absl::IsInvalidArgument(outcome.status)) << uid << ": " << outcome.out;
    }
  });
}

TEST(CVE_2016_8867, OtherUsersHaveNoCapabilities) {
  MustHold({Mistake::kAmbientCapabilities}, [](Attack& attack) {
    attack.SetUser(1000, 1000);
    std::string out = attack.bundle.RunScript(kStatus).out;
    for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapAmb"}) {
      EXPECT_THAT(out, HasSubstr(absl::StrCat(set, ":\t0000000000000000")));
    }
  });
}

// CVE-2022-29162, 27649, 27650 and 27651 are the same in exec and in other runtimes.
TEST(CVE_2022_24769, NothingIsInheritableByDefault) {
  MustHold({Mistake::kInheritableCapabilities}, [](Attack& attack) {
    for (uint32_t uid : {0, 1000}) {
      attack.SetUser(uid, uid);
      EXPECT_THAT(attack.bundle.RunScript(kStatus).out, HasSubstr("CapInh:\t0000000000000000"));
    }
    attack.bundle.Script("sleep 100");
    ASSERT_TRUE(attack.bundle.Create().ok());
    ASSERT_TRUE(attack.bundle.container()->Start().ok());
    EXPECT_THAT(attack.bundle.ExecScript(kStatus).out, HasSubstr("CapInh:\t0000000000000000"));
  });
}

// CVE-2023-25173 and CVE-2022-2989, 2990, 2995: with the wrong groups, a file that is closed for
// one's group is open as for others.
TEST(CVE_2022_36109, GroupsAreThoseOfTheSpec) {
  MustHold({Mistake::kKeepsGroups}, [](Attack& attack) {
    gid_t host[] = {0, 4711};
    ASSERT_EQ(setgroups(2, host), 0);
    attack.File("/closed", "secret", 0604);
    ASSERT_EQ(chown((attack.bundle.rootfs() + "/closed").c_str(), 0, 1234), 0);
    attack.SetUser(1000, 1000);
    attack.bundle.spec["process"]["user"]["additionalGids"] = {1000, 1234};
    std::string out = attack.bundle.RunScript(absl::StrCat(kStatus, "; cat /closed")).out;
    EXPECT_THAT(out, HasSubstr("Groups:\t1000 1234 \n"));
    EXPECT_THAT(out, HasSubstr("Permission denied"));
    attack.SetUser(0, 0);
    out = attack.bundle.RunScript(kStatus).out;
    EXPECT_THAT(out, HasSubstr("Groups:\t \n"));
    ASSERT_EQ(setgroups(0, nullptr), 0);
  });
}

TEST(CVE_2022_36109, ThePrimaryGroupIsAmongTheAdditionalOnes) {
  MustHold({}, [](Attack& attack) {
    attack.File("/etc/passwd", "u:x:1000:1000::/:/bin/sh\n");
    attack.File("/etc/group", "g:x:1000:\nextra:x:1234:u\n");
    auto user = Resolve(attack, "u");
    ASSERT_TRUE(user.ok()) << user.status();
    EXPECT_THAT(user->additional_gids, ::testing::ElementsAre(1000, 1234));
  });
}

// Annotations that mean something to other runtimes or their managers.
TEST(CVE_2024_3154, AnnotationsChangeNothing) {
  MustHold({Mistake::kKeepsGroups}, [](Attack& attack) {
    gid_t host[] = {4711};
    ASSERT_EQ(setgroups(1, host), 0);
    attack.bundle.spec["annotations"] = {
        {"org.systemd.property.ExecStartPre", "['touch', '" + attack.canary() + "/pre']"},
        {"org.systemd.property.DevicePolicy", "'auto'"},
        {"io.kubernetes.cri-o.Devices", "/dev/vda"},  // CVE-2023-6476
        {"cpu-quota.crio.io", "disable"},
        {"run.oci.keep_original_groups", "1"},
        {"run.oci.hooks.stdout", attack.canary() + "/out"},
        {"run.oci.handler", "krun"}};
    RunOutcome outcome = attack.bundle.RunScript(absl::StrCat(kStatus, "; ls /dev"));
    EXPECT_TRUE(outcome.status.ok()) << outcome.status;
    EXPECT_THAT(outcome.out, HasSubstr("Groups:\t \n"));
    EXPECT_THAT(outcome.out, Not(HasSubstr("vda")));
    ASSERT_EQ(setgroups(0, nullptr), 0);
  });
}

// Lists of processors that name more than there can be.
TEST(CVE_2018_20699, HugeCpusetsAreRefusedAtOnce) {
  MustHold({}, [](Attack& attack) {
    std::string commas;
    while (commas.size() < 10u << 20) commas += "0,";
    for (const std::string& cpus : {std::string("0-4294967295"), std::string("0-99999999999999999"),
                                    std::string("4294967295"), std::string("0-"), commas}) {
      attack.bundle.spec["linux"]["resources"]["cpu"]["cpus"] = cpus;
      absl::Time begin = absl::Now();
      EXPECT_FALSE(attack.bundle.RunScript("true").status.ok()) << cpus.substr(0, 30);
      EXPECT_LT(absl::Now() - begin, absl::Seconds(2));
    }
  });
}

// What calls itself passwd in an image: at most 1 MiB of a regular file inside is read, soon.
void ExpectHarmless(Attack& attack, const char* kind) {
  absl::Time begin = absl::Now();
  EXPECT_EQ(attack.bundle.RunScript("echo $HOME").out, "/\n") << kind;
  auto user = Resolve(attack, "evil");
  EXPECT_FALSE(user.ok()) << kind;
  EXPECT_LT(absl::Now() - begin, absl::Seconds(2)) << kind;
}

TEST(CVE_2026_47262, PasswdOfAnyKindIsHarmless) {
  MustHold({Mistake::kFilesOfAnyKind}, [](Attack& attack) {
    std::string passwd = attack.bundle.rootfs() + "/etc/passwd";
    std::string fifo = attack.bundle.dir() + "/fifo";
    // Whoever does block is set free after a while.
    attack.Remove("/etc/passwd");
    ASSERT_EQ(mkfifo(fifo.c_str(), 0644), 0);
    ASSERT_EQ(link(fifo.c_str(), passwd.c_str()), 0);
    pid_t savior = fork();
    if (savior == 0) {
      for (int i = 0; i < 10; ++i) {
        sleep(3);
        int fd = open(fifo.c_str(), O_RDWR);
        sleep(1);
        close(fd);
      }
      _exit(0);
    }
    ExpectHarmless(attack, "fifo");
    kill(savior, SIGKILL);
    waitpid(savior, nullptr, 0);
    attack.Link("/etc/passwd", "/dev/zero");
    ExpectHarmless(attack, "link to a device");
    attack.Directory("/etc/passwd");
    ExpectHarmless(attack, "directory");
    attack.Remove("/etc/passwd");
    base::UniqueFd file(open(passwd.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    ASSERT_EQ(ftruncate(file.get(), 2ll << 30), 0);
    ExpectHarmless(attack, "2 GiB");
  });
}

// CVE-2024-9676 is the same elsewhere: the image's passwd as a link to one of the host's files.
TEST(CVE_2025_24965, FilesOfTheImageAreReadInside) {
  MustHold({Mistake::kPasswdThroughLinks}, [](Attack& attack) {
    oci::WriteTestFile(attack.canary() + "/passwd", "evil:x:4711:4711::/host:/bin/sh\n");
    attack.Remember();
    for (const std::string& target :
         {attack.canary(), "../../../../../../../.." + attack.canary()}) {
      attack.Link("/etc/passwd", target + "/passwd");
      EXPECT_FALSE(Resolve(attack, "evil").ok()) << target;
      attack.SetUser(4711, 4711);
      EXPECT_EQ(attack.bundle.RunScript("echo $HOME").out, "/\n");
    }
  });
}

}  // namespace
}  // namespace gantry::tests
