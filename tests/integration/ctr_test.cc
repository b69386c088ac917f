// ctr: what is about the daemon as a whole.

#include <fcntl.h>
#include <signal.h>

#include "tests/integration/ctr_fixture.h"

namespace gantry::tests {
namespace {

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

TEST_F(CtrTest, ANamespaceInUseCannotBeRemoved) {
  ImportBusybox();
  base::RunResult result = Ctr({"namespace", "rm", ns()});
  EXPECT_NE(result.exit.code, 0);
  EXPECT_THAT(result.err, AllOf(HasSubstr("must be empty, but it still has"), HasSubstr("images"),
                                HasSubstr("failed precondition")));
}

TEST_F(CtrTest, Leases) {
  CtrOk({"leases", "create", "--id", "l1", "--expires", "1h", "a=b"});
  EXPECT_THAT(CtrOk({"leases", "ls"}), AllOf(HasSubstr("l1"), HasSubstr("a=b")));
  CtrOk({"leases", "delete", "--sync", "l1"});
  EXPECT_THAT(CtrOk({"leases", "ls", "-q"}), Not(HasSubstr("l1")));
}

TEST_F(CtrTest, Plugins) {
  EXPECT_THAT(CtrOk({"plugins", "ls"}),
              AllOf(ContainsRegex("io.containerd.snapshotter.v1 +overlayfs .* ok"),
                    ContainsRegex("io.containerd.content.v1 +content .* ok")));
}

// ctr 2.1 makes the record, and then names no controller to start the sandbox with: containerd
// refuses that as well.
TEST_F(CtrTest, Sandboxes) {
  if (ctr_major() < 2) GTEST_SKIP() << "this ctr has no such command";
  ASSERT_TRUE(base::WriteFile(dir() + "/pod.json",
                              R"({"metadata":{"name":"p","namespace":"d","uid":"u"},"linux":{}})")
                  .ok());
  EXPECT_THAT(Ctr({"sandboxes", "run", dir() + "/pod.json", "sb"}).err,
              is_gantryd() ? HasSubstr("sandbox controller name can not be empty")
                           : HasSubstr("failed to start"));  // its controllers come with CRI
  EXPECT_THAT(CtrOk({"sandboxes", "ls"}), ContainsRegex("sb .*io.containerd.runc.v2"));
  EXPECT_NE(Ctr({"sandboxes", "run", dir() + "/pod.json", "sb"}).exit.code, 0);
  CtrOk({"sandboxes", "rm", "--force", "sb"});
  EXPECT_THAT(CtrOk({"sandboxes", "ls"}), Not(HasSubstr("sb ")));
}

TEST_F(CtrTest, InspectRuntime) {
  if (ctr_major() < 2) GTEST_SKIP() << "this ctr has no such command";
  EXPECT_THAT(CtrOk({"plugins", "inspect-runtime"}),
              AllOf(HasSubstr("\"ociVersionMax\""), HasSubstr("\"createContainer\""),
                    HasSubstr("\"seccomp\"")));
  base::RunResult other =
      Ctr({"plugins", "inspect-runtime", "--runtime", "io.containerd.absent.v2"});
  EXPECT_NE(other.exit.code, 0);
  EXPECT_THAT(other.err, HasSubstr("containerd-shim-absent-v2"));
}

TEST_F(CtrTest, InfoAndDeprecations) {
  if (ctr_major() < 2) GTEST_SKIP() << "this ctr has neither command";
  EXPECT_THAT(CtrOk({"info"}),
              AllOf(HasSubstr("\"uuid\""), HasSubstr(absl::StrCat("\"pid\": ", gantryd_pid()))));
  EXPECT_EQ(CtrOk({"deprecations", "list"}), "");
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
    // containerd 2.1's shim is mostly gone before it has told of that.
    if (topic == absl::string_view("/tasks/delete") && !is_gantryd() && ctr_major() >= 2) continue;
    size_t found = text.find(topic, at);
    EXPECT_NE(found, std::string::npos) << topic << " not in order in:\n" << text;
    if (found != std::string::npos) at = found;
  }
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
