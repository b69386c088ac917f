#include "shim/oci/container.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "shim/oci/container_test_util.h"

namespace gantry::oci {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

std::string ReadAll(int fd) {
  std::string text;
  char buffer[4096];
  while (true) {
    pollfd wait = {fd, POLLIN, 0};
    if (poll(&wait, 1, 10000) <= 0) return text + "<timeout>";
    ssize_t n = read(fd, buffer, sizeof buffer);
    if (n <= 0) return text;  // EIO: the pty's other side is closed
    text.append(buffer, static_cast<size_t>(n));
  }
}

TEST(ContainerTest, RunsAndReportsExitStatus) {
  TestBundle bundle;
  RunOutcome outcome = bundle.RunScript("echo hello; exit 7");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.out, "hello\n");
  EXPECT_EQ(outcome.exit_status, 7);
}

TEST(ContainerTest, HasItsOwnNamespacesAndHostname) {
  TestBundle bundle;
  bundle.spec["linux"]["namespaces"].push_back({{"type", "cgroup"}});
  RunOutcome outcome = bundle.RunScript(
      "hostname; echo pid $$; for n in mnt pid net ipc uts cgroup user; do readlink "
      "/proc/self/ns/$n; done; cat /sys/class/net/lo/operstate; ls /sys/class/net");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_THAT(outcome.out, HasSubstr("gantry-test\npid 1\n"));
  EXPECT_THAT(outcome.out, HasSubstr("unknown\nlo\n"));  // operstate of a lo that is up
  for (const char* name : {"mnt", "pid", "net", "ipc", "uts", "cgroup"}) {
    char host[64] = {};
    ASSERT_GT(readlink(absl::StrCat("/proc/self/ns/", name).c_str(), host, sizeof host - 1), 0);
    EXPECT_THAT(outcome.out, Not(HasSubstr(host))) << name;
  }
  char user[64] = {};
  ASSERT_GT(readlink("/proc/self/ns/user", user, sizeof user - 1), 0);
  EXPECT_THAT(outcome.out, HasSubstr(user));
}

TEST(ContainerTest, JoinsNamespacesByPath) {
  TestBundle first, second;
  first.Script("sleep 100");
  ASSERT_TRUE(first.Create().ok());
  ASSERT_TRUE(first.container()->Start().ok());
  std::string ns = absl::StrCat("/proc/", first.init().pid, "/ns/");
  for (auto& entry : second.spec["linux"]["namespaces"]) {
    if (entry["type"] == "network") entry["path"] = ns + "net";
    if (entry["type"] == "pid") entry["path"] = ns + "pid";
  }
  RunOutcome outcome = second.RunScript("readlink /proc/self/ns/net; cat /proc/1/comm; echo $$");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  char net[64] = {};
  ASSERT_GT(readlink((ns + "net").c_str(), net, sizeof net - 1), 0);
  EXPECT_THAT(outcome.out, HasSubstr(net));
  EXPECT_THAT(outcome.out, HasSubstr("sleep\n2\n"));
  // The engine's own children still start in its own pid namespace.
  EXPECT_TRUE(RunOutcome(TestBundle().RunScript("test $$ = 1")).exit_status == 0);
}

TEST(ContainerTest, RefusesANamespaceOfAnotherKind) {
  TestBundle bundle;
  bundle.spec["linux"]["namespaces"][4]["path"] = "/proc/self/ns/uts";
  RunOutcome outcome = bundle.Run();
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(outcome.status.message(), HasSubstr("one of another kind"));
}

TEST(ContainerTest, RunsInAUserNamespace) {
  TestBundle bundle;
  bundle.spec["linux"]["namespaces"].push_back({{"type", "user"}});
  base::Json map = {{"containerID", 0}, {"hostID", 100000}, {"size", 65536}};
  bundle.spec["linux"]["uidMappings"] = {map};
  bundle.spec["linux"]["gidMappings"] = {map};
  RunOutcome outcome = bundle.RunScript(
      "id -u; cat /proc/self/uid_map; echo x > /dev/null && echo wrote; ls -ln /bin/busybox");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_THAT(outcome.out, HasSubstr("0\n         0     100000      65536\nwrote\n"));
  EXPECT_THAT(outcome.out, HasSubstr("65534    65534"));
}

