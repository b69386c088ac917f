// Programs that people run, of a Debian root: servers, threads and signals, the package manager.

#include <sys/mount.h>

#include "absl/strings/str_cat.h"
#include "tests/integration/ctr_fixture.h"
#include "tests/integration/docker_registry.h"

namespace gantry::tests {
namespace {

constexpr char kDebian[] = "docker.io/library/debian:programs";

class ProgramsTest : public CtrTest {
 protected:
  void SetUp() override {
    std::string image = DebianImage();
    if (image.empty()) GTEST_SKIP() << "no Debian root (see above)";
    CtrTest::SetUp();
    // Logs of containers in the background stay within the test's directory.
    setenv("GANTRY_LOG_DIR", (dir() + "/logs").c_str(), 1);
    GantryctlOk({"import", image});
  }

  // On the network of the host.
  void PythonServes();
  // In a network namespace; ends when it is asked to.
  void NginxServes();
  // Data by exec; it forks to save them.
  void RedisKeeps();
  // End on SIGTERM, with an exit code of their own.
  void ThreadsEnd();

  // What `url` answers, as soon as somebody listens.
  std::string Fetch(std::vector<std::string> prefix, const std::string& url) {
    prefix.insert(prefix.end(), {"curl", "-sS", "--retry", "50", "--retry-connrefused",
                                 "--retry-delay", "0", "--retry-max-time", "20", url});
    return tests::Run(prefix).out;
  }
};

void ProgramsTest::PythonServes() {
  const std::string port = absl::StrCat(FreePort());
  GantryctlOk({"run", "-d", "--name", "python", "--net", "host", kDebian, "python3", "-m",
               "http.server", port, "--bind", "127.0.0.1", "--directory", "/etc"});
  EXPECT_THAT(Fetch({}, absl::StrCat("http://127.0.0.1:", port, "/debian_version")),
              ContainsRegex("^12\\.[0-9]+\n$"));
  // A large answer, while others come.
  EXPECT_THAT(tests::Run({"sh", "-c",
                          absl::StrCat("for i in 1 2 3 4 5 6 7 8; do curl -sS http://127.0.0.1:",
                                       port, "/services | tail -1 | wc -l & done; wait")})
                  .out,
              HasSubstr("1\n1\n1\n1\n1\n1\n1\n1\n"));
  GantryctlOk({"rm", "--force", "python"});
}

void ProgramsTest::NginxServes() {
  const std::string netns = dir() + "/netns";
  ASSERT_TRUE(base::WriteFile(netns, "").ok());
  ASSERT_EQ(tests::Run({"unshare", "--net=" + netns, "busybox", "ip", "link", "set", "lo", "up"})
                .exit.code,
            0);
  const std::vector<std::string> enter = {"nsenter", "--net=" + netns};
  CtrOk({"run", "-d", "--with-ns", "network:" + netns, "--log-uri",
         absl::StrCat("file://", dir(), "/log"), kDebian, "nginx", "nginx", "-g", "daemon off;"});
  EXPECT_THAT(Fetch(enter, "http://127.0.0.1/"), HasSubstr("Welcome to nginx"));
  EXPECT_THAT(CtrOk({"task", "exec", "--exec-id", "w", "nginx", "sh", "-c",
                     "for p in /proc/[0-9]*; do grep -h Uid $p/status; done"}),
              ContainsRegex("Uid:\t33\t"));  // workers are www-data
  // A graceful end.
  CtrOk({"task", "kill", "--signal", "SIGQUIT", "nginx"});
  EXPECT_TRUE(Eventually({"task", "ls"}, "STOPPED")) << *base::ReadFile(dir() + "/log");
  EXPECT_EQ(Ctr({"task", "rm", "nginx"}).exit.code, 0);
  EXPECT_EQ(umount2(netns.c_str(), MNT_DETACH), 0);
}

void ProgramsTest::RedisKeeps() {
  GantryctlOk({"run", "-d", "--name", "redis", "--memory", "128m", kDebian, "redis-server",
               "--save", "", "--dir", "/tmp"});
  std::string answer;
  for (int i = 0; i < 100 && answer != "PONG\n"; ++i) {
    answer = Gantryctl({"exec", "redis", "redis-cli", "ping"}).out;
  }
  EXPECT_EQ(answer, "PONG\n");
  EXPECT_EQ(GantryctlOk({"exec", "redis", "redis-cli", "set", "key", "some value"}), "OK\n");
  const std::string id = CtrOk({"container", "ls", "-q"});
  EXPECT_EQ(CtrOk({"task", "exec", "--exec-id", "get", id.substr(0, id.find('\n')), "redis-cli",
                   "get", "key"}),
            "some value\n");
  EXPECT_EQ(GantryctlOk({"exec", "redis", "redis-cli", "save"}), "OK\n");
  EXPECT_THAT(
      GantryctlOk({"exec", "redis", "redis-benchmark", "-q", "-n", "5000", "-t", "set,get"}),
      HasSubstr("GET"));
  Gantryctl({"exec", "redis", "redis-cli", "shutdown"});
  EXPECT_EQ(GantryctlOk({"wait", "redis"}), "0\n");
  GantryctlOk({"rm", "redis"});
}

constexpr char kThreads[] = R"(
import os, signal, subprocess, sys, threading
stop = threading.Event()
counts = [0] * 8
def work(i):
    while not stop.wait(0.01): counts[i] += 1
signal.signal(signal.SIGTERM, lambda *_: stop.set())
threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
for t in threads: t.start()
children = [subprocess.Popen(["sleep", "0.05"]) for _ in range(20)]
print("children", sum(c.wait() == 0 for c in children), "as", os.getpid(), flush=True)
for t in threads: t.join()
print("stopped", sum(c > 0 for c in counts), flush=True)
sys.exit(3)
)";

void ProgramsTest::ThreadsEnd() {
  GantryctlOk({"run", "-d", "--name", "threads", kDebian, "python3", "-c", kThreads});
  std::string log;
  for (int i = 0; i < 100 && log.empty(); ++i) {
    log = Gantryctl({"logs", "threads"}).out;
    absl::SleepFor(absl::Milliseconds(50));
  }
  EXPECT_EQ(log, "children 20 as 1\n");
  GantryctlOk({"stop", "threads"});
  EXPECT_EQ(GantryctlOk({"wait", "threads"}), "3\n");
  EXPECT_EQ(GantryctlOk({"logs", "threads"}), "children 20 as 1\nstopped 8\n");
  GantryctlOk({"rm", "threads"});
}

// One after the other: the image is large.
TEST_F(ProgramsTest, ServersServeAndEnd) {
  PythonServes();
  NginxServes();
  RedisKeeps();
  ThreadsEnd();
}

// dpkg unpacks beside the old files, links, renames and removes: all in the upper layer, over a
// lower one.
constexpr char kPackages[] = R"(
export DEBIAN_FRONTEND=noninteractive
dpkg --force-unsafe-io -i /debs/*.deb > /tmp/log 2>&1 || { cat /tmp/log; exit 1; }
dpkg --verify coreutils sed tzdata hostname || exit 2
dpkg --purge redis-server redis-tools > /tmp/log 2>&1 || { cat /tmp/log; exit 3; }
[ ! -e /usr/bin/redis-cli ] || exit 3
mv /usr/share/zoneinfo /moved && [ -e /moved/Europe/Berlin ] && mv /moved /usr/share/zoneinfo || exit 4
ln /bin/grep /linked && echo >> /linked && [ $(stat -c %h /bin/grep) = 2 ] && cmp /bin/grep /linked || exit 5
echo packages are fine
)";

TEST_F(ProgramsTest, PackagesAreInstalledAndRemoved) {
  EXPECT_EQ(GantryctlOk({"run", "--rm", kDebian, "bash", "-c", kPackages}), "packages are fine\n");
  EXPECT_EQ(CtrOk({"run", "--rm", kDebian, "packages", "bash", "-c", kPackages}),
            "packages are fine\n");
}

}  // namespace
}  // namespace gantry::tests
