#include "tests/integration/docker_fixture.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <iostream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/unique_fd.h"

namespace gantry::tests {
namespace {

std::string DockerProgram() {
  const char* chosen = getenv("GANTRY_TEST_DOCKER");
  if (chosen != nullptr) return chosen;
  for (absl::string_view dir : absl::StrSplit(getenv("PATH"), ':')) {
    std::string path = absl::StrCat(dir, "/docker");
    if (access(path.c_str(), X_OK) == 0) return path;
  }
  return "";
}

// Bridges, rules and traffic stay in a namespace of this program. Once: all of its tests share it.
bool EnterOwnNetwork() {
  static const bool entered = [] {
    if (unshare(CLONE_NEWNET) != 0) return false;
    base::UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    strcpy(request.ifr_name, "lo");
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    return ioctl(fd.get(), SIOCSIFFLAGS, &request) == 0;
  }();
  return entered;
}

}  // namespace

void DockerTest::SetUp() {
  if (DockerProgram().empty()) GTEST_SKIP() << "there is no docker CLI in $PATH";
  ASSERT_TRUE(EnterOwnNetwork()) << strerror(errno);
  GantrydTest::SetUp();
  if (HasFatalFailure()) return;
  StartGantryd();
  ImportBusybox();
  StartGantryDocker();
}

void DockerTest::TearDown() {
  if (door_.has_value()) {
    for (absl::string_view id :
         absl::StrSplit(Docker({"ps", "-aq"}).out, '\n', absl::SkipEmpty())) {
      Docker({"rm", "-fv", std::string(id)});
    }
    KillGantryDocker();
  }
  if (HasFailure()) {
    auto log = base::ReadFile(dir() + "/gantry-docker.log", 64 << 20);
    if (log.ok()) std::cerr << "--- gantry-docker.log\n" << *log;
  }
  if (!dir().empty()) GantrydTest::TearDown();
}

void DockerTest::StartGantryDocker(const std::vector<std::string>& arguments) {
  std::vector<std::string> argv = {
      BinDir() + "/gantry-docker", "-H", "unix://" + docker_socket(), "--gantryd", socket(),
      "--containerd-namespace",    ns(), "--cgroup-parent",           "/" + ns()};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  auto log = base::Open(dir() + "/gantry-docker.log", O_WRONLY | O_CREAT | O_APPEND, 0600);
  ASSERT_TRUE(log.ok()) << log.status();
  auto process = base::Process::Spawn({.argv = argv,
                                       .env = {"GANTRY_INIT=" + BinDir() + "/gantry-init"},
                                       .fds = {{1, log->get()}, {2, log->get()}}});
  ASSERT_TRUE(process.ok()) << process.status();
  door_ = *std::move(process);
  for (int i = 0; i < 100; ++i) {
    if (absl::StartsWith(Curl("GET", "/_ping"), "200")) return;
    absl::SleepFor(absl::Milliseconds(50));
  }
  FAIL() << "gantry-docker does not answer";
}

void DockerTest::KillGantryDocker() {
  ASSERT_TRUE(door_->Signal(SIGKILL).ok());
  ASSERT_TRUE(door_->Wait(absl::Seconds(10)).ok());
  door_.reset();
}

std::vector<std::string> DockerTest::docker_env() const {
  return {"DOCKER_HOST=unix://" + docker_socket(), "DOCKER_CONFIG=" + dir() + "/docker-config"};
}

base::RunResult DockerTest::Docker(std::vector<std::string> arguments, absl::string_view input,
                                   absl::Duration timeout) {
  arguments.insert(arguments.begin(), DockerProgram());
  auto result = base::RunProcess({.argv = arguments, .env = docker_env()}, input, timeout);
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? *result : base::RunResult{};
}

std::string DockerTest::DockerOk(std::vector<std::string> arguments, absl::string_view input) {
  base::RunResult result = Docker(arguments, input);
  EXPECT_EQ(result.exit.code, 0) << absl::StrCat(arguments[0], " …\n") << result.out << result.err;
  return std::string(absl::StripSuffix(result.out, "\n"));
}

base::Process DockerTest::DockerInBackground(std::vector<std::string> arguments,
                                             const std::string& log) {
  arguments.insert(arguments.begin(), DockerProgram());
  auto file = base::Open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
  EXPECT_TRUE(file.ok()) << file.status();
  auto process = base::Process::Spawn(
      {.argv = arguments, .env = docker_env(), .fds = {{1, file->get()}, {2, file->get()}}});
  EXPECT_TRUE(process.ok()) << process.status();
  return *std::move(process);
}

std::string DockerTest::Curl(const std::string& method, const std::string& path,
                             const std::string& body) {
  std::vector<std::string> argv = {"curl",           "-s", "--max-time", "20", "--unix-socket",
                                   docker_socket(),  "-X", method,       "-w", "\n%{http_code}",
                                   "http://d" + path};
  if (!body.empty()) {
    argv.insert(argv.end(), {"-H", "Content-Type: application/json", "--data-binary", "@-"});
  }
  base::RunResult result = tests::Run(argv, body);
  size_t line = result.out.rfind('\n');
  if (line == std::string::npos) return "";
  return absl::StrCat(result.out.substr(line + 1), " ", result.out.substr(0, line));
}

}  // namespace gantry::tests