TEST(ContainerTest, JoinsAUserNamespaceAndOwnsItsNewOnes) {
  TestBundle first, second;
  base::Json map = {{"containerID", 0}, {"hostID", 100000}, {"size", 65536}};
  for (TestBundle* bundle : {&first, &second}) {
    bundle->spec["linux"]["namespaces"].push_back({{"type", "user"}});
    bundle->spec["linux"]["uidMappings"] = {map};
    bundle->spec["linux"]["gidMappings"] = {map};
  }
  first.Script("sleep 100");
  ASSERT_TRUE(first.Create().ok());
  ASSERT_TRUE(first.container()->Start().ok());
  std::string ns = absl::StrCat("/proc/", first.init().pid, "/ns/");
  for (auto& entry : second.spec["linux"]["namespaces"]) {
    if (entry["type"] == "network") entry["path"] = ns + "net";
    if (entry["type"] == "user") entry["path"] = ns + "user";
  }
  RunOutcome outcome = second.RunScript("id -u; readlink /proc/self/ns/user; echo $$");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  char user[64] = {};
  ASSERT_GT(readlink((ns + "user").c_str(), user, sizeof user - 1), 0);
  EXPECT_EQ(outcome.out, absl::StrCat("0\n", user, "\n1\n"));
  RunOutcome exec = first.ExecScript("id -u; cat /proc/self/uid_map");
  EXPECT_EQ(exec.out, "0\n         0     100000      65536\n") << exec.status;
}

TEST(ContainerTest, MountsWithOptions) {
  TestBundle bundle;
  std::string volume = bundle.dir() + "/volume";
  ASSERT_EQ(mkdir(volume.c_str(), 0755), 0);
  WriteTestFile(volume + "/file", "data\n");
  bundle.spec["mounts"].push_back({{"destination", "/v/rw"},
                                   {"type", "bind"},
                                   {"source", volume},
                                   {"options", {"rbind", "rw"}}});
  bundle.spec["mounts"].push_back({{"destination", "/v/ro"},
                                   {"type", "bind"},
                                   {"source", volume},
                                   {"options", {"bind", "ro", "noexec", "nosuid"}}});
  bundle.spec["mounts"].push_back({{"destination", "/etc/one"},
                                   {"type", "bind"},
                                   {"source", volume + "/file"},
                                   {"options", {"bind", "ro"}}});
  bundle.spec["mounts"].push_back({{"destination", "/t"},
                                   {"type", "tmpfs"},
                                   {"source", "tmpfs"},
                                   {"options", {"ro", "size=64k", "mode=1777"}}});
  RunOutcome outcome = bundle.RunScript(
      "cat /etc/one; echo new > /v/rw/new; cat /v/ro/new; touch /v/ro/x || echo ro-volume; "
      "touch /t/x || echo ro-tmpfs; grep -E ' /(v/ro|t) ' /proc/mounts");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_THAT(outcome.out, HasSubstr("data\nnew\n"));
  EXPECT_THAT(outcome.out, HasSubstr("ro-volume\n"));
  EXPECT_THAT(outcome.out, HasSubstr("ro-tmpfs\n"));
  EXPECT_THAT(outcome.out, MatchesRegex("(.|\n)*/v/ro [a-z0-9]+ ro,nosuid,noexec(.|\n)*"));
  EXPECT_THAT(outcome.out, HasSubstr("size=64k"));
}

TEST(ContainerTest, PropagatesAsAsked) {
  TestBundle bundle;
  std::string volume = bundle.dir() + "/volume";
  ASSERT_EQ(mkdir(volume.c_str(), 0755), 0);
  ASSERT_EQ(mkdir((volume + "/sub").c_str(), 0755), 0);
  ASSERT_EQ(mount(volume.c_str(), volume.c_str(), nullptr, MS_BIND, nullptr), 0);
  ASSERT_EQ(mount(nullptr, volume.c_str(), nullptr, MS_SHARED, nullptr), 0);
  bundle.spec["mounts"].push_back({{"destination", "/slave"},
                                   {"type", "bind"},
                                   {"source", volume},
                                   {"options", {"rbind", "rslave"}}});
  bundle.spec["mounts"].push_back({{"destination", "/private"},
                                   {"type", "bind"},
                                   {"source", volume},
                                   {"options", {"rbind", "rprivate"}}});
  bundle.Script(
      "while ! test -e /slave/sub/mounted; do sleep 0.01; done; ls /private/sub; echo end");
  ASSERT_TRUE(bundle.Create().ok());
  ASSERT_TRUE(bundle.container()->Start().ok());
  ASSERT_EQ(mount("tmpfs", (volume + "/sub").c_str(), "tmpfs", 0, nullptr), 0);
  WriteTestFile(volume + "/sub/mounted", "");
  EXPECT_EQ(bundle.Drain(), "end\n");
  bundle.Delete();
  EXPECT_EQ(umount2((volume + "/sub").c_str(), MNT_DETACH), 0);
  EXPECT_EQ(umount2(volume.c_str(), MNT_DETACH), 0);
}

