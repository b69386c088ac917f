#include "base/process.h"

#include <fcntl.h>
#include <signal.h>

#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::base {
namespace {

using ::testing::HasSubstr;

TEST(Process, CapturesOutputAndExitCode) {
  auto result = RunProcess({.argv = {"sh", "-c", "cat; echo err >&2; exit 7"}}, "input");
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->out, "input");
  EXPECT_EQ(result->err, "err\n");
  EXPECT_EQ(result->exit.code, 7);
}

TEST(Process, ReportsExecFailure) {
  EXPECT_EQ(Process::Spawn({.argv = {"/no/such/program"}}).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(Process::Spawn({.argv = {"no-such-program-here"}}).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(Process::Spawn({.argv = {"/etc/passwd"}}).status().code(),
            absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(Process::Spawn({.argv = {"true"}, .cwd = "/no/such"}).status().code(),
            absl::StatusCode::kNotFound);
}

TEST(Process, TimeoutKills) {
  auto result = RunProcess({.argv = {"sleep", "60"}}, "", absl::Milliseconds(200));
  EXPECT_EQ(result.status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(Process, SignalIsReported) {
  auto process = Process::Spawn({.argv = {"sleep", "60"}});
  ASSERT_TRUE(process.ok());
  EXPECT_EQ(process->Wait(absl::Milliseconds(20)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  ASSERT_TRUE(process->Signal(SIGTERM).ok());
  auto exit = process->Wait();
  ASSERT_TRUE(exit.ok());
  EXPECT_EQ(exit->code, 143);
  EXPECT_EQ(exit->signal, SIGTERM);
}

TEST(Process, ChildHasOnlyTheGivenDescriptors) {
  UniqueFd leaked(open("/dev/null", O_RDONLY));  // deliberately without O_CLOEXEC
  Pipe pipe = *MakePipe();
  auto process = Process::Spawn({.argv = {"sh", "-c", "ls /proc/self/fd | tr '\\n' ' ' >&5"},
                                 .fds = {{5, pipe.write.get()}}});
  ASSERT_TRUE(process.ok()) << process.status();
  pipe.write.Reset();
  EXPECT_EQ(*ReadFd(pipe.read.get()), "0 1 2 3 5 ") << "3 is ls's own directory";
  EXPECT_EQ(process->Wait()->code, 0);
}

TEST(Process, EnvironmentIsReplacedByName) {
  setenv("GANTRY_TEST_VALUE", "old", 1);
  auto result = RunProcess(
      {.argv = {"sh", "-c", "echo $GANTRY_TEST_VALUE"}, .env = {"GANTRY_TEST_VALUE=new"}});
  EXPECT_EQ(result->out, "new\n");
  result = RunProcess({.argv = {"/usr/bin/env"}, .env = {"A=b"}, .inherit_env = false});
  EXPECT_EQ(result->out, "A=b\n");
}

}  // namespace
}  // namespace gantry::base
