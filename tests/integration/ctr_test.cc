// The stock containerd client does with gantryd what it does with containerd. Every case also
// passes with GANTRY_TEST_DAEMON=/usr/bin/containerd.

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "gmock/gmock.h"
#include "tests/integration/gantryd_fixture.h"

namespace gantry::tests {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

class CtrTest : public GantrydTest {
 protected:
  void SetUp() override {
    GantrydTest::SetUp();
    StartGantryd();
  }

  std::string Busybox() { return std::string(kBusybox); }

  // `ctr run --rm` with flags before the image, returns stdout.
  std::string RunRm(std::vector<std::string> flags, std::vector<std::string> command) {
    std::vector<std::string> argv = {"run", "--rm"};
    argv.insert(argv.end(), flags.begin(), flags.end());
    argv.push_back(Busybox());
    argv.push_back(absl::StrCat("c", ++serial_));
    argv.insert(argv.end(), command.begin(), command.end());
    return CtrOk(argv);
  }

  // Polls until the output of a ctr command has `text`.
  bool Eventually(const std::vector<std::string>& arguments, absl::string_view text) {
    for (int i = 0; i < 100; ++i) {
      if (absl::StrContains(Ctr(arguments).out, text)) return true;
      absl::SleepFor(absl::Milliseconds(50));
    }
    return false;
  }