TEST(ContainerTest, MasksAndProtectsPaths) {
  TestBundle bundle;
  bundle.spec["linux"]["maskedPaths"].push_back("/etc/secret");
  bundle.spec["linux"]["maskedPaths"].push_back("/hidden");
  WriteTestFile(bundle.rootfs() + "/etc/secret", "secret\n");
  ASSERT_EQ(mkdir((bundle.rootfs() + "/hidden").c_str(), 0755), 0);
  WriteTestFile(bundle.rootfs() + "/hidden/x", "secret\n");
  RunOutcome outcome = bundle.RunScript(
      "cat /etc/secret; ls -A /hidden; echo x > /hidden/y; wc -c < /proc/keys; "
      "echo 1 > /proc/sys/kernel/domainname || echo ro-sys; stat -c %F /proc/kcore");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_THAT(outcome.out, Not(HasSubstr("secret")));
  EXPECT_THAT(outcome.out, HasSubstr("ro-sys"));
  EXPECT_THAT(outcome.out, HasSubstr("\n0\n"));
}

TEST(ContainerTest, HasTheDefaultDevicesAndNoOthers) {
  TestBundle bundle;
  bundle.spec["linux"]["devices"] = {{{"path", "/dev/sub/mine"},
                                      {"type", "c"},
                                      {"major", 1},
                                      {"minor", 3},
                                      {"fileMode", 416},
                                      {"uid", 5},
                                      {"gid", 6}}};
  RunOutcome outcome = bundle.RunScript(
      "ls -l /dev; head -c 3 /dev/zero | wc -c; echo x > /dev/null && echo null; "
      "stat -c '%a %u %g %t %T' /dev/sub/mine; mknod /tmp/b b 254 0 && cat /tmp/b");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  for (const char* text : {"fd -> /proc/self/fd", "ptmx -> pts/ptmx", "stdin -> ", "urandom",
                           "3\nnull\n640 5 6 1 3\n", "Operation not permitted"}) {
    EXPECT_THAT(outcome.out, HasSubstr(text));
  }
}

TEST(ContainerTest, SetsCapabilitiesUserAndGroups) {
  TestBundle bundle;
  RunOutcome outcome = bundle.RunScript("grep Cap /proc/self/status");
  EXPECT_THAT(outcome.out,
              AllOf(HasSubstr("CapInh:\t0000000000000000"), HasSubstr("CapPrm:\t00000000a80425fb"),
                    HasSubstr("CapEff:\t00000000a80425fb"), HasSubstr("CapBnd:\t00000000a80425fb"),
                    HasSubstr("CapAmb:\t0000000000000000")));
  auto& process = bundle.spec["process"];
  process["user"] = {{"uid", 1000}, {"gid", 1001}, {"additionalGids", {7, 8}}, {"umask", 63}};
  outcome = bundle.RunScript(
      "grep -E 'Cap|Groups|Uid|Gid|Umask|NoNewPrivs' /proc/self/status; echo home=$HOME");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_THAT(outcome.out,
              AllOf(HasSubstr("Uid:\t1000\t1000\t1000\t1000\n"), HasSubstr("Groups:\t7 8"),
                    HasSubstr("Gid:\t1001\t1001\t1001\t1001\n"), HasSubstr("Umask:\t0077"),
                    HasSubstr("CapPrm:\t0000000000000000"), HasSubstr("CapEff:\t0000000000000000"),
                    HasSubstr("CapAmb:\t0000000000000000"), HasSubstr("NoNewPrivs:\t1"),
                    HasSubstr("home=/home/user\n")));
}

