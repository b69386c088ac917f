#include "tests/security/attack.h"

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest-spi.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iostream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "gmock/gmock.h"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;

constexpr unsigned kSeconds = 30;

// Mounts of other tests come and go: here nobody else's are seen, and what leaks is seen by us. And
// the attacks succeed where a mistake is made: the root file system is read-only for them, but for
// where tests and daemons keep their files.
class OwnMounts : public ::testing::Environment {
 public:
  void SetUp() override {
    ASSERT_EQ(unshare(CLONE_NEWNS), 0) << "needs root";
    ASSERT_EQ(mount(nullptr, "/", nullptr, MS_PRIVATE | MS_REC, nullptr), 0);
    for (const char* ours : {"/tmp", "/run", "/var"}) {
      ASSERT_EQ(mount(ours, ours, nullptr, MS_BIND | MS_REC, nullptr), 0) << ours;
    }
    ASSERT_EQ(mount(nullptr, "/", nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr), 0);
    ASSERT_NE(access("/etc/passwd", W_OK), 0);
  }
};
[[maybe_unused]] auto* const own_mounts = ::testing::AddGlobalTestEnvironment(new OwnMounts);

void OutOfTime(int) {
  constexpr absl::string_view kText = "security test: no end within 30 s\n";
  [[maybe_unused]] ssize_t n = write(2, kText.data(), kText.size());
  _exit(1);
}

void RunInTime(const std::function<void()>& attack) {
  signal(SIGALRM, OutOfTime);
  alarm(kSeconds);
  attack();
  alarm(0);
}

// Failures of what runs inside its lifetime do not count; the first one is kept.
class Intercepted {
 public:
  explicit Intercepted(const std::function<void()>& body) {
    ::testing::ScopedFakeTestPartResultReporter all(
        ::testing::ScopedFakeTestPartResultReporter::INTERCEPT_ONLY_CURRENT_THREAD, &results_);
    body();
  }
  // Empty: everything held.
  std::string FirstFailure() const {
    for (int i = 0; i < results_.size(); ++i) {
      const ::testing::TestPartResult& result = results_.GetTestPartResult(i);
      if (result.failed()) {
        return absl::StrCat("line ", result.line_number(), ": ",
                            absl::StrJoin(absl::StrSplit(result.message(), '\n'), " | "));
      }
    }
    return {};
  }

 private:
  ::testing::TestPartResultArray results_;
};

std::string DescribeFile(const fs::directory_entry& entry) {
  struct stat st = {};
  lstat(entry.path().c_str(), &st);
  std::string text =
      absl::StrCat(entry.path().string(), " ", st.st_mode, " ", st.st_uid, ":", st.st_gid, " ");
  std::error_code error;
  if (S_ISLNK(st.st_mode)) absl::StrAppend(&text, fs::read_symlink(entry, error).string());
  if (S_ISREG(st.st_mode)) absl::StrAppend(&text, base::ReadFile(entry.path()).value_or("?"));
  return text;
}

}  // namespace

Swapper::Swapper(const std::string& a, const std::string& b) : pid_(fork()) {
  if (pid_ != 0) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  while (true) renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE);
}

Swapper::~Swapper() {
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

namespace {

constexpr uint32_t kDockerCaps = 0xa80425fb;

[[noreturn]] void Hunt(int init_pidfd, bool (*is_prey)(pid_t pid)) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct docker[2] = {{kDockerCaps, kDockerCaps, 0}, {}};
  if (setns(init_pidfd, CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC) != 0 ||
      syscall(SYS_capset, &header, docker) != 0) {
    _exit(2);
  }
  pid_t self = getpid();
  while (DIR* proc = opendir("/proc")) {
    while (dirent* entry = readdir(proc)) {
      pid_t pid = atoi(entry->d_name);
      if (pid > 1 && pid != self && is_prey(pid)) _exit(1);
    }
    closedir(proc);
  }
  _exit(3);
}

}  // namespace

