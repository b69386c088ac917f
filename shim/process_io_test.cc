#include "shim/process_io.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/event_loop.h"
#include "base/file.h"
#include "base/process.h"
#include "gtest/gtest.h"

namespace gantry::shim {
namespace {

// Runs real programs with the stdio under test and plays the client at the other ends.
class ProcessIoTest : public ::testing::Test {
 protected:
  void SetUp() override {
    signal(SIGPIPE, SIG_IGN);
    char name[] = "/tmp/gantry-io-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
    loop_.After(absl::Seconds(20), [this] {
      ADD_FAILURE() << "timed out";
      loop_.Stop();
    });
  }
  void TearDown() override { EXPECT_TRUE(base::RemoveTree(dir_).ok()); }

  std::string Fifo(const std::string& name) {
    std::string path = dir_ + "/" + name;
    EXPECT_EQ(mkfifo(path.c_str(), 0600), 0);
    return path;
  }
  base::Process Spawn(ProcessIo* io, const std::string& script) {
    base::SpawnOptions options;
    options.argv = {"/bin/sh", "-c", script};
    oci::ProcessIo fds = io->child_fds();
    if (fds.stdin_fd >= 0) options.fds.push_back({0, fds.stdin_fd});
    if (fds.stdout_fd >= 0) options.fds.push_back({1, fds.stdout_fd});
    if (fds.stderr_fd >= 0) options.fds.push_back({2, fds.stderr_fd});
    auto process = base::Process::Spawn(options);
    EXPECT_TRUE(process.ok()) << process.status();
    io->Attach({});
    return *std::move(process);
  }
  base::Process SpawnOnTerminal(ProcessIo* io, const std::string& script) {
    base::UniqueFd master(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    EXPECT_EQ(unlockpt(master.get()), 0);
    base::UniqueFd slave(open(ptsname(master.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
    EXPECT_TRUE(slave.valid());
    base::SpawnOptions options;
    options.argv = {"/bin/sh", "-c", script};
    options.fds = {{0, slave.get()}, {1, slave.get()}, {2, slave.get()}};
    auto process = base::Process::Spawn(options);
    EXPECT_TRUE(process.ok()) << process.status();
    slave.Reset();
    io->Attach(std::move(master));
    return *std::move(process);
  }
  absl::StatusOr<std::unique_ptr<ProcessIo>> Open(const StdioConfig& config) {
    std::optional<absl::StatusOr<std::unique_ptr<ProcessIo>>> opened;
    bool running = false;
    ProcessIo::Open(&loop_, config, [&](auto io) {
      opened = std::move(io);
      if (running) loop_.Stop();
    });
    running = true;
    if (!opened) {
      EXPECT_TRUE(loop_.Run().ok());
    }
    return *std::move(opened);
  }
  void RunUntilDrained(ProcessIo* io) {
    io->WhenDrained([this] { loop_.Stop(); });
    ASSERT_TRUE(loop_.Run().ok());
  }
  static std::string ReadNow(int fd) {
    std::string got(1 << 20, '\0');
    size_t size = 0;
    while (true) {
      ssize_t n = read(fd, got.data() + size, got.size() - size);
      if (n <= 0) break;
      size += n;
    }
    got.resize(size);
    return got;
  }

  std::string dir_;
  base::EventLoop loop_;
};

TEST_F(ProcessIoTest, FifosBothWays) {
  StdioConfig config{Fifo("in"), Fifo("out"), Fifo("err")};
  base::UniqueFd out(open(config.out.c_str(), O_RDONLY | O_NONBLOCK));
  base::UniqueFd err(open(config.err.c_str(), O_RDONLY | O_NONBLOCK));
  auto io = Open(config);
  ASSERT_TRUE(io.ok()) << io.status();
  base::Process process = Spawn(io->get(), "cat; echo problem >&2");
  base::UniqueFd in(open(config.in.c_str(), O_WRONLY | O_NONBLOCK));
  ASSERT_TRUE(base::WriteAll(in.get(), "through the program\n").ok());
  // The client leaves: the program must not see the end of its input yet.
  in.Reset();
  loop_.After(absl::Milliseconds(100), [&] {
    EXPECT_FALSE((*io)->drained());
    (*io)->CloseStdin();
  });
  RunUntilDrained(io->get());
  EXPECT_EQ(process.Wait()->code, 0);
  EXPECT_EQ(ReadNow(out.get()), "through the program\n");
  EXPECT_EQ(ReadNow(err.get()), "problem\n");
  // Our ends are closed: the client sees the end.
  char c;
  EXPECT_EQ(read(out.get(), &c, 1), 0);
}

TEST_F(ProcessIoTest, AClientThatLeavesDoesNotBreakTheProgram) {
  StdioConfig config{"", Fifo("out"), ""};
  auto io = Open(config);
  ASSERT_TRUE(io.ok()) << io.status();
  base::Process process = Spawn(io->get(), "echo one; sleep 0.2; echo two");
  {
    base::UniqueFd out(open(config.out.c_str(), O_RDONLY | O_NONBLOCK));
    EXPECT_TRUE(out.valid());
  }
  loop_.After(absl::Milliseconds(100), [&] {});
  RunUntilDrained(io->get());
  EXPECT_EQ(process.Wait()->code, 0);
}

TEST_F(ProcessIoTest, MuchOutputIntoAFileOfBothStreams) {
  std::string path = dir_ + "/logs/all";
  auto io = Open({"", "file://" + path, "file://" + path});
  ASSERT_TRUE(io.ok()) << io.status();
  base::Process process =
      Spawn(io->get(), "head -c 3000000 /dev/zero; head -c 5 /dev/zero >&2; exit 7");
  RunUntilDrained(io->get());
  EXPECT_EQ(process.Wait()->code, 7);
  struct stat st {};
  ASSERT_EQ(stat(path.c_str(), &st), 0);
  EXPECT_EQ(st.st_size, 3000005);
  EXPECT_EQ(st.st_mode & 0777, 0644u);
}

TEST_F(ProcessIoTest, EmptyMeansDevNull) {
  auto io = Open({});
  ASSERT_TRUE(io.ok());
  oci::ProcessIo fds = (*io)->child_fds();
  EXPECT_EQ(fds.stdin_fd, -1);
  EXPECT_EQ(fds.stdout_fd, -1);
  EXPECT_EQ(fds.stderr_fd, -1);
  EXPECT_TRUE((*io)->drained());
}

TEST_F(ProcessIoTest, AGrandchildThatHoldsTheOutputKeepsItUndrained) {
  auto io = Open({"", "file://" + dir_ + "/o", ""});
  ASSERT_TRUE(io.ok());
  base::Process process = Spawn(io->get(), "sleep 0.4 & echo done");
  EXPECT_EQ(process.Wait()->code, 0);
  (*io)->ProcessExited();
  EXPECT_FALSE((*io)->drained());
  (*io)->WhenFlushed(absl::Seconds(5), [this] { loop_.Stop(); });
  ASSERT_TRUE(loop_.Run().ok());
  EXPECT_EQ(*base::ReadFile(dir_ + "/o"), "done\n");
  EXPECT_FALSE((*io)->drained());
  RunUntilDrained(io->get());
}

TEST_F(ProcessIoTest, LoggingProgram) {
  std::string script = dir_ + "/logger";
  ASSERT_TRUE(base::WriteFile(
                  script,
                  absl::StrCat("#!/bin/sh\nexec 5>&-\necho \"$CONTAINER_NAMESPACE "
                               "$CONTAINER_ID $*\" > ",
                               dir_, "/args\ncat <&3 > ", dir_, "/out\ncat <&4 > ", dir_, "/err\n"),
                  0755)
                  .ok());
  StdioConfig config{"", "binary://" + script + "?k=v&flag", ""};
  config.container_id = "c1";
  config.ns = "n1";
  auto io = Open(config);
  ASSERT_TRUE(io.ok()) << io.status();
  base::Process process = Spawn(io->get(), "echo to-out; echo to-err >&2");
  EXPECT_EQ(process.Wait()->code, 0);
  (*io)->ProcessExited();
  EXPECT_FALSE((*io)->drained());
  RunUntilDrained(io->get());
  EXPECT_EQ(*base::ReadFile(dir_ + "/args"), "n1 c1 k v flag \n");
  EXPECT_EQ(*base::ReadFile(dir_ + "/out"), "to-out\n");
  EXPECT_EQ(*base::ReadFile(dir_ + "/err"), "to-err\n");
}

TEST_F(ProcessIoTest, ALoggingProgramThatIsNotReadyHoldsUpNobody) {
  std::string script = dir_ + "/logger";
  ASSERT_TRUE(base::WriteFile(script, "#!/bin/sh\nsleep 0.3; exec 5>&-; cat <&3\n", 0755).ok());
  int ticks = 0;
  std::function<void()> tick = [&] {
    ++ticks;
    loop_.After(absl::Milliseconds(10), tick);
  };
  tick();
  auto io = Open({"", "binary://" + script, ""});
  ASSERT_TRUE(io.ok()) << io.status();
  EXPECT_GT(ticks, 15);
}

TEST_F(ProcessIoTest, TerminalIntoALoggingProgram) {
  std::string script = dir_ + "/logger";
  ASSERT_TRUE(base::WriteFile(script,
                              absl::StrCat("#!/bin/sh\nexec 5>&-\ncat <&3 > ", dir_,
                                           "/out\ncat <&4 > ", dir_, "/err\n"),
                              0755)
                  .ok());
  StdioConfig config{"", "binary://" + script, ""};
  config.terminal = true;
  auto io = Open(config);
  ASSERT_TRUE(io.ok()) << io.status();
  base::Process process = SpawnOnTerminal(io->get(), "tty >/dev/null && echo on a terminal");
  RunUntilDrained(io->get());
  EXPECT_EQ(process.Wait()->code, 0);
  EXPECT_EQ(*base::ReadFile(dir_ + "/out"), "on a terminal\r\n");
  EXPECT_EQ(*base::ReadFile(dir_ + "/err"), "");
}

TEST_F(ProcessIoTest, AProgramOnATerminalOutlivesItsLoggingProgram) {
  std::string script = dir_ + "/logger";
  ASSERT_TRUE(base::WriteFile(script, "#!/bin/sh\nexec 5>&-\nread line <&3\n", 0755).ok());
  StdioConfig config{"", "binary://" + script, ""};
  config.terminal = true;
  auto io = Open(config);
  ASSERT_TRUE(io.ok()) << io.status();
  base::Process process =
      SpawnOnTerminal(io->get(), "echo one; sleep 0.3; head -c 1000000 /dev/zero; exit 4");
  RunUntilDrained(io->get());
  EXPECT_EQ(process.Wait()->code, 4);
}

TEST_F(ProcessIoTest, TerminalIntoFiles) {
  struct Case {
    const char *uri, *want;
  };
  for (const Case& test : {Case{"file://", "a line\r\n"}, Case{"json-file://", "a line\\r\\n"},
                           Case{"cri://", "stdout F a line\r\n"}}) {
    std::string path = absl::StrCat(dir_, "/", absl::string_view(test.uri, 3), ".log");
    StdioConfig config{"", test.uri + path, ""};
    config.terminal = true;
    auto io = Open(config);
    ASSERT_TRUE(io.ok()) << io.status();
    base::Process process = SpawnOnTerminal(io->get(), "echo a line");
    RunUntilDrained(io->get());
    EXPECT_EQ(process.Wait()->code, 0);
    EXPECT_NE(base::ReadFile(path)->find(test.want), std::string::npos) << *base::ReadFile(path);
  }
}

TEST_F(ProcessIoTest, ErrorsNameStreamAndPath) {
  auto missing = Open({dir_ + "/none", "", ""});
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(missing.status().message().find("stdin"), std::string::npos);
  EXPECT_NE(missing.status().message().find("/none"), std::string::npos);
  EXPECT_EQ(Open({"", "stream://x", ""}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Open({"", dir_, ""}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(Open({"", "binary:///nonexistent/logger", ""}).ok());
}

TEST_F(ProcessIoTest, TerminalOutputGoesOutAndInputComesIn) {
  StdioConfig config{Fifo("in"), Fifo("out"), ""};
  config.terminal = true;
  base::UniqueFd out(open(config.out.c_str(), O_RDONLY | O_NONBLOCK));
  auto io = Open(config);
  ASSERT_TRUE(io.ok()) << io.status();
  base::Process process = SpawnOnTerminal(io->get(), "read line; echo got $line; stty size");
  EXPECT_TRUE((*io)->Resize(123, 45).ok());
  EXPECT_FALSE((*io)->Resize(70000, 45).ok());
  base::UniqueFd in(open(config.in.c_str(), O_WRONLY | O_NONBLOCK));
  ASSERT_TRUE(base::WriteAll(in.get(), "typed\n").ok());
  RunUntilDrained(io->get());
  EXPECT_EQ(process.Wait()->code, 0);
  std::string got = ReadNow(out.get());
  EXPECT_NE(got.find("got typed"), std::string::npos) << got;
  EXPECT_NE(got.find("45 123"), std::string::npos) << got;
}

}  // namespace
}  // namespace gantry::shim