TEST(ContainerTest, KeepsAmbientCapabilitiesWhenAsked) {
  TestBundle bundle;
  auto& process = bundle.spec["process"];
  process["user"] = {{"uid", 1000}, {"gid", 1000}};
  for (const char* set : {"bounding", "effective", "permitted", "inheritable", "ambient"}) {
    process["capabilities"][set] = {"CAP_NET_RAW"};
  }
  RunOutcome outcome = bundle.RunScript("grep Cap /proc/self/status");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("CapAmb:\t0000000000002000"),
                                 HasSubstr("CapEff:\t0000000000002000")));
}

base::Json DenyMkdir() {
  return base::Json::parse(R"({"defaultAction": "SCMP_ACT_ALLOW",
    "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 30}]})");
}

TEST(ContainerTest, LoadsSeccompWithAndWithoutNoNewPrivs) {
  for (bool no_new_privs : {true, false}) {
    TestBundle bundle;
    bundle.spec["linux"]["seccomp"] = DenyMkdir();
    bundle.spec["process"]["noNewPrivileges"] = no_new_privs;
    RunOutcome outcome =
        bundle.RunScript("grep -E 'Seccomp:|NoNew|CapEff' /proc/self/status; mkdir /tmp/x");
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
    EXPECT_THAT(outcome.out, AllOf(HasSubstr("Seccomp:\t2"), HasSubstr("Read-only file system"),
                                   HasSubstr("CapEff:\t00000000a80425fb"),
                                   HasSubstr(absl::StrCat("NoNewPrivs:\t", no_new_privs))));
  }
}

TEST(ContainerTest, SetsRlimitsAndNamesTheOneItCannotRaise) {
  TestBundle bundle;
  bundle.spec["process"]["rlimits"] = {{{"type", "RLIMIT_NOFILE"}, {"soft", 17}, {"hard", 18}},
                                       {{"type", "RLIMIT_CORE"}, {"soft", 0}, {"hard", 0}}};
  RunOutcome outcome = bundle.RunScript("ulimit -Sn; ulimit -Hn; ulimit -c");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.out, "17\n18\n0\n");

  rlimit now;
  ASSERT_EQ(getrlimit(RLIMIT_MSGQUEUE, &now), 0);
  if (now.rlim_max == RLIM_INFINITY) GTEST_SKIP() << "no limit that could be raised";
  bundle.spec["process"]["rlimits"] = {
      {{"type", "RLIMIT_MSGQUEUE"}, {"soft", now.rlim_max + 1}, {"hard", now.rlim_max + 1}}};
  outcome = bundle.RunScript("true");
  if (!outcome.status.ok()) {
    EXPECT_EQ(outcome.status.code(), absl::StatusCode::kPermissionDenied);
    EXPECT_THAT(outcome.status.message(),
                AllOf(HasSubstr("RLIMIT_MSGQUEUE"), HasSubstr("CAP_SYS_RESOURCE")));
  }
}

// The parent may not change the limits of a process of another user without CAP_SYS_RESOURCE.
TEST(ContainerTest, SetsRlimitsOfAnotherUser) {
  TestBundle bundle;
  bundle.spec["process"]["user"] = {{"uid", 1234}, {"gid", 77}};
  bundle.spec["process"]["rlimits"] = {{{"type", "RLIMIT_NOFILE"}, {"soft", 17}, {"hard", 18}}};
  RunOutcome outcome = bundle.RunScript("ulimit -Sn; ulimit -Hn; id -u");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.out, "17\n18\n1234\n");
}

TEST(ContainerTest, SetsSysctlsOfItsNamespaces) {
  TestBundle bundle;
  bundle.spec["linux"]["sysctl"] = {{"net.ipv4.ip_forward", "1"}, {"kernel.msgmax", "4444"}};
  std::string before = base::ReadFile("/proc/sys/kernel/msgmax").value_or("");
  RunOutcome outcome =
      bundle.RunScript("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.out, "1\n4444\n");
  EXPECT_EQ(base::ReadFile("/proc/sys/kernel/msgmax").value_or(""), before);
}

TEST(ContainerTest, ReadonlyRootLeavesMountsWritable) {
  TestBundle bundle;
  bundle.spec["root"]["readonly"] = true;
  RunOutcome outcome = bundle.RunScript("touch /x || echo ro; touch /run/x && echo rw");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("ro\n"), HasSubstr("rw\n")));
  EXPECT_FALSE(base::Exists(bundle.rootfs() + "/x"));
}

