// gantry-oci as a program, the way containerd's runc shim calls it.

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "shim/oci/container_test_util.h"

namespace gantry::oci {
namespace {

using ::testing::HasSubstr;

class CliTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* bin = getenv("GANTRY_BIN_DIR");
    if (bin == nullptr) GTEST_SKIP() << "GANTRY_BIN_DIR is not set: run by ctest";
    program_ = absl::StrCat(bin, "/gantry-oci");
    bundle_.spec["linux"]["cgroupsPath"] = absl::StrCat("/", bundle_.options.ns, "/", bundle_.id());
  }
  void TearDown() override {
    if (!program_.empty()) Call({"delete", "--force", bundle_.id()});
  }
  base::RunResult Call(std::vector<std::string> words) {
    base::SpawnOptions options;
    options.argv = {
        program_,       "--root", bundle_.dir() + "/oci", "--log", bundle_.dir() + "/log",
        "--log-format", "json"};
    options.argv.insert(options.argv.end(), words.begin(), words.end());
    auto result = base::RunProcess(options, "", absl::Seconds(20));
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *result : base::RunResult();
  }
  void SaveSpec(const std::string& script) {
    bundle_.Script(script);
    WriteTestFile(bundle_.dir() + "/config.json", bundle_.spec.dump());
  }
  std::string Status() {
    auto state = base::ParseJson(Call({"state", bundle_.id()}).out);
    return state.ok() ? base::JsonString(*state, "status") : "none";
  }

  TestBundle bundle_;
  std::string program_;
};

TEST_F(CliTest, RunsInTheForeground) {
  SaveSpec("echo out; echo err >&2; exit 5");
  base::RunResult run = Call({"run", "--bundle", bundle_.dir(), bundle_.id()});
  EXPECT_EQ(run.exit.code, 5);
  EXPECT_EQ(run.out, "out\n");
  EXPECT_EQ(run.err, "err\n");
  EXPECT_EQ(Call({"state", bundle_.id()}).exit.code, 1);  // gone
}

TEST_F(CliTest, GoesThroughALife) {
  // Its stdio must not be the pipes of the call, which would then never end.
  SaveSpec("exec >/dev/null 2>&1 </dev/null; sleep 100");
  std::string pid_file = bundle_.dir() + "/pid";
  base::SpawnOptions create;
  create.argv = {program_,     "--root",   bundle_.dir() + "/oci",
                 "create",     "--bundle", bundle_.dir(),
                 "--pid-file", pid_file,   bundle_.id()};
  auto process = base::Process::Spawn(create);  // stdio: /dev/null
  ASSERT_TRUE(process.ok());
  ASSERT_EQ(process->Wait(absl::Seconds(20))->code, 0);
  EXPECT_EQ(Status(), "created");
  EXPECT_EQ(Call({"create", "-b", bundle_.dir(), bundle_.id()}).exit.code, 1);  // exists
  int pid = 0;
  ASSERT_TRUE(absl::SimpleAtoi(base::ReadFile(pid_file).value_or(""), &pid));
  // CVE-2019-5736: what the container could open as the engine's program cannot be written.
  // (While it runs, an open for writing would fail anyhow.)
  struct statvfs fs;
  ASSERT_EQ(statvfs(absl::StrCat("/proc/", pid, "/exe").c_str(), &fs), 0);
  EXPECT_NE(fs.f_flag & ST_RDONLY, 0u);

  EXPECT_EQ(Call({"start", bundle_.id()}).exit.code, 0);
  EXPECT_EQ(Status(), "running");
  EXPECT_EQ(Call({"start", bundle_.id()}).exit.code, 1);
  EXPECT_THAT(Call({"list"}).out, HasSubstr(bundle_.id()));
  EXPECT_THAT(Call({"ps", "--format", "json", bundle_.id()}).out, HasSubstr(absl::StrCat(pid)));
  base::RunResult exec = Call({"exec", "--user", "1000:1000", "--cwd", "/tmp", "--env", "A=b",
                               bundle_.id(), "sh", "-c", "id -u; pwd; echo $A; exit 9"});
  EXPECT_EQ(exec.out, "1000\n/tmp\nb\n");
  EXPECT_EQ(exec.exit.code, 9);
  for (const char* user : {"1x", "-1", "4294967296", "", "root", " 1"}) {
    EXPECT_EQ(Call({"exec", "--user", user, bundle_.id(), "true"}).exit.code, 1) << user;
  }
  EXPECT_EQ(Call({"pause", bundle_.id()}).exit.code, 0);
  EXPECT_EQ(Status(), "paused");
  EXPECT_EQ(Call({"resume", bundle_.id()}).exit.code, 0);
  EXPECT_EQ(Call({"delete", bundle_.id()}).exit.code, 1);  // it runs
  EXPECT_EQ(Call({"kill", bundle_.id(), "KILL"}).exit.code, 0);
  EXPECT_EQ(TestBundle::Reap(pid), 137);  // we are the subreaper
  EXPECT_EQ(Status(), "stopped");
  EXPECT_EQ(Call({"kill", bundle_.id(), "KILL"}).exit.code, 1);
  EXPECT_EQ(Call({"delete", bundle_.id()}).exit.code, 0);
  EXPECT_EQ(Status(), "none");
}

TEST_F(CliTest, WritesErrorsToTheLogAsRuncDoes) {
  SaveSpec("");
  bundle_.spec["process"]["args"] = {"nosuch"};
  WriteTestFile(bundle_.dir() + "/config.json", bundle_.spec.dump());
  EXPECT_EQ(Call({"create", "--bundle", bundle_.dir(), bundle_.id()}).exit.code, 1);
  auto line = base::ParseJson(base::ReadFile(bundle_.dir() + "/log").value_or(""));
  ASSERT_TRUE(line.ok());
  EXPECT_EQ(base::JsonString(*line, "level"), "error");
  EXPECT_THAT(base::JsonString(*line, "msg"),
              HasSubstr("exec: \"nosuch\": executable file not found in $PATH"));
  EXPECT_EQ(Status(), "none");
}

TEST_F(CliTest, RefusesWhatItDoesNotKnow) {
  EXPECT_EQ(Call({"frobnicate"}).exit.code, 1);
  EXPECT_THAT(Call({"create", "--frob", "x"}).err, HasSubstr("--frob"));
  EXPECT_THAT(Call({"state", "../../etc"}).err, HasSubstr("invalid container ID"));
  auto features = base::ParseJson(Call({"features"}).out);
  ASSERT_TRUE(features.ok());
  EXPECT_EQ(base::JsonString(*features, "ociVersionMin"), "1.0.0");
}

}  // namespace
}  // namespace gantry::oci
