// gantry-oci as a program: its command line, its own file, and what it inherits. Mistakes are made
// by gantry-oci-mistaken, the same objects with the layer of mistakes.h.

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/file.h"
#include "base/process.h"
#include "gmock/gmock.h"
#include "tests/security/attack.h"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

// A container made and entered by a copy of the program.
class Program {
 public:
  explicit Program(Attack* attack) : bundle_(&attack->bundle), path_(bundle_->dir() + "/program") {
    std::string bin = getenv("GANTRY_BIN_DIR");
    bool mistaken = !Makes(Mistake::kNone);
    fs::copy_file(bin + (mistaken ? "/../tests/gantry-oci-mistaken" : "/gantry-oci"), path_);
    bundle_->spec["linux"]["cgroupsPath"] =
        absl::StrCat("/", bundle_->options.ns, "/", bundle_->id());
  }
  ~Program() { Call({"delete", "--force", bundle_->id()}); }

  const std::string& path() const { return path_; }
  base::RunResult Call(std::vector<std::string> words) {
    base::SpawnOptions options;
    options.argv = {path_, "--root", bundle_->dir() + "/oci"};
    options.argv.insert(options.argv.end(), words.begin(), words.end());
    auto result = base::RunProcess(options, "", absl::Seconds(20));
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *result : base::RunResult{.exit = {.code = -1}};
  }
  void SaveSpec(const std::string& script) {
    bundle_->Script(script);
    oci::WriteTestFile(bundle_->dir() + "/config.json", bundle_->spec.dump());
  }
  // The script must not hold the pipes of the call.
  void Start() {
    SaveSpec("exec >/dev/null 2>&1 </dev/null; sleep 100");
    base::RunResult run = Call({"run", "--detach", "-b", bundle_->dir(), bundle_->id()});
    ASSERT_EQ(run.exit.code, 0) << run.err;
  }
  base::RunResult Exec(std::vector<std::string> flags, const std::vector<std::string>& command) {
    flags.insert(flags.begin(), "exec");
    flags.push_back(bundle_->id());
    flags.insert(flags.end(), command.begin(), command.end());
    return Call(flags);
  }
  base::RunResult RunScript(const std::string& script) {
    SaveSpec(script);
    return Call({"run", "-b", bundle_->dir(), bundle_->id()});
  }
  // Whatever comes of it: a program that is being written to cannot even be executed.
  void Try(const std::string& command) {
    base::SpawnOptions options;
    options.argv = {path_, "--root", bundle_->dir() + "/oci", "exec", bundle_->id(), command};
    (void)base::RunProcess(options, "", absl::Seconds(20));
  }
  base::UniqueFd Init() {
    auto state = base::ParseJson(Call({"state", bundle_->id()}).out);
    pid_t pid = state.ok() ? static_cast<pid_t>(base::JsonInt(*state, "pid")) : -1;
    return base::UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  }

 private:
  oci::TestBundle* bundle_;
  std::string path_;
};

// Holds on to a program that is none of the container's, and writes to it as soon as it can.
bool OverwritesTheEngine(pid_t pid) {
  char path[64], exe[256];
  snprintf(path, sizeof path, "/proc/%d/exe", pid);
  int held = open(path, O_PATH | O_CLOEXEC);
  if (held < 0) return false;
  snprintf(path, sizeof path, "/proc/self/fd/%d", held);
  ssize_t length = readlink(path, exe, sizeof exe);
  bool busybox = length > 0 && absl::EndsWith(absl::string_view(exe, length), "/busybox");
  bool overwritten = false;
  for (int i = 0; !busybox && !overwritten && i < 2000; ++i) {
    int out = open(path, O_WRONLY | O_CLOEXEC);  // ETXTBSY while it runs
    overwritten = out >= 0 && write(out, "#!/evil\n", 8) == 8;
    if (out >= 0) close(out);
    usleep(100);
  }
  close(held);
  return overwritten;
}

TEST(CVE_2019_5736, TheEngineIsNotOverwritten) {
  MustHold({Mistake::kWritableProgram}, [](Attack& attack) {
    attack.File("/evil", "#!/proc/self/exe\n", 0755);
    Program program(&attack);
    program.Start();
    std::string before = base::ReadFile(program.path(), 64 << 20).value_or("");
    {
      Hunter hunter(program.Init().get(), OverwritesTheEngine);
      for (int i = 0; i < 50 && hunter.Running(); ++i) program.Try("/evil");
      EXPECT_FALSE(hunter.Caught());
    }
    EXPECT_TRUE(base::ReadFile(program.path(), 64 << 20).value_or("") == before);
    attack.bundle.spec["process"]["args"] = {"/evil"};
    // As the first process: whatever it does, the file stays.
    base::Json spec = attack.bundle.spec;
    oci::WriteTestFile(attack.bundle.dir() + "/config.json", spec.dump());
    std::string second = absl::StrCat(attack.bundle.id(), "x");
    program.Call({"run", "-b", attack.bundle.dir(), second});
    EXPECT_TRUE(base::ReadFile(program.path(), 64 << 20).value_or("") == before);
  });
}