Hunter::Hunter(int init_pidfd, bool (*is_prey)(pid_t pid)) {
  base::UniqueFd own(open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(setns(init_pidfd, CLONE_NEWPID), 0);  // for children only
  pid_ = fork();
  if (pid_ == 0) Hunt(init_pidfd, is_prey);
  EXPECT_EQ(setns(own.get(), CLONE_NEWPID), 0);
}

bool Hunter::Running() { return pid_ > 0 && waitpid(pid_, &status_, WNOHANG) == 0; }

bool Hunter::Caught() {
  if (pid_ > 0 && Running()) {
    kill(pid_, SIGKILL);
    waitpid(pid_, &status_, 0);
  }
  pid_ = -1;
  EXPECT_TRUE(WIFSIGNALED(status_) || WEXITSTATUS(status_) == 1) << "the hunter did not hunt";
  return WIFEXITED(status_) && WEXITSTATUS(status_) == 1;
}

std::vector<std::string> Describe(const std::string& dir) {
  std::vector<std::string> lines;
  lines.push_back(DescribeFile(fs::directory_entry(dir)));
  std::error_code error;
  for (const auto& entry : fs::recursive_directory_iterator(dir, error)) {
    lines.push_back(DescribeFile(entry));
  }
  std::sort(lines.begin(), lines.end());
  return lines;
}

Attack::Attack() : canary_(bundle.dir() + "/canary") {
  fs::create_directories(canary_ + "/dir");
  oci::WriteTestFile(canary_ + "/file", "untouched");
  oci::WriteTestFile(canary_ + "/ptmx", "untouched");
  oci::WriteTestFile(canary_ + "/secret", "only for the host", 0600);
  Remember();
}

std::vector<std::string> Attack::Host() const {
  std::vector<std::string> lines = Describe(canary_);
  lines.push_back(base::ReadFile("/proc/self/mountinfo").value_or("?"));
  return lines;
}

void Attack::ExpectHostUntouched() const {
  EXPECT_THAT(Host(), ::testing::ElementsAreArray(before_));
}

void Attack::Remove(const std::string& path) const { fs::remove_all(bundle.rootfs() + path); }

void Attack::Link(const std::string& path, const std::string& target) const {
  Remove(path);
  ASSERT_EQ(symlink(target.c_str(), (bundle.rootfs() + path).c_str()), 0) << path;
}

void Attack::Directory(const std::string& path) const {
  Remove(path);
  fs::create_directories(bundle.rootfs() + path);
}

void Attack::File(const std::string& path, const std::string& text, mode_t mode) const {
  Remove(path);
  oci::WriteTestFile(bundle.rootfs() + path, text, mode);
}

void Attack::AddTmpfs(const std::string& destination) {
  bundle.spec["mounts"].push_back(
      {{"destination", destination}, {"type", "tmpfs"}, {"source", "tmpfs"}});
}

void Attack::AddBind(const std::string& source, const std::string& destination,
                     const std::vector<std::string>& options) {
  bundle.spec["mounts"].push_back(
      {{"destination", destination}, {"type", "bind"}, {"source", source}, {"options", options}});
}

void Attack::DropMounts(absl::string_view prefix) {
  base::Json kept = base::Json::array();
  for (const auto& mount : bundle.spec["mounts"]) {
    std::string destination = mount["destination"];
    bool beneath = absl::StartsWith(destination, absl::StrCat(prefix, "/"));
    if (destination != prefix && !beneath) kept.push_back(mount);
  }
  bundle.spec["mounts"] = kept;
}

void Attack::SetUser(uint32_t uid, uint32_t gid) {
  bundle.spec["process"]["user"] = {{"uid", uid}, {"gid", gid}};
}

void MustHold(std::initializer_list<Mistake> mistakes, const std::function<void()>& attack) {
  Make(Mistake::kNone);
  RunInTime(attack);
  for (Mistake mistake : mistakes) {
    Make(mistake);
    std::string seen = Intercepted([&] { RunInTime(attack); }).FirstFailure();
    Make(Mistake::kNone);
    EXPECT_FALSE(seen.empty()) << "mistake " << static_cast<int>(mistake)
                               << " was made, and nobody noticed";
    std::cout << "  seen when mistake " << static_cast<int>(mistake)
              << " is made: " << absl::string_view(seen).substr(0, 200) << std::endl;
  }
}

void MustHold(std::initializer_list<Mistake> mistakes, const std::function<void(Attack&)>& attack) {
  MustHold(mistakes, std::function<void()>([&] {
             Attack fresh;
             attack(fresh);
             fresh.ExpectHostUntouched();
           }));
}

}  // namespace gantry::tests
