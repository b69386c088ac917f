// gantry-oci as a program, the way containerd's runc shim calls it.

#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
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

using ::testing::AnyOf;
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
  base::RunResult exec =
      Call({"exec", "--user", "1000:1000", "--cwd", "/tmp", "--env", "A=b", "--env", "PATH=/bin:/x",
            bundle_.id(), "sh", "-c", "id -u; pwd; echo $A; echo $PATH; exit 9"});
  EXPECT_EQ(exec.out, "1000\n/tmp\nb\n/bin:/x\n");
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

TEST_F(CliTest, UpdatesAndMeasures) {
  SaveSpec("exec >/dev/null 2>&1 </dev/null; sleep 100");
  ASSERT_EQ(Call({"run", "-d", "-b", bundle_.dir(), bundle_.id()}).exit.code, 0);
  EXPECT_EQ(Call({"update", bundle_.id()}).exit.code, 1);
  EXPECT_THAT(Call({"update", "--memory", "12x", bundle_.id()}).err, HasSubstr("--memory"));
  base::RunResult update =
      Call({"update", "--memory", "64m", "--pids-limit", "77", "--cpu-share", "512", bundle_.id()});
  EXPECT_EQ(update.exit.code, 0) << update.err;
  auto event = base::ParseJson(Call({"events", "--stats", bundle_.id()}).out);
  ASSERT_TRUE(event.ok()) << event.status();
  EXPECT_EQ(base::JsonString(*event, "type"), "stats");
  EXPECT_EQ(base::JsonString(*event, "id"), bundle_.id());
  EXPECT_EQ((*event)["data"]["memory"]["usage"]["limit"], 64 << 20);
  EXPECT_EQ((*event)["data"]["pids"]["limit"], 77);
  EXPECT_THAT(Call({"events", "--interval", "0s", bundle_.id()}).err, HasSubstr("greater than 0"));
  EXPECT_THAT(Call({"ps", bundle_.id(), "-o", "pid,comm"}).out, HasSubstr("sleep"));
  // The number on a machine whose user database does not know root.
  EXPECT_THAT(Call({"list"}).out, AnyOf(HasSubstr("  root"), HasSubstr("  #0")));
  EXPECT_EQ(Call({"list", "--format", "xml"}).exit.code, 1);
}

// The directory of the container's socket lies on the host: the test speaks in the program's place.
TEST_F(CliTest, PassesReadinessOn) {
  std::string path = bundle_.dir() + "/host.sock";
  base::UniqueFd host(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  auto address = [](const std::string& text) {
    sockaddr_un out = {};
    out.sun_family = AF_UNIX;
    strncpy(out.sun_path, text.c_str(), sizeof out.sun_path - 1);
    return out;
  };
  sockaddr_un own = address(path);
  ASSERT_EQ(bind(host.get(), reinterpret_cast<sockaddr*>(&own), sizeof own), 0);
  SaveSpec(
      "exec 2>&1 </dev/null; echo $NOTIFY_SOCKET > /run/seen; test -S $NOTIFY_SOCKET || exit 1; "
      "exec sleep 100");
  base::SpawnOptions run;
  run.argv = {program_, "--root", bundle_.dir() + "/oci", "run",
              "-d",     "-b",     bundle_.dir(),          bundle_.id()};
  run.env = {"NOTIFY_SOCKET=" + path};
  auto process = base::Process::Spawn(run);
  ASSERT_TRUE(process.ok());
  sockaddr_un inside = address(bundle_.dir() + "/oci/" + bundle_.id() + "/notify/notify.sock");
  base::UniqueFd program(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  std::string text = "STATUS=x\nREADY=1\n";
  bool sent = false;
  for (int i = 0; i < 500 && !sent; ++i, usleep(10000)) {
    sent = sendto(program.get(), text.data(), text.size(), 0, reinterpret_cast<sockaddr*>(&inside),
                  sizeof inside) > 0;
  }
  ASSERT_TRUE(sent);
  EXPECT_EQ(process->Wait(absl::Seconds(20))->code, 0);  // not before it is ready
  char answer[256] = {};
  ASSERT_GT(recv(host.get(), answer, sizeof answer - 1, MSG_DONTWAIT), 0);
  auto state = base::ParseJson(Call({"state", bundle_.id()}).out);
  EXPECT_EQ(answer, absl::StrCat("READY=1\nMAINPID=", base::JsonInt(*state, "pid"), "\n"));
  EXPECT_EQ(Call({"exec", bundle_.id(), "cat", "/run/seen"}).out, "/run/notify/notify.sock\n");
}

TEST_F(CliTest, WritesASpecForUsersWithoutPrivileges) {
  ASSERT_EQ(Call({"spec", "--rootless", "-b", bundle_.dir()}).exit.code, 0);
  auto spec = ParseSpec(base::ReadFile(bundle_.dir() + "/config.json").value_or(""));
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_NE(spec->FindNamespace(CLONE_NEWUSER), nullptr);
  EXPECT_EQ(spec->FindNamespace(CLONE_NEWNET), nullptr);
  ASSERT_EQ(spec->linux_.uid_mappings.size(), 1u);
  EXPECT_EQ(spec->linux_.uid_mappings[0].host_id, geteuid());
}

TEST_F(CliTest, RefusesWhatItDoesNotKnow) {
  EXPECT_EQ(Call({"frobnicate"}).exit.code, 1);
  EXPECT_THAT(Call({"create", "--frob", "x"}).err, HasSubstr("--frob"));
  EXPECT_THAT(Call({"state", "../../etc"}).err, HasSubstr("invalid container ID"));
  auto features = base::ParseJson(Call({"features"}).out);
  ASSERT_TRUE(features.ok());
  EXPECT_EQ(base::JsonString(*features, "ociVersionMin"), "1.0.0");
  EXPECT_EQ(Call({"--log-format", "xml", "list"}).exit.code, 1);
  EXPECT_EQ(Call({"--log", "/nosuch/log", "list"}).exit.code, 1);
  EXPECT_THAT(Call({"exec", "--help"}).out, HasSubstr("--ignore-paused"));
}

}  // namespace
}  // namespace gantry::oci
