// gantryctl on a terminal: what a person types and sees.

#include <csignal>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "tests/integration/docker_registry.h"
#include "tests/integration/gantryd_fixture.h"
#include "tests/integration/terminal.h"

namespace gantry::tests {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class GantryctlTerminalTest : public GantrydTest {
 protected:
  void SetUp() override {
    GantrydTest::SetUp();
    setenv("GANTRY_LOG_DIR", (dir() + "/logs").c_str(), 1);
    StartGantryd();
    GantryctlOk({"import", BusyboxImage()});
  }

  std::vector<std::string> Command(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {BinDir() + "/gantryctl", "-a", socket(), "-n", ns()});
    return arguments;
  }
};

TEST_F(GantryctlTerminalTest, AShellOnATerminal) {
  Terminal shell(Command({"run", "--rm", "-it", "--name", "sh", "busybox", "sh"}), 91, 33);
  ASSERT_TRUE(shell.Await("# ")) << shell.screen();
  shell.Type("stty size; tty\r");
  EXPECT_TRUE(shell.Await("33 91")) << shell.screen();
  EXPECT_TRUE(shell.Await("/dev/pts/0")) << shell.screen();
  shell.Resize(120, 44);
  shell.Type("sleep 0.3; stty size\r");
  EXPECT_TRUE(shell.Await("44 120")) << shell.screen();
  // Ctrl-C reaches the program inside, not gantryctl.
  shell.Clear();
  shell.Type("echo asl''eep; sleep 1000\r");
  ASSERT_TRUE(shell.Await("asleep")) << shell.screen();
  absl::SleepFor(absl::Milliseconds(500));  // the shell hands the terminal to the sleep
  shell.Type("\x03");
  ASSERT_TRUE(shell.Await("# ")) << shell.screen();
  shell.Type("exit 5\r");
  auto end = shell.End();
  ASSERT_TRUE(end.has_value()) << shell.screen();
  EXPECT_EQ(end->code, 5);
  EXPECT_EQ(GantryctlOk({"ps", "-a", "-q"}), "");
}

// Also what was typed in the same moment as the keys arrives: it was lost once.
TEST_F(GantryctlTerminalTest, DetachKeysLeaveItRunningAndAttachComesBack) {
  {
    Terminal shell(Command({"run", "-it", "--name", "sh", "busybox", "sh"}), 80, 24);
    ASSERT_TRUE(shell.Await("# ")) << shell.screen();
    shell.Type("here=before\r\x10\x11");
    auto end = shell.End();
    ASSERT_TRUE(end.has_value()) << shell.screen();
    EXPECT_EQ(end->code, 0);
  }
  EXPECT_THAT(GantryctlOk({"ps"}), HasSubstr("running"));
  Terminal again(Command({"attach", "--detach-keys", "ctrl-a,q", "sh"}), 80, 24);
  again.Type("echo still $here\r");
  EXPECT_TRUE(again.Await("still before")) << again.screen();
  again.Type("\x01q");
  auto end = again.End();
  ASSERT_TRUE(end.has_value()) << again.screen();
  EXPECT_THAT(GantryctlOk({"ps"}), HasSubstr("running"));
  GantryctlOk({"rm", "--force", "sh"});
}

TEST_F(GantryctlTerminalTest, ExecOnATerminal) {
  GantryctlOk({"run", "-d", "--name", "web", "busybox", "sleep", "1000"});
  Terminal exec(Command({"exec", "-it", "web", "sh"}), 77, 22);
  ASSERT_TRUE(exec.Await("# ")) << exec.screen();
  exec.Type("stty size; exit 9\r");
  auto end = exec.End();
  ASSERT_TRUE(end.has_value()) << exec.screen();
  EXPECT_THAT(exec.screen(), HasSubstr("22 77"));
  EXPECT_EQ(end->code, 9);
  GantryctlOk({"rm", "--force", "web"});
}

TEST_F(GantryctlTerminalTest, ThreeInterruptsEndWhatDoesNotListen) {
  Terminal run(Command({"run", "--rm", "busybox", "sh", "-c",
                        "trap 'echo got it' INT; while :; do echo on; sleep 0.2; done"}),
               80, 24);
  ASSERT_TRUE(run.Await("on")) << run.screen();
  run.Type("\x03");
  ASSERT_TRUE(run.Await("got it")) << run.screen();
  run.Clear();
  run.Type("\x03");
  ASSERT_TRUE(run.Await("got it")) << run.screen();
  run.Type("\x03");
  auto end = run.End();
  ASSERT_TRUE(end.has_value()) << run.screen();
  EXPECT_EQ(end->code, 137) << run.screen();
  EXPECT_THAT(run.screen(), HasSubstr("killing it"));
}

TEST_F(GantryctlTerminalTest, ProgressOfAPullIsDrawnOnATerminalAndPlainElsewhere) {
  DockerRegistryOptions options;
  options.dir = dir();
  DockerRegistry registry(options);
  std::string ref = registry.host() + "/busybox:1";
  GantryctlOk({"push", "-q", std::string(kBusybox), ref});
  GantryctlOk({"rmi", std::string(kBusybox)});
  auto plain = Gantryctl({"pull", ref});
  ASSERT_EQ(plain.exit.code, 0) << plain.err;
  EXPECT_THAT(plain.out + plain.err, Not(HasSubstr("\x1b[")));
  EXPECT_THAT(plain.out + plain.err, HasSubstr(ref));
  GantryctlOk({"rmi", ref});
  Terminal pull(Command({"pull", ref}), 100, 30);
  auto end = pull.End();
  ASSERT_TRUE(end.has_value()) << pull.screen();
  EXPECT_EQ(end->code, 0);
  EXPECT_THAT(pull.screen(), HasSubstr("\x1b["));
  EXPECT_THAT(pull.screen(), HasSubstr("saved"));
}

// What a container or a registry says cannot move the cursor of a table.
TEST_F(GantryctlTerminalTest, TablesHaveNoControlCharacters) {
  GantryctlOk({"create", "--label", "evil=\x1b[2J", "busybox", "sh", "-c", "\x1b]0;title\x07"});
  Terminal list(Command({"ps", "-a"}), 200, 30);
  ASSERT_TRUE(list.End().has_value());
  EXPECT_THAT(list.screen(), HasSubstr("just now"));
  EXPECT_THAT(list.screen(), Not(HasSubstr("\x1b]0;")));
  EXPECT_THAT(list.screen(), Not(HasSubstr("\x1b[2J")));
}

}  // namespace
}  // namespace gantry::tests
