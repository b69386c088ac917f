#include "tests/security/daemon_fixture.h"

#include <grp.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"

namespace gantry::tests {
namespace {
namespace fs = std::filesystem;
}  // namespace

void DaemonAttack::MustHoldHere(std::initializer_list<Mistake> mistakes,
                                const std::function<void()>& attack) {
  MustHold(mistakes, [&] {
    attack();
    for (absl::string_view id :
         absl::StrSplit(Ctr({"container", "ls", "-q"}).out, '\n', absl::SkipEmpty())) {
      Ctr({"task", "rm", "--force", std::string(id)});
      Ctr({"container", "rm", std::string(id)});
    }
    StopGantryd();
  });
  unsetenv("GANTRY_TEST_DAEMON");
}

void DaemonAttack::Begin() {
  std::string shim = BinDir() + "/gantry-shim";
  unsetenv("GANTRY_TEST_DAEMON");
  if (!Makes(Mistake::kNone)) {
    setenv("GANTRY_TEST_DAEMON", (BinDir() + "/../tests/gantryd-mistaken").c_str(), 1);
    shim = BinDir() + "/../tests/gantry-shim-mistaken";
  }
  config = absl::StrCat("version = 2\n[ttrpc]\n  address = \"", socket(),
                        ".ttrpc\"\n[gantry]\n  shim = \"", shim, "\"\n");
  StartGantryd();
}

pid_t DaemonAttack::ShimOf(const std::string& id) const {
  for (const auto& entry : fs::directory_iterator("/proc")) {
    std::error_code error;
    fs::path cwd = fs::read_symlink(entry.path() / "cwd", error);
    if (!error && cwd == Bundle(id)) return atoi(entry.path().filename().c_str());
  }
  return -1;
}

int DaemonAttack::AsUser(uid_t uid, const std::function<int()>& body) {
  pid_t pid = fork();
  if (pid == 0) {
    if (setgroups(0, nullptr) != 0 || setresgid(uid, uid, uid) != 0 ||
        setresuid(uid, uid, uid) != 0) {
      _exit(100);
    }
    _exit(body());
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

Holdings HoldingsOf(pid_t pid) {
  Holdings now;
  std::string dir = absl::StrCat("/proc/", pid);
  auto fds = base::ListDir(dir + "/fd");
  now.descriptors = fds.ok() ? static_cast<int>(fds->size()) : 0;
  std::string status = base::ReadFile(dir + "/status").value_or("");
  for (absl::string_view line : absl::StrSplit(status, '\n')) {
    std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(": \t"), absl::SkipEmpty());
    if (words.size() < 2) continue;
    if (words[0] == "Threads") (void)absl::SimpleAtoi(words[1], &now.threads);
    if (words[0] == "VmRSS") (void)absl::SimpleAtoi(words[1], &now.rss_kib);
    if (words[0] == "VmHWM") (void)absl::SimpleAtoi(words[1], &now.peak_kib);
  }
  return now;
}

}  // namespace gantry::tests