  int serial_ = 0;
};

TEST_F(CtrTest, Version) {
  EXPECT_THAT(CtrOk({"version"}), AllOf(HasSubstr("Client:"), HasSubstr("Server:")));
}

TEST_F(CtrTest, Namespaces) {
  CtrOk({"namespace", "create", "one", "a=b"});
  EXPECT_THAT(CtrOk({"namespace", "ls"}), ContainsRegex("one +a=b"));
  CtrOk({"namespace", "label", "one", "a=c"});
  EXPECT_THAT(CtrOk({"namespace", "ls"}), ContainsRegex("one +a=c"));
  base::RunResult again = Ctr({"namespace", "create", "one"});
  EXPECT_NE(again.exit.code, 0);
  EXPECT_THAT(again.err, HasSubstr("namespace \"one\": already exists"));
  CtrOk({"namespace", "rm", "one"});
  EXPECT_THAT(CtrOk({"namespace", "ls", "-q"}), Not(HasSubstr("one")));
  EXPECT_THAT(Ctr({"namespace", "create", "bad/name"}).err, HasSubstr("invalid argument"));
}

TEST_F(CtrTest, ImageLifecycle) {
  ImportBusybox();
  EXPECT_THAT(CtrOk({"image", "ls"}), AllOf(HasSubstr(kBusybox), HasSubstr("linux/amd64")));
  EXPECT_THAT(CtrOk({"image", "check"}), AllOf(HasSubstr("complete (2/2)"), HasSubstr("true")));
  CtrOk({"image", "tag", Busybox(), "example.com/other:1"});
  EXPECT_THAT(Ctr({"image", "tag", Busybox(), "example.com/other:1"}).err,
              HasSubstr("already exists"));
  CtrOk({"image", "tag", "--force", Busybox(), "example.com/other:1"});
  CtrOk({"image", "label", "example.com/other:1", "x=y"});
  EXPECT_THAT(CtrOk({"image", "ls", "labels.x==y"}),
              AllOf(HasSubstr("example.com/other:1"), Not(HasSubstr("busybox"))));
  CtrOk({"image", "export", dir() + "/out.tar", Busybox()});
  EXPECT_THAT(tests::Run({"tar", "tf", dir() + "/out.tar"}).out,
              AllOf(HasSubstr("index.json"), HasSubstr("oci-layout")));
  CtrOk({"image", "rm", Busybox(), "example.com/other:1"});
  EXPECT_EQ(CtrOk({"image", "ls", "-q"}), "");
  EXPECT_TRUE(Eventually({"content", "ls", "-q"}, "") &&
              CtrOk({"image", "import", dir() + "/out.tar"}) != "");
  EXPECT_THAT(RunRm({}, {"echo", "reimported"}), "reimported\n");
}

TEST_F(CtrTest, ImageMount) {
  ImportBusybox();
  std::string target = dir() + "/mnt";
  ASSERT_TRUE(base::MakeDirs(target).ok());
  CtrOk({"image", "mount", Busybox(), target});
  EXPECT_TRUE(base::Exists(target + "/bin/busybox"));
  CtrOk({"image", "unmount", "--rm", target});
  EXPECT_FALSE(base::Exists(target + "/bin/busybox"));
}

TEST_F(CtrTest, RemovedImageFreesContentAndSnapshots) {
  ImportBusybox();
  RunRm({}, {"true"});
  EXPECT_NE(CtrOk({"content", "ls", "-q"}), "");
  EXPECT_THAT(CtrOk({"snapshot", "ls"}), HasSubstr("Committed"));
  CtrOk({"image", "rm", "--sync", Busybox()});
  EXPECT_EQ(CtrOk({"content", "ls", "-q"}), "");
  EXPECT_THAT(CtrOk({"snapshot", "ls"}), Not(HasSubstr("Committed")));
}

TEST_F(CtrTest, Content) {
  // Nothing refers to what is ingested here: the collection that follows a start would take it.
  absl::SleepFor(absl::Milliseconds(500));
  std::string data = "some content\n";
  std::string digest = absl::StrCat("sha256:", tests::Run({"sha256sum"}, data).out.substr(0, 64));
  CtrOk({"content", "ingest", "--expected-digest", digest, "--expected-size",
         absl::StrCat(data.size()), "ref"},
        data);
  EXPECT_EQ(CtrOk({"content", "get", digest}), data);
  CtrOk({"content", "label", digest, "k=v"});
  EXPECT_THAT(CtrOk({"content", "ls"}), AllOf(HasSubstr(digest), HasSubstr("k=v")));
  base::RunResult wrong = Ctr(
      {"content", "ingest", "--expected-digest", "sha256:" + std::string(64, '0'), "ref2"}, data);
  EXPECT_NE(wrong.exit.code, 0);
  EXPECT_THAT(wrong.err, HasSubstr("unexpected commit digest"));
  EXPECT_THAT(CtrOk({"content", "active"}), HasSubstr("ref2"));
  CtrOk({"content", "rm", digest});
  EXPECT_THAT(Ctr({"content", "get", digest}).err, HasSubstr("not found"));
}

TEST_F(CtrTest, Leases) {
  CtrOk({"leases", "create", "--id", "l1", "--expires", "1h", "a=b"});
  EXPECT_THAT(CtrOk({"leases", "ls"}), AllOf(HasSubstr("l1"), HasSubstr("a=b")));
  CtrOk({"leases", "delete", "--sync", "l1"});
  EXPECT_THAT(CtrOk({"leases", "ls", "-q"}), Not(HasSubstr("l1")));
}

TEST_F(CtrTest, Snapshots) {
  ImportBusybox();
  RunRm({}, {"true"});
  std::string chain = CtrOk({"snapshot", "ls"});
  size_t at = chain.find("sha256:");
  ASSERT_NE(at, std::string::npos) << chain;
  chain = chain.substr(at, 71);
  CtrOk({"snapshot", "prepare", "one", chain});
  EXPECT_THAT(CtrOk({"snapshot", "ls"}), ContainsRegex("one +sha256:[0-9a-f]+ +Active"));
  EXPECT_THAT(CtrOk({"snapshot", "mounts", "/mnt/x", "one"}), HasSubstr("overlay"));
  EXPECT_THAT(CtrOk({"snapshot", "usage", chain}), ContainsRegex("[0-9.]+ (MiB|KiB|B)"));
  EXPECT_THAT(CtrOk({"snapshot", "tree"}), HasSubstr("one"));
  EXPECT_THAT(CtrOk({"snapshot", "info", "one"}), HasSubstr("\"Active\""));
  EXPECT_THAT(Ctr({"snapshot", "rm", chain}).err, HasSubstr("cannot remove snapshot with child"));
  CtrOk({"snapshot", "commit", "two", "one"});
  EXPECT_THAT(CtrOk({"snapshot", "ls"}), ContainsRegex("two +sha256:[0-9a-f]+ +Committed"));
  CtrOk({"snapshot", "view", "three", "two"});
  CtrOk({"snapshot", "rm", "three"});
  CtrOk({"snapshot", "rm", "two"});
  EXPECT_THAT(Ctr({"snapshot", "rm", "two"}).err, HasSubstr("not found"));
}

TEST_F(CtrTest, SnapshotDiffHasWhatTheContainerWrote) {
  ImportBusybox();
  CtrOk({"run", Busybox(), "writer", "sh", "-c", "echo new > /root/new; rm /etc/group"});
  std::string layer = CtrOk({"snapshot", "diff", "writer"});
  ASSERT_TRUE(base::WriteFile(dir() + "/layer", layer).ok());
  EXPECT_THAT(tests::Run({"tar", "tzf", dir() + "/layer"}).out,
              AllOf(HasSubstr("root/new"), HasSubstr("etc/.wh.group")));
}

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

TEST_F(CtrTest, TerminalHasASize) {
  ImportBusybox();
  base::RunResult result =
      tests::Run({"script", "-qec",
                  absl::StrCat("ctr -a ", socket(), " -n ", ns(), " run --rm -t ", Busybox(),
                               " tty sh -c 'tty; exit 5'"),
                  "/dev/null"});
  EXPECT_THAT(result.out, HasSubstr("/dev/pts/0"));
  EXPECT_EQ(result.exit.code, 5);
}

TEST_F(CtrTest, Events) {
  ImportBusybox();
  auto log = base::Open(dir() + "/events", O_WRONLY | O_CREAT, 0600);
  ASSERT_TRUE(log.ok());
  auto events =
      base::Process::Spawn({.argv = {"ctr", "-a", socket(), "events"}, .fds = {{1, log->get()}}});
  ASSERT_TRUE(events.ok());
  absl::SleepFor(absl::Milliseconds(500));
  RunRm({}, {"true"});
  std::string text;
  for (int i = 0; i < 60 && !absl::StrContains(text, "/containers/delete"); ++i) {
    absl::SleepFor(absl::Milliseconds(50));
    text = *base::ReadFile(dir() + "/events");
  }
  events->Signal(SIGKILL).IgnoreError();
  events->Wait().IgnoreError();
  size_t at = 0;
  for (const char* topic : {"/containers/create", "/tasks/create", "/tasks/start", "/tasks/exit",
                            "/tasks/delete", "/containers/delete"}) {
    size_t found = text.find(topic, at);
    EXPECT_NE(found, std::string::npos) << topic << " not in order in:\n" << text;
    if (found != std::string::npos) at = found;
  }
}

TEST_F(CtrTest, Plugins) {
  EXPECT_THAT(CtrOk({"plugins", "ls"}),
              AllOf(ContainsRegex("io.containerd.snapshotter.v1 +overlayfs .* ok"),
                    ContainsRegex("io.containerd.content.v1 +content .* ok")));
}

TEST_F(CtrTest, ForeignShimRuns) {
  ImportBusybox();
  std::string shim = "/usr/bin/containerd-shim-runc-v2";
  ASSERT_TRUE(base::Exists(shim));
  EXPECT_EQ(CtrOk({"run", "--rm", "--runtime", shim, Busybox(), "foreign", "echo", "by runc"}),
            "by runc\n");
  CtrOk({"run", "-d", "--runtime", shim, Busybox(), "foreign2", "sleep", "100"});
  EXPECT_EQ(CtrOk({"task", "exec", "--exec-id", "e", "foreign2", "echo", "hello"}), "hello\n");
  CtrOk({"task", "rm", "--force", "foreign2"});
  CtrOk({"container", "rm", "foreign2"});
}

TEST_F(CtrTest, TasksSurviveARestart) {
  ImportBusybox();
  CtrOk({"run", "-d", Busybox(), "stays", "sleep", "1000"});
  std::string before = CtrOk({"task", "ls"});
  StopGantryd();
  StartGantryd();
  EXPECT_EQ(CtrOk({"task", "ls"}), before);
  KillGantryd();
  StartGantryd();
  EXPECT_EQ(CtrOk({"task", "ls"}), before);
  EXPECT_EQ(CtrOk({"task", "exec", "--exec-id", "e", "stays", "echo", "alive"}), "alive\n");
}

}  // namespace
}  // namespace gantry::tests
