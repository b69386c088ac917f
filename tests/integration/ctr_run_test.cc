// ctr: containers and tasks.

#include "base/json.h"
#include "tests/integration/ctr_fixture.h"

namespace gantry::tests {
namespace {

TEST_F(CtrTest, RunFlags) {
  ImportBusybox();
  EXPECT_EQ(RunRm({"--env", "A=b"}, {"sh", "-c", "echo $A"}), "b\n");
  EXPECT_EQ(RunRm({"--cwd", "/etc"}, {"pwd"}), "/etc\n");
  EXPECT_THAT(RunRm({"--net-host"}, {"cat", "/proc/net/dev"}), HasSubstr("lo:"));
  CtrOk({"run", "-d", "--memory-limit", "33554432", Busybox(), "limited", "sleep", "100"});
  EXPECT_EQ(*base::ReadFile(
                absl::StrCat("/sys/fs/cgroup/memory/", ns(), "/limited/memory.limit_in_bytes")),
            "33554432\n");
  CtrOk({"task", "rm", "--force", "limited"});
  EXPECT_THAT(RunRm({"--seccomp"}, {"grep", "Seccomp:", "/proc/self/status"}), HasSubstr("2"));
  EXPECT_THAT(RunRm({"--cap-add", "CAP_NET_ADMIN"}, {"grep", "CapEff", "/proc/self/status"}),
              HasSubstr("a80435fb"));
  EXPECT_THAT(RunRm({"--read-only"}, {"sh", "-c", "touch /x 2>&1 || true"}),
              HasSubstr("Read-only file system"));
  ASSERT_TRUE(base::WriteFile(dir() + "/shared", "from the host\n").ok());
  EXPECT_EQ(RunRm({"--mount",
                   absl::StrCat("type=bind,src=", dir(), "/shared,dst=/shared,options=rbind:ro")},
                  {"cat", "/shared"}),
            "from the host\n");
  EXPECT_THAT(RunRm({}, {"hostname"}), Not(testing::IsEmpty()));
}

TEST_F(CtrTest, ExitCodesAndMissingPrograms) {
  ImportBusybox();
  EXPECT_EQ(Ctr({"run", "--rm", Busybox(), "seven", "sh", "-c", "exit 7"}).exit.code, 7);
  base::RunResult missing = Ctr({"run", "--rm", Busybox(), "missing", "/no/such/program"});
  EXPECT_NE(missing.exit.code, 0);
  EXPECT_THAT(missing.err, HasSubstr("no such file or directory"));
  missing = Ctr({"run", "--rm", Busybox(), "missing2", "nosuchprogram"});
  EXPECT_THAT(missing.err, HasSubstr("executable file not found in $PATH"));
  EXPECT_EQ(CtrOk({"container", "ls", "-q"}), "");
  EXPECT_THAT(Ctr({"run", "--rm", "docker.io/library/absent:1", "x"}).err, HasSubstr("not found"));
}

TEST_F(CtrTest, DetachedTaskLifecycle) {
  ImportBusybox();
  CtrOk({"run", "-d", "--label", "k=v", "--pid-file", dir() + "/pid", Busybox(), "d1", "sleep",
         "1000"});
  std::string pid = *base::ReadFile(dir() + "/pid");
  EXPECT_THAT(CtrOk({"task", "ls"}), ContainsRegex(absl::StrCat("d1 +", pid, " +RUNNING")));
  EXPECT_THAT(CtrOk({"container", "ls", "labels.k==v"}), HasSubstr("d1"));
  EXPECT_THAT(CtrOk({"container", "info", "d1"}), HasSubstr("\"k\": \"v\""));
  EXPECT_THAT(Ctr({"run", "-d", Busybox(), "d1", "true"}).err, HasSubstr("already exists"));
  EXPECT_EQ(CtrOk({"task", "exec", "--exec-id", "e1", "d1", "echo", "hello"}), "hello\n");
  EXPECT_EQ(Ctr({"task", "exec", "--exec-id", "e2", "d1", "sh", "-c", "exit 3"}).exit.code, 3);
  EXPECT_THAT(CtrOk({"task", "ps", "d1"}), HasSubstr(pid));
  EXPECT_THAT(CtrOk({"task", "metrics", "d1"}), HasSubstr("d1"));
  CtrOk({"task", "pause", "d1"});
  EXPECT_THAT(CtrOk({"task", "ls"}), HasSubstr("PAUSED"));
  CtrOk({"task", "resume", "d1"});
  EXPECT_THAT(CtrOk({"task", "ls"}), HasSubstr("RUNNING"));
  EXPECT_THAT(Ctr({"task", "rm", "d1"}).err, HasSubstr("must be stopped before deletion"));
  CtrOk({"task", "kill", "--signal", "SIGKILL", "d1"});
  EXPECT_TRUE(Eventually({"task", "ls"}, "STOPPED"));
  Ctr({"task", "rm", "d1"});
  EXPECT_THAT(Ctr({"task", "kill", "d1"}).err, HasSubstr("not found"));
  CtrOk({"container", "rm", "d1"});
  EXPECT_EQ(CtrOk({"container", "ls", "-q"}), "");
}

TEST_F(CtrTest, CreateThenStart) {
  ImportBusybox();
  CtrOk({"container", "create", Busybox(), "two-steps", "echo", "started"});
  EXPECT_EQ(CtrOk({"task", "start", "two-steps"}), "started\n");
  CtrOk({"container", "rm", "two-steps"});
}

TEST_F(CtrTest, LogUriFile) {
  ImportBusybox();
  CtrOk({"run", "-d", "--log-uri", absl::StrCat("file://", dir(), "/log"), Busybox(), "logged",
         "sh", "-c", "echo out; echo err >&2"});
  EXPECT_TRUE(Eventually({"task", "ls"}, "STOPPED"));
  CtrOk({"task", "rm", "logged"});
  EXPECT_THAT(*base::ReadFile(dir() + "/log"), AllOf(HasSubstr("out\n"), HasSubstr("err\n")));
}

TEST_F(CtrTest, RunAsUser) {
  if (ctr_major() < 2) GTEST_SKIP() << "this ctr has no --user";
  ImportBusybox();
  EXPECT_EQ(RunRm({"--user", "1000:1000"}, {"id", "-un"}), "user\n");
  EXPECT_EQ(RunRm({"--user", "user"}, {"id", "-G"}), "1000 2000\n");
  EXPECT_THAT(Ctr({"run", "--rm", "--user", "nobody-here", Busybox(), "u", "id"}).err,
              HasSubstr("no users found"));
  EXPECT_EQ(RunRm({"--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"},
                  {"sh", "-c", "set -- $(cat /proc/self/uid_map); echo $*"}),
            "0 100000 65536\n");
}

TEST_F(CtrTest, RunEnvironment) {
  ImportBusybox();
  ASSERT_TRUE(base::WriteFile(dir() + "/env", "ONE=1\nTWO=two words\n").ok());
  EXPECT_EQ(RunRm({"--env-file", dir() + "/env"}, {"sh", "-c", "echo $ONE $TWO"}), "1 two words\n");
  EXPECT_EQ(RunRm({"--null-io"}, {"echo", "unheard"}), "");
  EXPECT_THAT(RunRm({}, {"cat", "/proc/self/mountinfo"}),
              AllOf(HasSubstr(" / / "), HasSubstr(" /proc "), HasSubstr(" /dev/shm ")));
  // A host name of its own is a flag of newer ctr only.
  if (ctr_major() >= 2) {
    EXPECT_EQ(RunRm({"--hostname", "h"}, {"hostname"}), "h\n");
  }
}

TEST_F(CtrTest, RunCapabilitiesAndDevices) {
  ImportBusybox();
  const std::vector<std::string> capabilities = {"grep", "CapEff", "/proc/self/status"};
  EXPECT_THAT(RunRm({"--cap-drop", "CAP_CHOWN"}, capabilities), HasSubstr("a80425fa"));
  EXPECT_THAT(RunRm({"--privileged"}, capabilities), Not(HasSubstr("a80425fb")));
  EXPECT_EQ(RunRm({"--privileged"}, {"sh", "-c", "test -b /dev/loop0 -o -c /dev/kmsg && echo all"}),
            "all\n");
  EXPECT_EQ(RunRm({"--device", "/dev/fuse"}, {"sh", "-c", "test -c /dev/fuse && echo there"}),
            "there\n");
  EXPECT_EQ(RunRm({}, {"sh", "-c", "test -e /dev/fuse || echo none"}), "none\n");
  EXPECT_THAT(RunRm({}, {"grep", "NoNewPrivs", "/proc/self/status"}), HasSubstr("1"));
  EXPECT_THAT(RunRm({"--allow-new-privs"}, {"grep", "NoNewPrivs", "/proc/self/status"}),
              HasSubstr("0"));
}

TEST_F(CtrTest, RunLimits) {
  ImportBusybox();
  CtrOk({"run", "-d", "--cpus", "0.5", Busybox(), "half", "sleep", "100"});
  std::vector<std::string> run = {"run", "-d", "--cpu-quota", "20000", "--cpu-period", "50000"};
  if (ctr_major() >= 2) {
    run.insert(run.end(), {"--cpu-shares", "512", "--cpuset-cpus", "0"});
  }
  run.insert(run.end(), {Busybox(), "limits", "sleep", "100"});
  CtrOk(run);
  auto value = [this](const char* controller, const char* id, const char* file) {
    auto text =
        base::ReadFile(absl::StrCat("/sys/fs/cgroup/", controller, "/", ns(), "/", id, "/", file));
    return text.ok() ? *text : text.status().ToString();
  };
  EXPECT_EQ(value("cpu", "half", "cpu.cfs_quota_us"), "50000\n");
  EXPECT_EQ(value("cpu", "limits", "cpu.cfs_quota_us"), "20000\n");
  EXPECT_EQ(value("cpu", "limits", "cpu.cfs_period_us"), "50000\n");
  if (ctr_major() >= 2) {
    EXPECT_EQ(value("cpu", "limits", "cpu.shares"), "512\n");
    EXPECT_EQ(value("cpuset", "limits", "cpuset.cpus"), "0\n");
  }
  CtrOk({"task", "rm", "--force", "half"});
  CtrOk({"task", "rm", "--force", "limits"});
}

TEST_F(CtrTest, RunOnADirectory) {
  ImportBusybox();
  std::string rootfs = dir() + "/rootfs";
  ASSERT_TRUE(base::MakeDirs(rootfs).ok());
  CtrOk({"image", "mount", "--rw", Busybox(), rootfs});
  EXPECT_EQ(CtrOk({"run", "--rm", "--rootfs", rootfs, "direct", "/bin/sh", "-c",
                   "echo x > /made; echo ok"}),
            "ok\n");
  EXPECT_TRUE(base::Exists(rootfs + "/made"));
  CtrOk({"image", "unmount", "--rm", rootfs});
}

TEST_F(CtrTest, RunWithASpec) {
  ImportBusybox();
  CtrOk({"container", "create", "--env", "A=b", Busybox(), "model", "true"});
  auto info = base::ParseJson(CtrOk({"container", "info", "model"}));
  ASSERT_TRUE(info.ok()) << info.status();
  base::Json spec = base::JsonAt(*info, "Spec");
  spec["process"]["args"] = {"sh", "-c", "echo from a spec; exit 3"};
  spec["root"]["path"] = dir() + "/rootfs";
  spec["linux"]["cgroupsPath"] = absl::StrCat("/", ns(), "/by-spec");
  ASSERT_TRUE(base::WriteFile(dir() + "/spec.json", spec.dump()).ok());
  ASSERT_TRUE(base::MakeDirs(dir() + "/rootfs").ok());
  CtrOk({"image", "mount", "--rw", Busybox(), dir() + "/rootfs"});
  base::RunResult result = Ctr({"run", "--rm", "--config", dir() + "/spec.json", "by-spec"});
  EXPECT_EQ(result.out, "from a spec\n");
  EXPECT_EQ(result.exit.code, 3) << result.err;
  CtrOk({"image", "unmount", "--rm", dir() + "/rootfs"});
}

TEST_F(CtrTest, InputReachesTheProgram) {
  ImportBusybox();
  // ctr passes on the end of its input only once the task exists.
  EXPECT_EQ(Shell("(running; echo data) | $CTR run --rm $IMAGE in cat").out, "data\n");
  CtrOk({"run", "-d", Busybox(), "idle", "sleep", "1000"});
  EXPECT_EQ(Shell("(until $CTR task ps idle | grep -q -e exec_id -e ExecID; do :; done; sleep 0.3;"
                  " echo more) | $CTR task exec --exec-id e idle cat")
                .out,
            "more\n");
  CtrOk({"task", "rm", "--force", "idle"});
}

TEST_F(CtrTest, TaskAttach) {
  ImportBusybox();
  base::RunResult result = Shell(
      "$CTR run -d $IMAGE a sh -c 'until [ -e /go ]; do sleep 0.05; done; echo heard; exit 4'\n"
      "$CTR task attach a & attached=$!\n"
      "sleep 0.5; $CTR task exec --exec-id go a touch /go; wait $attached");
  EXPECT_EQ(result.out, "heard\n");
  EXPECT_EQ(result.exit.code, 4) << result.err;
}

TEST_F(CtrTest, ExecOptions) {
  ImportBusybox();
  CtrOk({"run", "-d", Busybox(), "e", "sleep", "1000"});
  EXPECT_EQ(CtrOk({"task", "exec", "--exec-id", "1", "--user", "user", "--cwd", "/tmp", "e", "sh",
                   "-c", "id -un; pwd"}),
            "user\n/tmp\n");
  CtrOk({"task", "exec", "--exec-id", "2", "--detach", "e", "sleep", "1000"});
  EXPECT_THAT(CtrOk({"task", "ps", "e"}), ContainsRegex("exec_id:\"2\"|ExecID:2,"));
  EXPECT_THAT(Ctr({"task", "exec", "--exec-id", "2", "e", "true"}).err,
              HasSubstr("already exists"));
  CtrOk({"task", "kill", "--exec-id", "2", "--signal", "SIGKILL", "e"});
  EXPECT_THAT(Ctr({"task", "exec", "--exec-id", "3", "e", "nosuchprogram"}).err,
              HasSubstr("executable file not found in $PATH"));
  CtrOk({"task", "exec", "--exec-id", "4", "--log-uri", absl::StrCat("file://", dir(), "/log"),
         "--detach", "e", "echo", "logged"});
  std::string log;
  for (int i = 0; i < 100 && log.empty(); ++i) {
    absl::SleepFor(absl::Milliseconds(20));
    auto text = base::ReadFile(dir() + "/log");
    if (text.ok()) log = *text;
  }
  EXPECT_EQ(log, "logged\n");
  CtrOk({"task", "kill", "--all", "--signal", "SIGKILL", "e"});
  EXPECT_TRUE(Eventually({"task", "ls"}, "STOPPED"));
  Ctr({"task", "rm", "e"});
}

TEST_F(CtrTest, TaskMetricsAsJson) {
  ImportBusybox();
  CtrOk({"run", "-d", "--memory-limit", "67108864", Busybox(), "m", "sleep", "1000"});
  auto metrics = base::ParseJson(CtrOk({"task", "metrics", "--format", "json", "m"}));
  ASSERT_TRUE(metrics.ok()) << metrics.status();
  EXPECT_GE(base::JsonAt(base::JsonAt(*metrics, "pids"), "current").get<int>(), 1);
  EXPECT_THAT(base::JsonAt(*metrics, "memory").dump(), HasSubstr("67108864"));
  CtrOk({"task", "rm", "--force", "m"});
}

TEST_F(CtrTest, ContainerLabels) {
  ImportBusybox();
  CtrOk({"container", "create", Busybox(), "l", "true"});
  EXPECT_THAT(CtrOk({"container", "label", "l", "a=b"}), HasSubstr("a=b"));
  EXPECT_EQ(CtrOk({"container", "ls", "-q", "labels.a==b"}), "l\n");
  EXPECT_EQ(CtrOk({"container", "ls", "-q", "labels.a==c"}), "");
  CtrOk({"container", "rm", "l"});
}

// Waits until the terminal has that size.
std::string UntilSize(const std::string& size) {
  return absl::StrCat("until [ \"$(stty size)\" = \"", size, "\" ]; do sleep 0.05; done; ");
}

TEST_F(CtrTest, TerminalFollowsItsSize) {
  ImportBusybox();
  base::RunResult result = OnTerminal(absl::StrCat(
      "(running; stty rows 40 cols 99 < /dev/tty) &\n$CTR run --rm -t $IMAGE t sh -c 'tty; ",
      UntilSize("33 77"), UntilSize("40 99"), "exit 5'"));
  EXPECT_THAT(result.out, HasSubstr("/dev/pts/0"));
  EXPECT_EQ(result.exit.code, 5);
}

TEST_F(CtrTest, TypingReachesTheTerminal) {
  ImportBusybox();
  base::RunResult result = OnTerminal("$CTR run --rm -t $IMAGE t sh",
                                      "running; printf 'echo it is $((6*7))\\nexit 3\\n'; sleep 1");
  EXPECT_THAT(result.out, HasSubstr("it is 42"));
  EXPECT_EQ(result.exit.code, 3);
  // Control-C is the container's.
  result = OnTerminal("$CTR run --rm -t $IMAGE t sh -c 'trap \"exit 9\" INT; sleep 20 & wait'",
                      "running; printf '\\003'; sleep 1");
  EXPECT_EQ(result.exit.code, 9) << result.out;
}

TEST_F(CtrTest, TerminalsOfDetachedTasks) {
  ImportBusybox();
  base::RunResult result = OnTerminal("$CTR run -d -t $IMAGE t sh");
  EXPECT_EQ(result.exit.code, 0) << result.out;
  result = OnTerminal(
      absl::StrCat("$CTR task exec -t --exec-id e t sh -c 'tty; ", UntilSize("33 77"), "exit 5'"));
  EXPECT_THAT(result.out, HasSubstr("/dev/pts/"));
  EXPECT_EQ(result.exit.code, 5);
  result = OnTerminal("$CTR task attach t", "running; echo 'exit 6'; sleep 1");
  EXPECT_EQ(result.exit.code, 6) << result.out;
}

}  // namespace
}  // namespace gantry::tests
