#include "shim/attach_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <optional>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/event_loop.h"
#include "base/file.h"
#include "base/process.h"
#include "gantry/shim/v1/attach.pb.h"
#include "gtest/gtest.h"
#include "shim/process_io.h"

namespace gantry::shim {
namespace {

base::UniqueFd ConnectTo(const std::string& path) {
  base::UniqueFd dir(open(path.substr(0, path.rfind('/')).c_str(), O_PATH | O_CLOEXEC));
  std::string near =
      absl::StrCat("/proc/self/fd/", dir.get(), "/", path.substr(path.rfind('/') + 1));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  strncpy(address.sun_path, near.c_str(), sizeof address.sun_path - 1);
  base::UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return {};
  EXPECT_EQ(fcntl(fd.get(), F_SETFL, O_NONBLOCK), 0);
  return fd;
}

std::string RequestBytes(bool in, bool out, bool err) {
  gantry::shim::v1::AttachRequest request;
  request.set_stdin(in);
  request.set_stdout(out);
  request.set_stderr(err);
  std::string body = request.SerializeAsString();
  uint32_t length = htonl(static_cast<uint32_t>(body.size()));
  return std::string(reinterpret_cast<char*>(&length), 4) + body;
}

// One client in the test's own loop: keeps what comes until the end of the stream.
class TestClient {
 public:
  TestClient(base::EventLoop* loop, const std::string& path, const std::string& request)
      : loop_(loop), fd_(ConnectTo(path)) {
    EXPECT_TRUE(fd_.valid());
    if (!fd_) return;
    EXPECT_TRUE(base::WriteAll(fd_.get(), request).ok());
    Listen();
  }
  ~TestClient() { Leave(); }

  void Listen() {
    EXPECT_TRUE(loop_->Add(fd_.get(), EPOLLIN, [this](uint32_t) { Read(); }).ok());
  }
  void Pause() { loop_->Remove(fd_.get()); }
  void Leave() {
    if (fd_) loop_->Remove(fd_.get());
    fd_.Reset();
  }
  void Type(const std::string& text) { EXPECT_TRUE(base::WriteAll(fd_.get(), text).ok()); }
  void EndInput() { EXPECT_EQ(shutdown(fd_.get(), SHUT_WR), 0); }
  bool welcome() const { return !got_.empty() && got_[0] == '\0'; }
  bool ended() const { return ended_; }
  int error() const { return error_; }
  const std::string& bytes() const { return got_; }
  int fd() const { return fd_.get(); }
  // What came in frames of one stream; the framing is checked.
  std::string Stream(int number) const {
    std::string text;
    size_t at = 1;
    while (at + 8 <= got_.size()) {
      uint32_t length;
      memcpy(&length, got_.data() + at + 4, 4);
      length = ntohl(length);
      EXPECT_TRUE(got_[at] == 1 || got_[at] == 2);
      EXPECT_EQ(got_.substr(at + 1, 3), std::string(3, '\0'));
      if (got_[at] == number) text.append(got_, at + 8, length);
      at += 8 + length;
    }
    EXPECT_EQ(at, got_.size());
    return text;
  }

 private:
  void Read() {
    char chunk[65536];
    ssize_t n = read(fd_.get(), chunk, sizeof chunk);
    if (n > 0) {
      got_.append(chunk, static_cast<size_t>(n));
      return;
    }
    if (n < 0) error_ = errno;
    ended_ = true;
    loop_->Remove(fd_.get());
    fd_.Reset();
  }

  base::EventLoop* loop_;
  base::UniqueFd fd_;
  std::string got_;
  bool ended_ = false;
  int error_ = 0;
};

size_t OpenDescriptors() { return base::ListDir("/proc/self/fd")->size(); }

int64_t ResidentKilobytes() {
  std::string status = *base::ReadFile("/proc/self/status");
  size_t at = status.find("VmRSS:");
  int64_t kilobytes = 0;
  std::string number = status.substr(at + 6, status.find("kB", at) - at - 6);
  EXPECT_TRUE(absl::SimpleAtoi(number, &kilobytes));
  return kilobytes;
}

class AttachTest : public ::testing::Test {
 protected:
  void SetUp() override {
    signal(SIGPIPE, SIG_IGN);
    char name[] = "/tmp/gantry-attach-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
    socket_ = dir_ + "/a.sock";
  }
  void TearDown() override {
    io_.reset();
    RunUntil([] { return AttachServer::retired() == 0; });
    EXPECT_TRUE(base::RemoveTree(dir_).ok());
  }