TEST(ContainerTest, NoPivotRootWorksToo) {
  TestBundle bundle;
  bundle.options.no_pivot_root = true;
  bundle.Script("ls /; sleep 100");
  ASSERT_TRUE(bundle.Create().ok());
  ASSERT_TRUE(bundle.container()->Start().ok());
  RunOutcome exec = bundle.ExecScript("ls /; pwd");
  EXPECT_THAT(exec.out, AllOf(HasSubstr("tmp\n/\n"), Not(HasSubstr("root"))));
}

TEST(ContainerTest, MakesTheWorkingDirectory) {
  TestBundle bundle;
  bundle.spec["process"]["cwd"] = "/made/here";
  RunOutcome outcome = bundle.RunScript("pwd");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.out, "/made/here\n");
}

TEST(ContainerTest, GivesATerminal) {
  TestBundle bundle;
  bundle.spec["process"]["terminal"] = true;
  bundle.spec["process"]["consoleSize"] = {{"height", 33}, {"width", 99}};
  bundle.Script("tty; stty size; test -t 0 && test -t 1 && echo tty; stat -c %t:%T /dev/console");
  ASSERT_TRUE(bundle.Create().ok());
  ASSERT_TRUE(bundle.init().console.valid());
  ASSERT_TRUE(bundle.container()->Start().ok());
  std::string out = ReadAll(bundle.init().console.get());
  EXPECT_THAT(out, AllOf(HasSubstr("/dev/pts/0"), HasSubstr("33 99"), HasSubstr("tty\r\n"),
                         HasSubstr("88:0")));
}

TEST(ContainerTest, CreatedContainerWaitsAndCanBeKilledOrDeleted) {
  TestBundle bundle;
  bundle.Script("echo must not run");
  ASSERT_TRUE(bundle.Create().ok());
  EXPECT_EQ(kill(bundle.init().pid, 0), 0);
  auto pids = bundle.container()->Pids();
  ASSERT_TRUE(pids.ok());
  EXPECT_THAT(*pids, Contains(bundle.init().pid));
  EXPECT_TRUE(bundle.container()->Kill(SIGKILL, false).ok());
  EXPECT_EQ(TestBundle::Reap(bundle.init().pid), 128 + SIGKILL);
  EXPECT_TRUE(bundle.container()->Delete().ok());
  EXPECT_TRUE(bundle.container()->Delete().ok());  // idempotent
  EXPECT_EQ(bundle.container()->Kill(SIGKILL, false).code(), absl::StatusCode::kNotFound);
}

TEST(ContainerTest, ExecJoinsTheContainer) {
  TestBundle bundle;
  bundle.Script("sleep 100");
  ASSERT_TRUE(bundle.Create().ok());
  ASSERT_TRUE(bundle.container()->Start().ok());
  RunOutcome exec = bundle.ExecScript(
      "hostname; cat /proc/1/comm; grep CapEff /proc/self/status; cat /proc/self/cgroup; exit 3");
  ASSERT_TRUE(exec.status.ok()) << exec.status;
  EXPECT_EQ(exec.exit_status, 3);
  EXPECT_THAT(exec.out, AllOf(HasSubstr("gantry-test\nsleep\n"), HasSubstr("00000000a80425fb"),
                              HasSubstr(bundle.id())));
  base::Json process = bundle.spec["process"];
  process["user"] = {{"uid", 1000}, {"gid", 1000}};
  process["cwd"] = "/tmp";
  exec = bundle.ExecScript("id -u; pwd", process);
  EXPECT_EQ(exec.out, "1000\n/tmp\n");
}

TEST(ContainerTest, ExecWithATerminal) {
  TestBundle bundle;
  bundle.Script("sleep 100");
  ASSERT_TRUE(bundle.Create().ok());
  ASSERT_TRUE(bundle.container()->Start().ok());
  base::Json process = bundle.spec["process"];
  process["terminal"] = true;
  process["args"] = {"sh", "-c", "tty; echo done"};
  auto parsed = ParseProcess(process.dump());
  ASSERT_TRUE(parsed.ok());
  auto made = bundle.container()->Exec(*parsed, {});
  ASSERT_TRUE(made.ok()) << made.status();
  ASSERT_TRUE(made->console.valid());
  EXPECT_THAT(ReadAll(made->console.get()), AllOf(HasSubstr("/dev/pts/"), HasSubstr("done")));
  EXPECT_EQ(TestBundle::Reap(made->pid), 0);
}

