// The docker CLI as people use it: outputs, exit codes, error texts.

#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "gmock/gmock.h"
#include "tests/integration/docker_fixture.h"

namespace gantry::tests {
namespace {

using ::testing::HasSubstr;

class DockerCliTest : public DockerTest {
 protected:
  // The containers here need no network, and so no driver for one.
  std::vector<std::string> RunArguments(std::vector<std::string> more) {
    std::vector<std::string> arguments = {"run", "--network", "none"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  bool Eventually(const std::function<bool()>& condition) {
    for (int i = 0; i < 200; ++i) {
      if (condition()) return true;
      absl::SleepFor(absl::Milliseconds(50));
    }
    return false;
  }
};

struct RunCase {
  const char* what;
  std::vector<std::string> arguments;  // after "run --network none"
  const char* input;
  int code;
  const char* out;  // exactly
  const char* err;  // a part
};

TEST_F(DockerCliTest, Run) {
  const RunCase cases[] = {
      {"output", {"--rm", kImage, "echo", "hi"}, "", 0, "hi\n", ""},
      {"both streams", {"--rm", kImage, "sh", "-c", "echo a; echo b >&2"}, "", 0, "a\n", "b\n"},
      {"input", {"--rm", "-i", kImage, "cat"}, "from here\n", 0, "from here\n", ""},
      {"exit code", {"--rm", kImage, "sh", "-c", "exit 7"}, "", 7, "", ""},
      // The kernel ignores it where the program is the first process.
      {"signal", {"--rm", "--init", kImage, "sh", "-c", "kill -9 $$"}, "", 137, "", ""},
      {"no program", {"--rm", kImage, "nosuch"}, "", 127, "", "executable file not found in $PATH"},
      {"no permission", {"--rm", kImage, "/etc/passwd"}, "", 126, "", "permission denied"},
      {"environment", {"--rm", "-e", "A=b c", kImage, "sh", "-c", "echo $A"}, "", 0, "b c\n", ""},
      {"directory", {"--rm", "-w", "/usr/bin", kImage, "pwd"}, "", 0, "/usr/bin\n", ""},
      {"user",
       {"--rm", "-u", "user", kImage, "id"},
       "",
       0,
       "uid=1000(user) gid=1000(user) groups=1000(user),2000(extra)\n",
       ""},
      {"user by number", {"--rm", "-u", "5:6", kImage, "id", "-g"}, "", 0, "6\n", ""},
      {"no user",
       {"--rm", "-u", "nobody-here", kImage, "id"},
       "",
       125,
       "",
       "unable to find user nobody-here: no matching entries in passwd file"},
      {"host name", {"--rm", "-h", "box", kImage, "hostname"}, "", 0, "box\n", ""},
      {"entrypoint", {"--rm", "--entrypoint", "echo", kImage, "x"}, "", 0, "x\n", ""},
      {"read-only root",
       {"--rm", "--read-only", kImage, "touch", "/x"},
       "",
       1,
       "",
       "Read-only file system"},
      {"tmpfs",
       {"--rm", "--tmpfs", "/t:size=1m", kImage, "sh", "-c",
        "df -k /t | tail -1 | awk "
        "'{print $2}'"},
       "",
       0,
       "1024\n",
       ""},
      {"shm size",
       {"--rm", "--shm-size", "8m", kImage, "sh", "-c",
        "df -k /dev/shm | tail -1 | "
        "awk '{print $2}'"},
       "",
       0,
       "8192\n",
       ""},
      {"limits",
       {"--rm", "--ulimit", "nofile=123:456", kImage, "sh", "-c", "ulimit -n; ulimit -Hn"},
       "",
       0,
       "123\n456\n",
       ""},
      {"init",
       {"--rm", "--init", kImage, "sh", "-c", "cat /proc/1/comm"},
       "",
       0,
       "docker-init\n",
       ""},
      {"init and code", {"--rm", "--init", kImage, "sh", "-c", "exit 3"}, "", 3, "", ""},
      {"capabilities",
       {"--rm", "--cap-drop", "ALL", kImage, "sh", "-c", "grep CapEff /proc/self/status"},
       "",
       0,
       "CapEff:\t0000000000000000\n",
       ""},
      {"bad option",
       {"--rm", "-m", "1m", kImage, "true"},
       "",
       125,
       "",
       "Minimum memory limit allowed is 6MB"},
      {"bad name",
       {"--rm", "--name", "a b", kImage, "true"},
       "",
       125,
       "",
       "Invalid container name (a b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"},
      {"no such source",
       {"--rm", "--mount", "type=bind,src=/nosuch/gantry,dst=/x", kImage, "true"},
       "",
       125,
       "",
       "bind source path does not exist: /nosuch/gantry"},
  };
  for (const RunCase& c : cases) {
    SCOPED_TRACE(c.what);
    base::RunResult result = Docker(RunArguments(c.arguments), c.input);
    EXPECT_EQ(result.exit.code, c.code) << result.err;
    EXPECT_EQ(result.out, c.out);
    EXPECT_THAT(result.err, HasSubstr(c.err));
  }
  EXPECT_EQ(DockerOk({"ps", "-aq"}), "");
}

TEST_F(DockerCliTest, LifeOfADetachedContainer) {
  std::string id = DockerOk(RunArguments({"-d", "--name", "web", "--stop-signal", "KILL", kImage,
                                          "sh", "-c", "echo up; exec sleep 1000"}));
  EXPECT_EQ(id.size(), 64u);
  EXPECT_EQ(DockerOk({"ps", "--format", "{{.Names}} {{.State}} {{.Image}}"}),
            "web running busybox");
  EXPECT_EQ(DockerOk({"inspect", "-f", "{{.State.Status}} {{.Name}} {{.Id}}", "web"}),
            "running /web " + id);
  base::RunResult taken = Docker(RunArguments({"--name", "web", kImage, "true"}));
  EXPECT_EQ(taken.exit.code, 125);
  EXPECT_THAT(taken.err,
              HasSubstr(absl::StrCat("Conflict. The container name \"/web\" is already in use by "
                                     "container \"",
                                     id, "\"")));
  EXPECT_TRUE(Eventually([&] { return DockerOk({"logs", "web"}) == "up"; }));
  EXPECT_THAT(Docker({"rm", "web"}).err, HasSubstr("container is running"));

  EXPECT_EQ(DockerOk({"exec", "web", "echo", "inside"}), "inside");
  EXPECT_EQ(DockerOk({"exec", "-i", "web", "cat"}, "piped"), "piped");
  EXPECT_EQ(Docker({"exec", "web", "sh", "-c", "exit 9"}).exit.code, 9);
  EXPECT_EQ(Docker({"exec", "web", "nosuch"}).exit.code, 127);
  EXPECT_EQ(DockerOk({"exec", "-u", "user", "-w", "/tmp", "-e", "X=1", "web", "sh", "-c",
                      "echo $(id -un) $(pwd) $X"}),
            "user /tmp 1");
  EXPECT_THAT(DockerOk({"top", "web"}), HasSubstr("sleep 1000"));
  EXPECT_THAT(DockerOk({"stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "web"}),
              HasSubstr("web 1"));

  DockerOk({"pause", "web"});
  EXPECT_EQ(DockerOk({"inspect", "-f", "{{.State.Paused}}", "web"}), "true");
  EXPECT_NE(Docker({"exec", "web", "true"}).exit.code, 0);
  DockerOk({"unpause", "web"});
  DockerOk({"rename", "web", "site"});
  DockerOk({"restart", "site"});
  EXPECT_EQ(DockerOk({"ps", "-q", "--no-trunc"}), id);
  DockerOk({"stop", "site"});
  EXPECT_EQ(DockerOk({"inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "site"}),
            "exited 137");
  EXPECT_EQ(DockerOk({"wait", "site"}), "137");
  EXPECT_THAT(Docker({"exec", "site", "true"}).err, HasSubstr("is not running"));
  EXPECT_EQ(DockerOk({"ps", "-q"}), "");
  EXPECT_THAT(DockerOk({"ps", "-a", "--format", "{{.Status}}"}), HasSubstr("Exited (137)"));
  EXPECT_EQ(DockerOk({"rm", "site"}), "site");
  base::RunResult gone = Docker({"rm", "site"});
  EXPECT_EQ(gone.exit.code, 1);
  EXPECT_THAT(gone.err, HasSubstr("No such container: site"));
}

TEST_F(DockerCliTest, LogsFollowAndTail) {
  DockerOk(RunArguments({"-d", "--name", "log", kImage, "sh", "-c",
                         "for i in 1 2 3; do echo line $i; sleep 0.3; done"}));
  base::RunResult followed = Docker({"logs", "-f", "log"});
  EXPECT_EQ(followed.out, "line 1\nline 2\nline 3\n");
  EXPECT_EQ(DockerOk({"logs", "--tail", "1", "log"}), "line 3");
  EXPECT_THAT(DockerOk({"logs", "-t", "--tail", "1", "log"}), HasSubstr("Z line 3"));
}

TEST_F(DockerCliTest, CreateAttachStart) {
  std::string id = DockerOk({"create", "--network", "none", "-i", kImage, "cat"});
  EXPECT_EQ(DockerOk({"start", "-ai", id}, "hello"), "hello");
  EXPECT_EQ(DockerOk({"inspect", "-f", "{{.State.ExitCode}}", id}), "0");
  DockerOk({"update", "--restart", "no", "--memory", "64m", "--memory-swap", "128m", id});
  EXPECT_EQ(DockerOk({"inspect", "-f", "{{.HostConfig.Memory}}", id}), "67108864");
}

TEST_F(DockerCliTest, BadRequestsGetDockersAnswers) {
  struct Case {
    const char* method;
    const char* path;
    const char* body;
    const char* answer;
  };
  const Case cases[] = {
      {"POST", "/containers/create", "{", "400 {\"message\":\"invalid JSON: "},
      {"POST", "/containers/create", "[]", "400 {\"message\":\"invalid JSON: "},
      {"POST", "/containers/create", "{}", "400 {\"message\":\"config cannot be empty"},
      {"POST", "/containers/create", "{\"Image\":\"nosuch\"}",
       "404 {\"message\":\"No such image: nosuch:latest\"}"},
      {"POST", "/containers/create", "{\"Image\":7}", "400 {\"message\":\"invalid JSON: json: "},
      {"POST", "/containers/create?name=%2F..%2F", "{\"Image\":\"busybox\"}",
       "400 {\"message\":\"Invalid container name"},
      {"POST", "/containers/create?name=a%00b", "{\"Image\":\"busybox\"}",
       "400 {\"message\":\"Invalid container name"},
      {"GET", "/containers/nosuch/json", "", "404 {\"message\":\"No such container: nosuch\"}"},
      {"POST", "/containers/nosuch/start", "", "404 {\"message\":\"No such container: nosuch\"}"},
      {"GET", "/exec/nosuch/json", "", "404 {\"message\":\"No such exec instance: nosuch\"}"},
      {"GET", "/containers/json?filters=x", "", "400 {\"message\":\"invalid"},
      {"GET", "/containers/json?limit=x", "", "400 {\"message\":\"strconv"},
  };
  for (const Case& c : cases) {
    EXPECT_THAT(Curl(c.method, c.path, c.body), testing::StartsWith(c.answer))
        << c.method << " " << c.path << " " << c.body;
  }
}

TEST_F(DockerCliTest, GoesOnAfterBothWereKilled) {
  DockerOk(RunArguments({"-d", "--name", "on", kImage, "sh", "-c",
                         "echo before; trap 'exit 4' TERM; while :; do sleep 0.1; done"}));
  KillGantryDocker();
  KillGantryd();
  StartGantryd();
  StartGantryDocker();
  EXPECT_EQ(DockerOk({"ps", "--format", "{{.Names}}"}), "on");
  EXPECT_EQ(DockerOk({"logs", "on"}), "before");
  EXPECT_EQ(DockerOk({"exec", "on", "echo", "still"}), "still");
  DockerOk({"stop", "on"});
  EXPECT_EQ(DockerOk({"inspect", "-f", "{{.State.ExitCode}}", "on"}), "4");
}

TEST_F(DockerCliTest, IsSmallWhenIdle) {
  for (int i = 0; i < 20; ++i) DockerOk({"ps", "-a"});
  auto status = base::ReadFile(absl::StrCat("/proc/", gantry_docker_pid(), "/status"));
  ASSERT_TRUE(status.ok());
  size_t at = status->find("VmRSS:");
  ASSERT_NE(at, std::string::npos);
  EXPECT_LE(atoi(status->c_str() + at + 6), 15 * 1024);
}

}  // namespace
}  // namespace gantry::tests