  void RunUntil(std::function<bool()> condition) {
    absl::Time limit = absl::Now() + absl::Seconds(20);
    std::function<void()> look = [&] {
      if (condition()) return loop_.Stop();
      if (absl::Now() > limit) {
        ADD_FAILURE() << "timed out";
        return loop_.Stop();
      }
      loop_.After(absl::Milliseconds(1), look);
    };
    look();
    ASSERT_TRUE(loop_.Run().ok());
  }
  void RunFor(absl::Duration time) {
    absl::Time end = absl::Now() + time;
    RunUntil([end] { return absl::Now() >= end; });
  }

  absl::Status Open(StdioConfig config) {
    std::optional<absl::Status> opened;
    ProcessIo::Open(&loop_, config, [&](auto io) {
      opened = io.status();
      if (io.ok()) io_ = *std::move(io);
    });
    RunUntil([&] { return opened.has_value(); });
    return *opened;
  }
  // stdout (and stdin when `in`) on the socket; `query` for either.
  StdioConfig OnSocket(bool in, const std::string& query = "") {
    std::string uri = absl::StrCat("attach://", socket_, query.empty() ? "" : "?", query);
    return {in ? uri : "", uri, ""};
  }
  void Start(const std::string& script) {
    base::SpawnOptions options;
    options.argv = {"/bin/sh", "-c", script};
    oci::ProcessIo fds = io_->child_fds();
    if (fds.stdin_fd >= 0) options.fds.push_back({0, fds.stdin_fd});
    if (fds.stdout_fd >= 0) options.fds.push_back({1, fds.stdout_fd});
    if (fds.stderr_fd >= 0) options.fds.push_back({2, fds.stderr_fd});
    Run(options, {});
  }
  void StartOnTerminal(const std::string& script) {
    base::UniqueFd master(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    EXPECT_EQ(unlockpt(master.get()), 0);
    base::UniqueFd slave(open(ptsname(master.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
    base::SpawnOptions options;
    options.argv = {"/bin/sh", "-c", script};
    options.fds = {{0, slave.get()}, {1, slave.get()}, {2, slave.get()}};
    Run(options, std::move(master));
  }
  void Run(const base::SpawnOptions& options, base::UniqueFd master) {
    auto process = base::Process::Spawn(options);
    ASSERT_TRUE(process.ok()) << process.status();
    process_ = *std::move(process);
    io_->Attach(std::move(master));
    // As the shim, which hears of its children's ends in its loop.
    ASSERT_TRUE(loop_
                    .Add(process_->pidfd(), EPOLLIN,
                         [this](uint32_t) {
                           loop_.Remove(process_->pidfd());
                           code_ = process_->Wait()->code;
                           io_->ProcessExited();
                         })
                    .ok());
  }
  void RunUntilDrained() {
    bool drained = false;
    io_->WhenDrained([&] { drained = true; });
    RunUntil([&] { return drained && code_.has_value(); });
  }
  std::unique_ptr<TestClient> Connect(bool in, bool out, bool err) {
    auto client = std::make_unique<TestClient>(&loop_, socket_, RequestBytes(in, out, err));
    RunUntil([&] { return client->welcome(); });
    return client;
  }

  std::string dir_, socket_;
  base::EventLoop loop_;
  std::unique_ptr<ProcessIo> io_;
  std::optional<base::Process> process_;
  std::optional<int> code_;
};

TEST_F(AttachTest, BothStreamsOfAShortProgramAndItsEnd) {
  ASSERT_TRUE(Open(OnSocket(false)).ok());
  struct stat st {};
  ASSERT_EQ(stat(socket_.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0600u);
  auto all = Connect(false, true, true), err = Connect(false, false, true);
  Start("printf one; printf two >&2; printf three");
  RunUntil([&] { return all->ended() && err->ended(); });
  EXPECT_EQ(all->Stream(1), "onethree");
  EXPECT_EQ(all->Stream(2), "two");
  EXPECT_EQ(err->Stream(1), "");
  EXPECT_EQ(err->Stream(2), "two");
  EXPECT_EQ(all->error(), 0);
  RunUntilDrained();
  EXPECT_FALSE(base::Exists(socket_));
}

TEST_F(AttachTest, ShortProgramsNeverLoseAByte) {
  for (int i = 0; i < 100; ++i) {
    code_.reset();
    ASSERT_TRUE(Open(OnSocket(false)).ok());
    auto client = Connect(false, true, true);
    Start("echo hello; echo world >&2");
    RunUntilDrained();
    io_.reset();
    RunUntil([&] { return client->ended(); });
    ASSERT_EQ(client->Stream(1), "hello\n");
    ASSERT_EQ(client->Stream(2), "world\n");
  }
}

TEST_F(AttachTest, TheLogGetsEverythingToo) {
  std::string log = dir_ + "/json.log";
  StdioConfig config{"",
                     absl::StrCat("json-file://", log, "?max-size=1m&attach=",
                                  absl::StrReplaceAll(socket_, {{"/", "%2F"}})),
                     ""};
  ASSERT_TRUE(Open(config).ok());
  auto client = Connect(false, true, true);
  Start("echo logged; echo bad >&2");
  RunUntilDrained();
  RunUntil([&] { return client->ended(); });
  EXPECT_EQ(client->Stream(1), "logged\n");
  EXPECT_EQ(client->Stream(2), "bad\n");
  std::string text = *base::ReadFile(log);
  EXPECT_TRUE(absl::StrContains(text, R"("log":"logged\n")")) << text;
  EXPECT_TRUE(absl::StrContains(text, R"("log":"bad\n")")) << text;
}

TEST_F(AttachTest, OutputWithoutClientsGoesToTheLogAlone) {
  std::string log = dir_ + "/raw.log";
  ASSERT_TRUE(Open({"", absl::StrCat("file://", log, "?attach=", socket_), ""}).ok());
  Start("head -c 3000000 /dev/zero; sleep 0.3; echo late");
  RunUntil([&] {
    struct stat st {};
    return stat(log.c_str(), &st) == 0 && st.st_size == 3000000;
  });
  auto client = Connect(false, true, true);
  RunUntil([&] { return client->ended(); });
  EXPECT_EQ(client->Stream(1), "late\n");
  RunUntilDrained();
}

TEST_F(AttachTest, InputAndItsEndWithStdinOnce) {
  ASSERT_TRUE(Open(OnSocket(true, "stdin-once=1")).ok());
  auto client = Connect(true, true, true);
  client->Type("typed before the start, ");
  Start("cat; echo end");
  client->Type("and after\n");
  client->EndInput();
  RunUntil([&] { return client->ended(); });
  EXPECT_EQ(client->Stream(1), "typed before the start, and after\nend\n");
  EXPECT_EQ(client->error(), 0);
  RunUntilDrained();
}

TEST_F(AttachTest, WithoutStdinOnceAnotherClientGoesOn) {
  ASSERT_TRUE(Open(OnSocket(true)).ok());
  Start("read a; read b; echo $a-$b");
  auto first = Connect(true, false, false);
  first->Type("one\n");
  first->EndInput();
  RunFor(absl::Milliseconds(100));
  EXPECT_FALSE(code_.has_value());
  auto second = Connect(true, true, false);
  second->Type("two\n");
  RunUntil([&] { return second->ended() && first->ended(); });
  EXPECT_EQ(second->Stream(1), "one-two\n");
  EXPECT_EQ(first->bytes().size(), 1u);
}

TEST_F(AttachTest, AClientThatVanishesWithStdinOnceEndsTheInput) {
  ASSERT_TRUE(Open(OnSocket(true, "stdin-once=1")).ok());
  auto client = Connect(true, true, false);
  auto watcher = Connect(false, true, false);
  Start("cat; echo gone");
  client->Type("last words\n");
  client->Leave();
  RunUntil([&] { return watcher->ended(); });
  EXPECT_EQ(watcher->Stream(1), "last words\ngone\n");
}

TEST_F(AttachTest, MuchInputWaitsForTheProgram) {
  ASSERT_TRUE(Open(OnSocket(true, "stdin-once=1")).ok());
  auto client = Connect(true, true, false);
  Start("sleep 0.2; wc -c");
  size_t left = 5'000'000;
  std::string chunk(50000, 'x');
  RunUntil([&] {
    ssize_t n = write(client->fd(), chunk.data(), std::min(left, chunk.size()));
    if (n > 0) left -= static_cast<size_t>(n);
    return left == 0;
  });
  client->EndInput();
  RunUntil([&] { return client->ended(); });
  EXPECT_EQ(client->Stream(1), "5000000\n");
}

TEST_F(AttachTest, AProgramThatReadsNoInputStopsNobody) {
  ASSERT_TRUE(Open(OnSocket(true)).ok());
  Start("exec <&-; sleep 0.2; echo done");
  auto client = Connect(true, true, false);
  size_t sent = 0;
  std::string chunk(50000, 'x');
  RunUntil([&] {
    ssize_t n = client->fd() < 0 ? 1 << 22 : write(client->fd(), chunk.data(), chunk.size());
    if (n > 0) sent += static_cast<size_t>(n);
    return sent > 2'000'000;
  });
  RunUntil([&] { return client->ended(); });
  EXPECT_EQ(client->Stream(1), "done\n");
  EXPECT_EQ(client->error(), 0);
}

TEST_F(AttachTest, WithoutAStdinUriTheProgramHasNone) {
  ASSERT_TRUE(Open(OnSocket(false)).ok());
  EXPECT_EQ(io_->child_fds().stdin_fd, -1);
  auto client = Connect(true, true, false);
  client->Type("nobody reads this");
  Start("echo x");
  RunUntil([&] { return client->ended(); });
  EXPECT_EQ(client->Stream(1), "x\n");
  EXPECT_EQ(client->error(), 0);
}

TEST_F(AttachTest, ASlowClientHoldsTheProgramUpAndLosesNothing) {
  ASSERT_TRUE(Open(OnSocket(false)).ok());
  auto slow = Connect(false, true, true), fast = Connect(false, true, true);
  slow->Pause();
  Start("head -c 8000000 /dev/zero; echo end");
  RunFor(absl::Milliseconds(500));
  EXPECT_FALSE(code_.has_value());
  EXPECT_GT(fast->bytes().size(), 1u << 20);
  EXPECT_LT(fast->bytes().size(), 3u << 20);
  slow->Listen();
  RunUntil([&] { return slow->ended() && fast->ended(); });
  EXPECT_EQ(slow->Stream(1).size(), 8000004u);
  EXPECT_EQ(fast->Stream(1).size(), 8000004u);
}

TEST_F(AttachTest, ASlowClientThatVanishesHoldsUpNobody) {
  ASSERT_TRUE(Open(OnSocket(false)).ok());
  auto slow = Connect(false, true, true);
  slow->Pause();
  Start("head -c 8000000 /dev/zero");
  RunFor(absl::Milliseconds(300));
  EXPECT_FALSE(code_.has_value());
  slow->Leave();
  RunUntilDrained();
  EXPECT_EQ(code_, 0);
}

// The task is deleted under a client that has not taken everything.
TEST_F(AttachTest, WhatIsDueIsHandedOnAfterTheProcess) {
  ASSERT_TRUE(Open(OnSocket(false)).ok());
  auto slow = Connect(false, true, true);
  slow->Pause();
  Start("head -c 1250000 /dev/zero; echo end");
  RunUntil([&] { return code_.has_value(); });
  EXPECT_FALSE(io_->drained());
  RunFor(absl::Milliseconds(50));
  io_.reset();
  EXPECT_EQ(AttachServer::retired(), 1);
  EXPECT_FALSE(base::Exists(socket_));
  slow->Listen();
  RunUntil([&] { return slow->ended(); });
  EXPECT_EQ(slow->Stream(1).size(), 1250004u);
  RunUntil([] { return AttachServer::retired() == 0; });
}

TEST_F(AttachTest, WithAttachWaitTheFirstClientGetsWhatCameBefore) {
  std::string log = dir_ + "/raw.log";
  ASSERT_TRUE(Open({"", absl::StrCat("file://", log, "?attach-wait=1&attach=", socket_), ""}).ok());
  Start("echo early; echo problem >&2; echo more");
  RunUntil([&] { return code_.has_value(); });
  RunFor(absl::Milliseconds(50));
  EXPECT_FALSE(io_->drained());
  // The log does not wait.
  EXPECT_EQ(base::ReadFile(log)->size(), strlen("early\nproblem\nmore\n"));
  auto client = Connect(false, true, true);
  RunUntil([&] { return client->ended(); });
  EXPECT_EQ(client->Stream(1), "early\nmore\n");
  EXPECT_EQ(client->Stream(2), "problem\n");
  RunUntilDrained();
  EXPECT_FALSE(base::Exists(socket_));
}

TEST_F(AttachTest, WithAttachWaitAProgramThatWritesMuchWaits) {
  ASSERT_TRUE(Open(OnSocket(false, "attach-wait=1")).ok());
  Start("head -c 4000000 /dev/zero");
  RunFor(absl::Milliseconds(300));
  EXPECT_FALSE(code_.has_value());
  auto first = Connect(false, true, false);
  auto second = Connect(false, true, false);
  RunUntil([&] { return first->ended() && second->ended(); });
  EXPECT_EQ(first->Stream(1).size(), 4000000u);
  EXPECT_LT(second->Stream(1).size(), 4000000u);
}

TEST_F(AttachTest, TerminalBothWaysAndSeveralClients) {
  StdioConfig config = OnSocket(true, "stdin-once=1");
  config.terminal = true;
  ASSERT_TRUE(Open(config).ok());
  auto one = Connect(true, true, true), two = Connect(true, true, false);
  StartOnTerminal("stty -echo; echo ready; read a; read b; echo $a+$b; stty size");
  EXPECT_TRUE(io_->Resize(80, 24).ok());
  RunUntil([&] { return absl::StrContains(one->bytes(), "ready"); });
  one->Type("x\n");
  one->EndInput();  // on a terminal others go on
  RunFor(absl::Milliseconds(50));
  two->Type("y\n");
  RunUntil([&] { return one->ended() && two->ended(); });
  EXPECT_TRUE(absl::StrContains(two->bytes(), "x+y\r\n24 80\r\n")) << two->bytes();
  EXPECT_EQ(one->bytes(), two->bytes());
  RunUntilDrained();
}

TEST_F(AttachTest, CloseStdinEndsTheInput) {
  ASSERT_TRUE(Open(OnSocket(true)).ok());
  auto client = Connect(true, true, true);
  client->Type("rest");
  Start("cat");
  io_->CloseStdin();
  RunUntil([&] { return client->ended(); });
  EXPECT_EQ(client->Stream(1), "rest");
}

TEST_F(AttachTest, BadRequestsAreRefusedWithAReason) {
  ASSERT_TRUE(Open(OnSocket(false)).ok());
  struct Case {
    std::string bytes, want;
  };
  for (const Case& test : {Case{std::string("\0\0\x10\x01", 4), "longer than 4096"},
                           Case{std::string("\xff\xff\xff\xff", 4), "longer than 4096"},
                           Case{std::string("\0\0\0\2\xff\xff", 6), "malformed"}}) {
    TestClient client(&loop_, socket_, test.bytes);
    RunUntil([&] { return client.ended(); });
    EXPECT_EQ(client.bytes().substr(0, 1), "\1");
    EXPECT_TRUE(absl::StrContains(client.bytes(), test.want)) << client.bytes();
  }
  // Byte by byte is fine.
  std::string request = RequestBytes(false, true, false);
  TestClient client(&loop_, socket_, "");
  for (char c : request) {
    client.Type(std::string(1, c));
    RunFor(absl::Milliseconds(2));
  }
  RunUntil([&] { return client.welcome(); });
}

TEST_F(AttachTest, NumberOfClientsIsLimited) {
  ASSERT_TRUE(Open(OnSocket(false)).ok());
  std::vector<std::unique_ptr<TestClient>> clients;
  for (int i = 0; i < 256; ++i) clients.push_back(Connect(false, true, true));
  TestClient extra(&loop_, socket_, "");
  RunUntil([&] { return extra.ended(); });
  EXPECT_TRUE(absl::StrContains(extra.bytes(), "too many clients")) << extra.bytes();
  Start("echo all");
  RunUntil([&] {
    return std::all_of(clients.begin(), clients.end(),
                       [](auto& client) { return client->ended(); });
  });
  for (auto& client : clients) ASSERT_EQ(client->Stream(1), "all\n");
}

TEST_F(AttachTest, ManyClientsComeAndGo) {
  ASSERT_TRUE(Open(OnSocket(true)).ok());
  Start("while :; do echo tick; sleep 0.01; done");
  auto churn = [&](int times) {
    for (int i = 0; i < times; ++i) {
      TestClient client(&loop_, socket_, RequestBytes(i % 2 == 0, true, true));
      if (i % 3 == 0) continue;  // leaves at once
      RunUntil([&] { return client.welcome(); });
    }
    RunFor(absl::Milliseconds(50));
  };
  churn(500);
  size_t descriptors = OpenDescriptors();
  [[maybe_unused]] int64_t before = ResidentKilobytes();
  churn(10000);
  EXPECT_EQ(OpenDescriptors(), descriptors);
#if !defined(__SANITIZE_ADDRESS__)  // its allocator keeps what is freed, to notice later uses
  EXPECT_LT(ResidentKilobytes() - before, 512);
#endif
  ASSERT_TRUE(process_->Signal(SIGKILL).ok());
  RunUntilDrained();
}

TEST_F(AttachTest, PathsMayBeLongerThanASocketAddress) {
  std::string deep = dir_;
  for (int i = 0; i < 5; ++i) deep += "/" + std::string(60, 'd');
  ASSERT_TRUE(base::MakeDirs(deep).ok());
  socket_ = deep + "/attach.sock";
  ASSERT_TRUE(Open(OnSocket(false)).ok());
  auto client = Connect(false, true, true);
  Start("echo deep");
  RunUntil([&] { return client->ended(); });
  EXPECT_EQ(client->Stream(1), "deep\n");
}

TEST_F(AttachTest, AnOldSocketIsReplacedAndTheNextOneIsLeft) {
  ASSERT_TRUE(Open(OnSocket(false)).ok());
  std::unique_ptr<ProcessIo> old = std::move(io_);
  ASSERT_TRUE(Open(OnSocket(false)).ok());
  old.reset();
  auto client = Connect(false, true, true);
  io_.reset();
  RunUntil([&] { return client->ended(); });
  EXPECT_FALSE(base::Exists(socket_));
}

TEST_F(AttachTest, ErrorsNameThePath) {
  ASSERT_TRUE(base::WriteFile(socket_, "a file").ok());
  absl::Status occupied = Open(OnSocket(false));
  EXPECT_EQ(occupied.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(absl::StrContains(occupied.message(), socket_)) << occupied;
  EXPECT_EQ(*base::ReadFile(socket_), "a file");
  EXPECT_EQ(Open({"", "attach://" + dir_ + "/none/a", ""}).code(), absl::StatusCode::kNotFound);
  for (const std::string& bad :
       {std::string("attach:///x?colour=1"), std::string("attach:///x?attach-wait=yes"),
        std::string("cri:///x?attach=relative")})
    EXPECT_EQ(Open({"", bad, ""}).code(), absl::StatusCode::kInvalidArgument) << bad;
  EXPECT_EQ(Open({"attach:///a", "attach:///b", ""}).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(AttachTest, OtherUsersAreTurnedAway) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can play another user";
  ASSERT_TRUE(Open(OnSocket(false)).ok());
  // Even where the file's mode lets them in.
  ASSERT_EQ(chmod(socket_.c_str(), 0666), 0);
  ASSERT_EQ(chmod(dir_.c_str(), 0755), 0);
  pid_t child = fork();
  if (child == 0) {
    if (setresgid(1000, 1000, 1000) != 0 || setresuid(1000, 1000, 1000) != 0) _exit(3);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    strncpy(address.sun_path, socket_.c_str(), sizeof address.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) _exit(4);
    char byte;
    _exit(read(fd, &byte, 1) == 0 ? 0 : 5);
  }
  int status = -1;
  RunUntil([&] { return waitpid(child, &status, WNOHANG) == child; });
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace gantry::shim