TEST(ContainerTest, ExecFailsClearlyAndLeavesNothing) {
  TestBundle bundle;
  bundle.Script("sleep 100");
  ASSERT_TRUE(bundle.Create().ok());
  ASSERT_TRUE(bundle.container()->Start().ok());
  auto parsed = ParseProcess(R"({"args": ["nosuch"], "cwd": "/", "env": ["PATH=/bin"]})");
  ASSERT_TRUE(parsed.ok());
  auto made = bundle.container()->Exec(*parsed, {});
  EXPECT_EQ(made.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(made.status().message(),
              HasSubstr("exec: \"nosuch\": executable file not found in $PATH"));
  EXPECT_EQ(bundle.container()->Pids()->size(), 1u);
  ASSERT_TRUE(bundle.container()->Pause().ok());
  EXPECT_EQ(bundle.container()->Exec(*parsed, {}).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(ContainerTest, PausesAndResumes) {
  TestBundle bundle;
  bundle.Script("while true; do echo; sleep 0.001; done");
  ASSERT_TRUE(bundle.Create().ok());
  ASSERT_TRUE(bundle.container()->Start().ok());
  ASSERT_TRUE(bundle.container()->Pause().ok());
  EXPECT_EQ(*bundle.container()->Paused(), true);
  // Where it sleeps is seen as soon as its processor has let go of it.
  std::string place;
  for (int i = 0; i < 100 && (place.empty() || place == "0"); ++i) {
    if (i > 0) absl::SleepFor(absl::Milliseconds(20));
    place = base::ReadFile(absl::StrCat("/proc/", bundle.init().pid, "/wchan")).value_or("");
  }
  EXPECT_THAT(place, AnyOf("__refrigerator", "get_signal"));  // frozen by v1, by v2
  ASSERT_TRUE(bundle.container()->Resume().ok());
  EXPECT_EQ(*bundle.container()->Paused(), false);
  ASSERT_TRUE(bundle.container()->Pause().ok());
  EXPECT_TRUE(bundle.container()->Kill(SIGKILL, true).ok());  // thaws
  EXPECT_EQ(TestBundle::Reap(bundle.init().pid), 128 + SIGKILL);
}

TEST(ContainerTest, LimitsMemoryAndReportsOom) {
  TestBundle bundle;
  bundle.spec["linux"]["resources"]["memory"] = {{"limit", 16 << 20}};
  bundle.spec["linux"]["resources"]["pids"] = {{"limit", 50}};
  bundle.Script("dd if=/dev/zero of=/dev/null bs=64M count=1");
  ASSERT_TRUE(bundle.Create().ok());
  auto watch = bundle.container()->WatchOom();
  ASSERT_TRUE(watch.ok()) << watch.status();
  auto stats = bundle.container()->Stats();
  ASSERT_TRUE(stats.ok());
  if (stats->version == 1) {
    EXPECT_EQ(stats->v1.usage.limit, 16u << 20);
    EXPECT_EQ(stats->v1.pids_limit, 50u);
    EXPECT_GE(stats->v1.pids_current, 1u);
  }
  EXPECT_FALSE((*watch)->Drain());
  ASSERT_TRUE(bundle.container()->Start().ok());
  int status = TestBundle::Reap(bundle.init().pid);
  EXPECT_NE(status, 0);
  pollfd ready = {(*watch)->fd(), POLLIN, 0};
  EXPECT_EQ(poll(&ready, 1, 5000), 1);
  EXPECT_TRUE((*watch)->Drain());
}

TEST(ContainerTest, UpdatesLimits) {
  TestBundle bundle;
  bundle.Script("sleep 100");
  ASSERT_TRUE(bundle.Create().ok());
  auto update = ParseResources(
      R"({"memory": {"limit": 33554432}, "cpu": {"shares": 512, "quota": 50000, "period": 100000},
          "pids": {"limit": 99}})");
  ASSERT_TRUE(update.ok());
  absl::Status status = bundle.container()->Update(*update);
  ASSERT_TRUE(status.ok()) << status;
  auto stats = bundle.container()->Stats();
  ASSERT_TRUE(stats.ok());
  if (stats->version == 1) {
    EXPECT_EQ(stats->v1.usage.limit, 33554432u);
    EXPECT_EQ(stats->v1.pids_limit, 99u);
  }
}

TEST(ContainerTest, PassesDescriptorsAndNothingElse) {
  int stray = open("/", O_RDONLY | O_DIRECTORY);  // without close-on-exec, on purpose
  ASSERT_GE(stray, 0);
  TestBundle bundle;
  auto pipe = base::MakePipe();
  ASSERT_TRUE(pipe.ok());
  bundle.options.preserve_fds = {pipe->write.get()};
  RunOutcome outcome =
      bundle.RunScript("echo through >&3; ls /proc/self/fd; readlink /proc/1/fd/4");
  close(stray);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  // 4 is ls' own directory.
  EXPECT_EQ(outcome.out, "0\n1\n2\n3\n4\n");
  char text[16] = {};
  EXPECT_EQ(read(pipe->read.get(), text, sizeof text), 8);
  EXPECT_STREQ(text, "through\n");
}

TEST(ContainerTest, ShowsCgroupsOfVersionOne) {
  if (base::Exists("/sys/fs/cgroup/cgroup.controllers")) GTEST_SKIP() << "cgroup v2 here";
  TestBundle bundle;
  bundle.spec["mounts"].push_back({{"destination", "/sys/fs/cgroup"},
                                   {"type", "cgroup"},
                                   {"source", "cgroup"},
                                   {"options", {"ro", "nosuid", "noexec", "nodev", "relatime"}}});
  for (bool own_namespace : {false, true}) {
    if (own_namespace) bundle.spec["linux"]["namespaces"].push_back({{"type", "cgroup"}});
    RunOutcome outcome = bundle.RunScript(
        "ls /sys/fs/cgroup; cat /sys/fs/cgroup/pids/cgroup.procs; "
        "mkdir /sys/fs/cgroup/pids/x || echo ro; mkdir /sys/fs/cgroup/x || echo ro");
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
    EXPECT_THAT(outcome.out, AllOf(HasSubstr("memory\n"), HasSubstr("pids\n"),
                                   HasSubstr("systemd\n"), HasSubstr("\n1\n")));
    EXPECT_EQ(std::vector<std::string>(absl::StrSplit(outcome.out, "ro\n")).size(), 3u)
        << outcome.out;
  }
}

TEST(ContainerTest, LeavesNothingBehind) {
  auto count = [](const std::string& file) {
    return std::vector<std::string>(absl::StrSplit(base::ReadFile(file).value_or(""), '\n')).size();
  };
  TestBundle bundle;
  bundle.RunScript("true");  // what is made once: caches
  size_t mounts = count("/proc/self/mountinfo");
  size_t fds = base::ListDir("/proc/self/fd")->size();
  for (const char* script : {"true", "nosuchcommand", "exit 1"}) bundle.RunScript(script);
  bundle.spec["process"]["args"] = {"/nosuch"};
  bundle.Run();
  bundle.spec["process"]["terminal"] = true;
  bundle.Run();
  EXPECT_EQ(count("/proc/self/mountinfo"), mounts);
  EXPECT_EQ(base::ListDir("/proc/self/fd")->size(), fds);
  auto controllers = base::ListDir("/sys/fs/cgroup");
  for (const std::string& name : *controllers) {
    EXPECT_FALSE(base::Exists(
        absl::StrCat("/sys/fs/cgroup/", name, "/", bundle.options.ns, "/", bundle.id())));
  }
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);  // no child, no zombie
}

TEST(ContainerTest, DeletesLeftoversAfterACrash) {
  TestBundle bundle;
  bundle.Script("sleep 100");
  WriteTestFile(bundle.dir() + "/config.json", bundle.spec.dump());
  ASSERT_TRUE(bundle.Create().ok());
  ASSERT_TRUE(bundle.container()->Start().ok());
  // Somebody else's zombie would keep no cgroup; ours is reaped only afterwards.
  absl::Status status = Container::DeleteLeftovers(bundle.options);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(TestBundle::Reap(bundle.init().pid), 128 + SIGKILL);
  EXPECT_TRUE(Container::DeleteLeftovers(bundle.options).ok());
}

}  // namespace
}  // namespace gantry::oci
