// The flags of gantryctl that the main path does not need, each with what it does in the container
// or on the terminal.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/json.h"
#include "gmock/gmock.h"
#include "tests/integration/docker_registry.h"
#include "tests/integration/gantryd_fixture.h"

namespace gantry::tests {
namespace {

using ::testing::HasSubstr;

class GantryctlOptionsTest : public GantrydTest {
 protected:
  void SetUp() override {
    GantrydTest::SetUp();
    setenv("GANTRY_LOG_DIR", (dir() + "/logs").c_str(), 1);
    StartGantryd();
    GantryctlOk({"import", BusyboxImage()});
  }

  std::string WriteFile(const std::string& name, const std::string& text) {
    std::string path = dir() + "/" + name;
    std::ofstream(path) << text;
    return path;
  }
};

TEST_F(GantryctlOptionsTest, RunFlags) {
  std::string env = WriteFile("env", "# comment\nFROM_FILE=yes\n");
  std::string shared = dir() + "/shared";
  ASSERT_EQ(mkdir(shared.c_str(), 0755), 0);
  std::ofstream(shared + "/x") << "content";
  std::string profile = WriteFile(
      "seccomp.json",
      R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":95}]})");
  struct Case {
    const char* name;
    std::vector<std::string> flags;
    std::string script;
    std::string out;
  };
  const Case cases[] = {
      {"env-file", {"--env-file", env}, "echo $FROM_FILE", "yes\n"},
      {"volume", {"-v", shared + ":/s"}, "cat /s/x; echo new > /s/y", "content"},
      {"volume ro", {"-v", shared + ":/s:ro"}, "echo > /s/z 2>/dev/null || echo no", "no\n"},
      {"mount bind",
       {"--mount", "type=bind,src=" + shared + ",dst=/s,readonly"},
       "cat /s/x; echo > /s/z 2>/dev/null || echo no",
       "contentno\n"},
      {"mount tmpfs",
       {"--mount", "type=tmpfs,dst=/t,options=size=1m"},
       "stat -f -c %T /t; df -k /t | tail -1 | awk '{print $2}'",
       "tmpfs\n1024\n"},
      {"tmpfs", {"--tmpfs", "/t:size=2m"}, "df -k /t | tail -1 | awk '{print $2}'", "2048\n"},
      {"device",
       {"--device", "/dev/fuse:/dev/x:rw"},
       "test -c /dev/x && stat -c '%t %T' /dev/x; head -c 0 /dev/x && echo opened",
       "a e5\nopened\n"},
      {"ulimit", {"--ulimit", "nofile=123:456"}, "ulimit -Sn; ulimit -Hn", "123\n456\n"},
      {"pids-limit", {"--pids-limit", "7"}, "cat /sys/fs/cgroup/pids/pids.max", "7\n"},
      {"seccomp file",
       {"--security-opt", "seccomp=" + profile},
       "mkdir /x 2>&1 | grep -c 'not supported'",
       "1\n"},
      {"seccomp unconfined",
       {"--security-opt", "seccomp=unconfined"},
       "grep Seccomp: /proc/self/status | awk '{print $2}'",
       "0\n"},
      {"no-new-privileges",
       {"--security-opt", "no-new-privileges"},
       "grep NoNewPrivs /proc/self/status | awk '{print $2}'",
       "1\n"},
      {"cap-add",
       {"--cap-drop", "ALL", "--cap-add", "NET_ADMIN"},
       "grep CapEff /proc/self/status | awk '{print $2}'",
       "0000000000001000\n"},
      {"user", {"-u", "7:8"}, "id -u; id -g", "7\n8\n"},
      {"privileged",
       {"--privileged"},
       "test -e /dev/full && mount -t tmpfs x /tmp && echo yes",
       "yes\n"},
      {"host network", {"--net", "host"}, "readlink /proc/self/ns/net", ""},
  };
  for (const Case& test : cases) {
    std::vector<std::string> argv = {"run", "--rm"};
    argv.insert(argv.end(), test.flags.begin(), test.flags.end());
    argv.insert(argv.end(), {"busybox", "sh", "-c", test.script});
    auto run = Gantryctl(argv);
    std::string expected = test.out;
    if (test.flags[0] == "--net") {
      char link[64] = {};
      ASSERT_GT(readlink("/proc/self/ns/net", link, sizeof(link) - 1), 0);
      expected = absl::StrCat(link, "\n");
    }
    EXPECT_EQ(run.out, expected) << test.name << ": " << run.err;
  }
  EXPECT_EQ(access((shared + "/y").c_str(), F_OK), 0);
  EXPECT_EQ(GantryctlOk({"ps", "-a", "-q"}), "");
}

TEST_F(GantryctlOptionsTest, WrongValuesAreNamedAndLeaveNothing) {
  const std::vector<std::string> cases[] = {
      {"--ulimit", "nofile=x"},
      {"--device", "/dev/no-such-device"},
      {"--mount", "type=bind"},
      {"--memory", "many"},
      {"--cpus", "-1"},
      {"--security-opt", "seccomp=/no/such/file"},
      {"--net", "container:nobody"},
      {"--pids-limit", "0"},
      {"--env-file", "/no/such"},
      {"--volume", "relative"},
  };
  for (const auto& flags : cases) {
    auto run = Gantryctl({"run", "--rm", flags[0], flags[1], "busybox", "true"});
    EXPECT_EQ(run.exit.code, 125) << flags[0] << run.err;
    EXPECT_FALSE(run.err.empty()) << flags[0];
  }
  EXPECT_EQ(GantryctlOk({"ps", "-a", "-q"}), "");
}

TEST_F(GantryctlOptionsTest, LogsAreFollowedAndCut) {
  GantryctlOk({"run", "-d", "--name", "log", "busybox", "sh", "-c",
               "for i in 1 2 3 4; do echo line $i; done; sleep 0.5; echo last; echo err >&2"});
  auto follow = Gantryctl({"logs", "-f", "log"});  // ends with the container
  EXPECT_EQ(follow.exit.code, 0) << follow.err;
  EXPECT_EQ(follow.out, "line 1\nline 2\nline 3\nline 4\nlast\n");
  EXPECT_EQ(follow.err, "err\n");
  auto tail = Gantryctl({"logs", "--tail", "3", "log"});
  EXPECT_EQ(tail.out, "line 4\nlast\n");
  EXPECT_EQ(tail.err, "err\n");
  std::vector<std::string> stamped =
      absl::StrSplit(GantryctlOk({"logs", "--timestamps", "log"}), '\n');
  absl::Time time;
  std::string error;
  std::string first = stamped[0].substr(0, stamped[0].find(' '));
  EXPECT_TRUE(absl::ParseTime(absl::RFC3339_full, first, &time, &error)) << stamped[0];
  EXPECT_THAT(stamped[0], ::testing::EndsWith(" line 1"));
  GantryctlOk({"rm", "log"});
}

TEST_F(GantryctlOptionsTest, EventsOfAContainersLife) {
  base::SpawnOptions options;
  std::string path = dir() + "/events";
  base::UniqueFd out(open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  options.argv = {
      BinDir() + "/gantryctl", "-a", socket(), "-n", ns(), "events", "--format", "json"};
  options.fds = {{1, out.get()}};
  options.die_with_parent = true;
  auto events = base::Process::Spawn(options);
  ASSERT_TRUE(events.ok()) << events.status();
  absl::SleepFor(absl::Milliseconds(500));
  GantryctlOk({"run", "--rm", "--name", "e", "busybox", "true"});
  std::vector<std::string> topics;
  for (int i = 0; i < 50; ++i) {
    absl::SleepFor(absl::Milliseconds(100));
    topics.clear();
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
      auto json = base::ParseJson(line);
      if (json.ok()) topics.push_back(json->value("topic", ""));
    }
    if (!topics.empty() && topics.back() == "/containers/delete") break;
  }
  EXPECT_THAT(topics,
              ::testing::IsSupersetOf({"/containers/create", "/tasks/create", "/tasks/start",
                                       "/tasks/exit", "/tasks/delete", "/containers/delete"}));
  EXPECT_TRUE(events->Signal(SIGINT).ok());
  EXPECT_TRUE(events->Wait(absl::Seconds(10)).ok());
}

TEST_F(GantryctlOptionsTest, CredentialsAndHostsDirectory) {
  DockerRegistryOptions options;
  options.dir = dir();
  options.htpasswd = "anna:secret";
  options.tls = true;
  DockerRegistry registry(options);
  std::string hosts = absl::StrCat(dir(), "/certs.d");
  std::string host_dir = absl::StrCat(hosts, "/", registry.host());
  ASSERT_EQ(mkdir(hosts.c_str(), 0755), 0);
  ASSERT_EQ(mkdir(host_dir.c_str(), 0755), 0);
  std::ofstream(host_dir + "/hosts.toml")
      << "server = \"https://" << registry.host() << "\"\nca = \"" << registry.ca() << "\"\n";
  std::string ref = registry.host() + "/busybox:1";
  std::vector<std::string> known = {"--hosts-dir", hosts, "-q"};
  auto with = [&](std::vector<std::string> argv, const char* user) {
    argv.insert(argv.begin() + 1, known.begin(), known.end());
    if (user != nullptr) argv.insert(argv.begin() + 1, {"--user", user});
    return Gantryctl(argv);
  };
  EXPECT_NE(with({"push", std::string(kBusybox), ref}, nullptr).exit.code, 0);
  EXPECT_NE(with({"push", std::string(kBusybox), ref}, "anna:wrong").exit.code, 0);
  auto push = with({"push", std::string(kBusybox), ref}, "anna:secret");
  EXPECT_EQ(push.exit.code, 0) << push.err;
  auto denied = with({"pull", ref}, nullptr);
  EXPECT_NE(denied.exit.code, 0);
  EXPECT_THAT(denied.err, HasSubstr("asks for a user name and password")) << denied.err;
  auto pull = with({"pull", ref}, "anna:secret");
  EXPECT_EQ(pull.exit.code, 0) << pull.err;
  EXPECT_EQ(GantryctlOk({"run", "--rm", ref, "echo", "pulled"}), "pulled\n");
}

TEST_F(GantryctlOptionsTest, CompletionIsAScriptOfTheShell) {
  std::string script = WriteFile("completion", GantryctlOk({"completion", "bash"}));
  auto words =
      tests::Run({"bash", "-c",
                  "source " + script +
                      "; COMP_WORDS=(gantryctl i); COMP_CWORD=1; COMP_LINE='gantryctl i'; "
                      "COMP_POINT=11; $(complete -p gantryctl | sed 's/.*-F \\([^ ]*\\).*/\\1/') "
                      "gantryctl i gantryctl; printf '%s\\n' \"${COMPREPLY[@]}\""});
  EXPECT_THAT(words.out, HasSubstr("images")) << words.err;
  EXPECT_THAT(words.out, HasSubstr("import"));
}

}  // namespace
}  // namespace gantry::tests
