#include "tests/integration/gantryd_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/mount.h"

namespace gantry::tests {
namespace {

std::string EnvOr(const char* name, const char* otherwise) {
  const char* value = getenv(name);
  return value != nullptr ? value : otherwise;
}

// What GANTRY_TEST_CTR or GANTRY_TEST_DAEMON asks for. Empty: "sid", and there is none.
std::string Chosen(const char* variable, const std::string& sid_name,
                   const std::string& otherwise) {
  std::string chosen = EnvOr(variable, otherwise.c_str());
  if (chosen != "sid") return chosen;
  std::string dir = SidContainerd();
  return dir.empty() ? "" : absl::StrCat(dir, "/", sid_name);
}

const std::string& CtrProgram() {
  static const std::string program = Chosen("GANTRY_TEST_CTR", "ctr", "ctr");
  return program;
}

// Asked for anew each time: tests/security changes it.
std::string DaemonProgram() {
  return Chosen("GANTRY_TEST_DAEMON", "containerd", BinDir() + "/gantryd");
}

// Understood by gantryd and by containerd. The plugins are those with which two containerds on one
// machine would meet.
std::string DefaultConfig(const std::string& socket) {
  std::string off = absl::EndsWith(DaemonProgram(), "/gantryd")
                        ? ""
                        : "disabled_plugins = [\"io.containerd.grpc.v1.cri\", "
                          "\"io.containerd.cri.v1.images\", \"io.containerd.cri.v1.runtime\", "
                          "\"io.containerd.nri.v1.nri\", \"io.containerd.internal.v1.opt\"]\n";
  return absl::StrCat("version = 2\n", off, "[ttrpc]\n  address = \"", socket, ".ttrpc\"\n");
}

// Makes what is not there yet in the cache that all tests of a user share, under a lock because
// several programs run at once. Empty, with the reason on stderr, when it cannot be made.
std::string Cached(const std::string& name, const std::string& script, absl::Duration timeout) {
  std::string dir = EnvOr("GANTRY_TEST_CACHE", "/tmp/gantry-test-cache");
  EXPECT_TRUE(base::MakeDirs(dir).ok());
  std::string path = absl::StrCat(dir, "/", name);
  auto lock = base::Open(absl::StrCat(dir, "/", name, ".lock"), O_RDWR | O_CREAT, 0600);
  EXPECT_TRUE(lock.ok()) << lock.status();
  if (lock.ok()) flock(lock->get(), LOCK_EX);
  if (base::Exists(path)) return path;
  base::RunResult made = Run({SourceDir() + "/tests/images/" + script, path}, {}, timeout);
  if (made.exit.code == 0) return path;
  std::cerr << script << ": " << made.err << made.out << "\n";
  return "";
}

// The group of a containerd namespace itself is made implicitly by its first container and, as with
// runc, outlives the last one; empty, it is no leftover of a container.
void RemoveNamespaceCgroups(const std::string& ns) {
  auto controllers = base::ListDir("/sys/fs/cgroup");
  for (const std::string& name : controllers.ok() ? *controllers : std::vector<std::string>()) {
    rmdir(absl::StrCat("/sys/fs/cgroup/", name, "/", ns).c_str());
  }
  rmdir(absl::StrCat("/sys/fs/cgroup/", ns).c_str());
}

void FindCgroups(const std::string& dir, absl::string_view marker, int depth,
                 std::vector<std::string>* found) {
  auto names = base::ListDir(dir);
  if (!names.ok() || depth == 0) return;
  for (const std::string& name : *names) {
    std::string path = absl::StrCat(dir, "/", name);
    struct stat st;
    if (lstat(path.c_str(), &st) != 0 || !S_ISDIR(st.st_mode)) continue;
    if (absl::StrContains(name, marker)) found->push_back(absl::StrCat("cgroup ", path));
    FindCgroups(path, marker, depth - 1, found);
  }
}

}  // namespace

std::string BinDir() { return EnvOr("GANTRY_BIN_DIR", "build/bin"); }
std::string SourceDir() { return EnvOr("GANTRY_SOURCE_DIR", "."); }

base::RunResult Run(const std::vector<std::string>& argv, absl::string_view input,
                    absl::Duration timeout) {
  auto result = base::RunProcess({.argv = argv}, input, timeout);
  if (!result.ok()) {
    ADD_FAILURE() << absl::StrJoin(argv, " ") << ": " << result.status();
    return base::RunResult{.exit = {.code = -1}};
  }
  return *std::move(result);
}

std::string BusyboxImage() {
  std::string path = Cached("busybox.tar", "make-busybox", absl::Seconds(60));
  EXPECT_NE(path, "");
  return path;
}

std::string DebianImage() { return Cached("debian.tar", "make-debian", absl::Minutes(5)); }

std::string SidContainerd() {
  return Cached("sid-containerd", "fetch-sid-containerd", absl::Minutes(3));
}

std::vector<std::string> FindLeftovers(absl::string_view marker) {
  std::vector<std::string> found;
  if (auto mounts = base::ReadFile("/proc/self/mountinfo"); mounts.ok()) {
    for (absl::string_view line : absl::StrSplit(*mounts, '\n')) {
      if (absl::StrContains(line, marker)) found.push_back(absl::StrCat("mount ", line));
    }
  }
  FindCgroups("/sys/fs/cgroup", marker, 4, &found);
  auto pids = base::ListDir("/proc");
  for (const std::string& pid : pids.ok() ? *pids : std::vector<std::string>()) {
    int number;
    if (!absl::SimpleAtoi(pid, &number) || number == getpid()) continue;
    auto command = base::ReadFile(absl::StrCat("/proc/", pid, "/cmdline"));
    if (command.ok() && absl::StrContains(*command, marker)) {
      found.push_back(
          absl::StrCat("process ", pid, " ", absl::StrJoin(absl::StrSplit(*command, '\0'), " ")));
    }
  }
  return found;
}

void GantrydTest::SetUp() {
  if (CtrProgram().empty() || DaemonProgram().empty()) {
    GTEST_SKIP() << "sid's containerd cannot be fetched (see above)";
  }
  std::string id = absl::StrCat(getpid(), "-", base::RandomHex(4));
  dir_ = absl::StrCat("/tmp/gantry-test-", id);
  ns_ = absl::StrCat("test-", id);
  // Root of a user namespace comes by on the way to its root file system.
  ASSERT_TRUE(base::MakeDirs(dir_, 0711).ok());
}

void GantrydTest::TearDown() {
  if (dir_.empty()) return;  // skipped
  if (!running()) StartGantryd();
  // Whatever the test left running is ended through the front door.
  for (absl::string_view id :
       absl::StrSplit(Ctr({"task", "ls", "-q"}).out, '\n', absl::SkipEmpty())) {
    Ctr({"task", "rm", "--force", std::string(id)});
  }
  for (absl::string_view id :
       absl::StrSplit(Ctr({"container", "ls", "-q"}).out, '\n', absl::SkipEmpty())) {
    Ctr({"container", "rm", std::string(id)});
  }
  StopGantryd();
  // Shims say goodbye asynchronously.
  std::vector<std::string> leftovers;
  for (int i = 0; i < 50; ++i) {
    RemoveNamespaceCgroups(ns_);
    leftovers = FindLeftovers(ns_);
    for (std::string& more : FindLeftovers(dir_)) leftovers.push_back(std::move(more));
    if (leftovers.empty()) break;
    absl::SleepFor(absl::Milliseconds(100));
  }
  EXPECT_TRUE(leftovers.empty()) << "left behind:\n" << absl::StrJoin(leftovers, "\n");
  if (HasFailure()) {
    auto log = base::ReadFile(dir_ + "/gantryd.log", 64 << 20);
    if (log.ok())
      std::cerr << "--- gantryd.log (end)\n"
                << log->substr(log->size() > 20000 ? log->size() - 20000 : 0);
  }
  for (const std::string& line : leftovers) {
    std::vector<std::string> words = absl::StrSplit(line, ' ');
    if (words[0] == "process") {
      int pid;
      if (absl::SimpleAtoi(words[1], &pid)) kill(pid, SIGKILL);
    } else if (words[0] == "mount" && words.size() > 5) {
      base::UnmountAll(words[5]).IgnoreError();
    }
  }
  EXPECT_TRUE(base::RemoveTree(dir_).ok());
}

void GantrydTest::StartGantryd(const std::vector<std::string>& arguments) {
  ASSERT_FALSE(running());
  std::vector<std::string> argv = {DaemonProgram(), "--root", root(),        "--state", state(),
                                   "--address",     socket(), "--log-level", "debug"};
  ASSERT_TRUE(
      base::ReplaceFile(dir_ + "/config.toml", config.empty() ? DefaultConfig(socket()) : config)
          .ok());
  argv.push_back("--config");
  argv.push_back(dir_ + "/config.toml");
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  auto log = base::Open(dir_ + "/gantryd.log", O_WRONLY | O_CREAT | O_APPEND, 0600);
  ASSERT_TRUE(log.ok()) << log.status();
  // containerd finds its shim beside it only after it has looked in $PATH.
  std::string path = DaemonProgram().substr(0, DaemonProgram().rfind('/'));
  std::vector<std::string> env = daemon_env;
  env.push_back(absl::StrCat("PATH=", path, ":", getenv("PATH")));
  auto process =
      base::Process::Spawn({.argv = argv, .env = env, .fds = {{1, log->get()}, {2, log->get()}}});
  ASSERT_TRUE(process.ok()) << process.status();
  daemon_ = *std::move(process);
  for (int i = 0; i < 600; ++i) {
    if (tests::Run({CtrProgram(), "-a", socket(), "version"}).exit.code == 0) return;
    if (daemon_->Wait(absl::Milliseconds(50)).ok()) break;
  }
  daemon_.reset();
  auto text = base::ReadFile(dir_ + "/gantryd.log");
  FAIL() << "gantryd did not start:\n" << (text.ok() ? *text : "");
}

void GantrydTest::StopGantryd() {
  if (!running()) return;
  EXPECT_TRUE(daemon_->Signal(SIGTERM).ok());
  auto exit = daemon_->Wait(absl::Seconds(20));
  EXPECT_TRUE(exit.ok()) << "gantryd does not stop on SIGTERM";
  if (!exit.ok()) {
    KillGantryd();
    return;
  }
  EXPECT_EQ(exit->code, 0);
  daemon_.reset();
}

void GantrydTest::KillGantryd() {
  ASSERT_TRUE(running());
  daemon_->Signal(SIGKILL).IgnoreError();
  daemon_->Wait().IgnoreError();
  daemon_.reset();
}

base::ExitStatus GantrydTest::WaitForGantryd(absl::Duration timeout) {
  auto exit = daemon_->Wait(timeout);
  EXPECT_TRUE(exit.ok()) << "gantryd still runs";
  if (!exit.ok()) return {};
  daemon_.reset();
  return *exit;
}

bool GantrydTest::is_gantryd() { return absl::EndsWith(DaemonProgram(), "/gantryd"); }

int GantrydTest::ctr_major() {
  static const bool old =
      absl::StrContains(tests::Run({CtrProgram(), "--version"}).out, "containerd 1.");
  return old ? 1 : 2;
}

std::vector<std::string> GantrydTest::CtrCommand() const {
  return {CtrProgram(), "-a", socket(), "-n", ns_};
}

base::RunResult GantrydTest::Ctr(std::vector<std::string> arguments, absl::string_view input) {
  std::vector<std::string> argv = CtrCommand();
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  return tests::Run(argv, input);
}

base::RunResult GantrydTest::Gantryctl(std::vector<std::string> arguments,
                                       absl::string_view input) {
  std::vector<std::string> argv = {BinDir() + "/gantryctl", "-a", socket(), "-n", ns_};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  return tests::Run(argv, input);
}

std::string GantrydTest::CtrOk(std::vector<std::string> arguments, absl::string_view input) {
  base::RunResult result = Ctr(arguments, input);
  EXPECT_EQ(result.exit.code, 0) << "ctr " << absl::StrJoin(arguments, " ") << "\n"
                                 << result.out << result.err;
  return result.out;
}

std::string GantrydTest::GantryctlOk(std::vector<std::string> arguments, absl::string_view input) {
  base::RunResult result = Gantryctl(arguments, input);
  EXPECT_EQ(result.exit.code, 0) << "gantryctl " << absl::StrJoin(arguments, " ") << "\n"
                                 << result.out << result.err;
  return result.out;
}

void GantrydTest::ImportBusybox() { CtrOk({"image", "import", BusyboxImage()}); }

}  // namespace gantry::tests