TEST(CVE_2026_30892, UsersOfExecAreExactOrRefused) {
  MustHold({Mistake::kBadNumbersAreZero}, [](Attack& attack) {
    Program program(&attack);
    program.Start();
    const std::vector<std::string> ids = {"sh", "-c", "echo $(id -u):$(id -g)"};
    for (const auto& [user, wanted] :
         std::map<std::string, std::string>{{"0", "0:0"},
                                            {"1", "1:0"},
                                            {"1:5", "1:5"},
                                            {"65534", "65534:0"},
                                            {"65534:65534", "65534:65534"}}) {
      EXPECT_EQ(program.Exec({"-u", user}, ids).out, wanted + "\n") << user;
    }
    for (const char* user : {"1:", ":5", "4294967295", "4294967296", "-1", "", " 1", "1x", "0x1",
                             "root", "1:-1", "1:4294967295", "+1", "1 "}) {
      base::RunResult run = program.Exec({absl::StrCat("--user=", user)}, ids);
      EXPECT_NE(run.exit.code, 0) << "\"" << user << "\": " << run.out;
      EXPECT_EQ(run.out, "") << user;
    }
  });
}

// Also with a program that has file capabilities of its own in the inheritable set.
TEST(CVE_2022_29162, ExecWithCapabilitiesInheritsNothing) {
  MustHold({Mistake::kInheritableCapabilities}, [](Attack& attack) {
    Program program(&attack);
    program.Start();
    const std::vector<std::string> status = {"grep", "Cap", "/proc/self/status"};
    for (const char* user : {"0", "1000"}) {
      base::RunResult run = program.Exec({"--cap", "CAP_SYS_ADMIN", "-u", user}, status);
      EXPECT_THAT(run.out, HasSubstr("CapInh:\t0000000000000000")) << run.err;
      EXPECT_THAT(run.out, HasSubstr("CapAmb:\t0000000000000000")) << run.err;
    }
    EXPECT_THAT(program.Exec({"-u", "1000"}, status).out, HasSubstr("CapEff:\t0000000000000000"));
  });
}

TEST(CVE_2024_21626, ExecCwdAndDescriptorsOfTheCaller) {
  MustHold({Mistake::kAnyWorkingDirectory}, [](Attack& attack) {
    std::vector<base::UniqueFd> held;
    for (int i = 0; i < 20; ++i) held.emplace_back(open("/", O_RDONLY));  // not close-on-exec
    Program program(&attack);
    program.Start();
    for (int fd = 3; fd < 30; ++fd) {
      std::string cwd = absl::StrCat("/proc/self/fd/", fd);
      base::RunResult run = program.Exec({"--cwd", cwd}, {"ls"});
      EXPECT_NE(run.exit.code, 0) << cwd << ": " << run.out;
    }
    EXPECT_EQ(program.Exec({}, {"ls", "/proc/self/fd"}).out, "0\n1\n2\n3\n");
  });
}

// Sizes that once wrapped around in a message of 16 bits, and left namespaces out.
TEST(CVE_2021_43784, HugeSpecsAreRefusedOrWhole) {
  MustHold({Mistake::kSharesNamespaces}, [](Attack& attack) {
    Program program(&attack);
    const base::Json spec = attack.bundle.spec;
    base::Json maps = base::Json::array();
    for (int i = 0; i < 5000; ++i) {
      maps.push_back({{"containerID", i}, {"hostID", 100000 + i}, {"size", 1}});
    }
    attack.bundle.spec["linux"]["uidMappings"] = attack.bundle.spec["linux"]["gidMappings"] = maps;
    attack.bundle.spec["linux"]["namespaces"].push_back({{"type", "user"}});
    EXPECT_NE(program.RunScript("true").exit.code, 0);
    attack.bundle.spec = spec;
    attack.AddBind("/" + std::string(70000, 'x'), "/mnt");
    EXPECT_THAT(program.RunScript("true").err, HasSubstr("mount"));
    attack.bundle.spec = spec;
    for (int i = 0; i < 600; ++i) attack.AddTmpfs(absl::StrCat("/m", i));
    attack.bundle.spec["process"]["env"].push_back("X=" + std::string(100000, 'x'));
    attack.bundle.spec["annotations"]["x"] = std::string(200000, 'y');
    base::RunResult run = program.RunScript(
        "for ns in pid ipc uts mnt net; do readlink /proc/self/ns/$ns; done; grep -c /m "
        "/proc/mounts");
    EXPECT_EQ(run.exit.code, 0) << run.err;
    EXPECT_THAT(run.out, HasSubstr("\n60"));
    for (const char* ns : {"pid", "ipc", "uts", "mnt", "net"}) {
      std::string host = fs::read_symlink(absl::StrCat("/proc/self/ns/", ns)).string();
      EXPECT_THAT(run.out, ::testing::Not(HasSubstr(host)));
    }
  });
}

}  // namespace
}  // namespace gantry::tests
