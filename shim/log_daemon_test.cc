#include "shim/log_daemon.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <optional>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/event_loop.h"
#include "base/file.h"
#include "base/process.h"
#include "gtest/gtest.h"
#include "shim/log_record.h"
#include "shim/process_io.h"

namespace gantry::shim {
namespace {

class LogDaemonTest : public ::testing::Test {
 protected:
  void SetUp() override {
    signal(SIGPIPE, SIG_IGN);
    char name[] = "/tmp/gantry-logd-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
    socket_ = dir_ + "/socket";
  }
  void TearDown() override { EXPECT_TRUE(base::RemoveTree(dir_).ok()); }

  base::UniqueFd ListenUnix(int type) {
    unlink(socket_.c_str());
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    strncpy(address.sun_path, socket_.c_str(), sizeof address.sun_path - 1);
    base::UniqueFd fd(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    EXPECT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    if (type == SOCK_STREAM) {
      EXPECT_EQ(listen(fd.get(), 8), 0);
    }
    return fd;
  }
  // On the loopback; port 0 takes a free one.
  base::UniqueFd ListenInet(int type, uint16_t* port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(*port);
    base::UniqueFd fd(socket(AF_INET, type | SOCK_CLOEXEC, 0));
    int on = 1;
    setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    EXPECT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    socklen_t length = sizeof address;
    EXPECT_EQ(getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
    if (type == SOCK_STREAM) {
      EXPECT_EQ(listen(fd.get(), 8), 0);
    }
    *port = ntohs(address.sin_port);
    return fd;
  }
  static base::UniqueFd Accept(int listener) {
    pollfd ready{listener, POLLIN, 0};
    EXPECT_EQ(poll(&ready, 1, 5000), 1);
    return base::UniqueFd(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
  }
  static std::string Receive(int fd) {
    pollfd ready{fd, POLLIN, 0};
    if (poll(&ready, 1, 5000) != 1) return "(nothing came)";
    std::string got(65536, '\0');
    ssize_t n = recv(fd, got.data(), got.size(), 0);
    got.resize(n < 0 ? 0 : static_cast<size_t>(n));
    return got;
  }
  static std::string Record(const char* stream, const std::string& text, bool partial = false) {
    return FormatLogRecord(LogFormat::kFramed, stream, text, partial,
                           absl::FromUnixSeconds(1767323045));
  }
  static std::unique_ptr<LogTarget> Syslog(const std::string& query) {
    auto options = ParseSyslogOptions(*ParseStdioUri("syslog:///?" + query), "0123456789abcdef");
    EXPECT_TRUE(options.ok()) << options.status();
    auto target = OpenSyslog(*options);
    EXPECT_TRUE(target.ok()) << target.status();
    return *std::move(target);
  }

  std::string dir_, socket_;
};

TEST_F(LogDaemonTest, SyslogFormats) {
  base::UniqueFd server = ListenUnix(SOCK_DGRAM);
  char host[256];
  gethostname(host, sizeof host);
  std::string pid = absl::StrCat(getpid());
  auto plain = Syslog("syslog-address=unix://" + socket_);
  plain->Write(Record("stdout", "hello") + Record("stderr", "bad"));
  std::string first = Receive(server.get()), second = Receive(server.get());
  // daemon.info and daemon.err
  EXPECT_TRUE(absl::StartsWith(first, "<30>Jan ")) << first;
  EXPECT_TRUE(absl::EndsWith(first, " 0123456789ab[" + pid + "]: hello\n")) << first;
  EXPECT_TRUE(absl::StartsWith(second, "<27>")) << second;

  auto old = Syslog("syslog-format=rfc3164&tag=web&syslog-facility=local7&syslog-address=unix://" +
                    socket_);
  old->Write(Record("stdout", "x"));
  std::string third = Receive(server.get());
  EXPECT_TRUE(absl::StartsWith(third, "<190>Jan ")) << third;
  EXPECT_TRUE(absl::EndsWith(third, absl::StrCat(" ", host, " web[", pid, "]: x\n"))) << third;

  auto micro = Syslog("syslog-format=rfc5424micro&tag=web&syslog-address=unix://" + socket_);
  micro->Write(Record("stdout", "x y"));
  EXPECT_EQ(Receive(server.get()),
            absl::StrCat("<30>1 2026-01-02T03:04:05.000000Z ", host, " web ", pid, " web - x y\n"));
}

TEST_F(LogDaemonTest, SyslogOverUdpAndTcpWithARestart) {
  uint16_t udp_port = 0, tcp_port = 0;
  base::UniqueFd udp = ListenInet(SOCK_DGRAM, &udp_port);
  Syslog(absl::StrCat("syslog-address=udp://127.0.0.1:", udp_port))
      ->Write(Record("stdout", "datagram"));
  EXPECT_TRUE(absl::EndsWith(Receive(udp.get()), "]: datagram\n"));

  base::UniqueFd tcp = ListenInet(SOCK_STREAM, &tcp_port);
  auto target = Syslog(absl::StrCat("syslog-address=tcp://localhost:", tcp_port));
  base::UniqueFd connection = Accept(tcp.get());
  target->Write(Record("stdout", "one"));
  EXPECT_TRUE(absl::EndsWith(Receive(connection.get()), "]: one\n"));
  // The daemon restarts. What the kernel had taken for the old connection may be lost.
  connection.Reset();
  for (int i = 0; i < 3; ++i) {
    target->Write(Record("stdout", "between"));
    absl::SleepFor(absl::Milliseconds(20));
  }
  connection = Accept(tcp.get());
  target->Write(Record("stdout", "after"));
  EXPECT_TRUE(absl::EndsWith(Receive(connection.get()), "]: after\n"));
}

TEST_F(LogDaemonTest, AnOutageDelaysOnceAndEndsByItself) {
  base::UniqueFd server = ListenUnix(SOCK_DGRAM);
  auto target = Syslog("syslog-address=unix://" + socket_);
  server.Reset();
  unlink(socket_.c_str());
  absl::Time start = absl::Now();
  target->Write(Record("stdout", "lost"));
  EXPECT_GT(absl::Now() - start, absl::Seconds(4));
  start = absl::Now();
  for (int i = 0; i < 1000; ++i) target->Write(Record("stdout", "lost, too"));
  EXPECT_LT(absl::Now() - start, absl::Seconds(2));
  server = ListenUnix(SOCK_DGRAM);
  absl::SleepFor(absl::Milliseconds(1100));
  target->Write(Record("stdout", "again"));
  EXPECT_TRUE(absl::EndsWith(Receive(server.get()), "]: again\n"));
}

TEST_F(LogDaemonTest, JournaldFieldsAsDockerHasThem) {
  base::UniqueFd server = ListenUnix(SOCK_DGRAM);
  std::string id = "0123456789abcdef0123456789abcdef";
  auto options = ParseJournaldOptions(
      *ParseStdioUri("journald://" + socket_ +
                     "?container-name=web&image-name=alpine&tag=t&attr.my-label=v%0Aw"),
      id);
  ASSERT_TRUE(options.ok()) << options.status();
  auto target = OpenJournald(*options);
  ASSERT_TRUE(target.ok()) << target.status();
  (*target)->Write(Record("stderr", "whole line") + Record("stdout", "piece", true));
  std::string first = Receive(server.get());
  for (const char* field :
       {"CONTAINER_ID=0123456789ab\n", "CONTAINER_ID_FULL=0123456789abcdef0123456789abcdef\n",
        "CONTAINER_NAME=web\n", "CONTAINER_TAG=t\n", "IMAGE_NAME=alpine\n", "SYSLOG_IDENTIFIER=t\n",
        "PRIORITY=3\n", "MESSAGE=whole line\n"})
    EXPECT_TRUE(absl::StrContains(first, field)) << field << "\n" << first;
  EXPECT_TRUE(absl::StrContains(first, std::string("MY_LABEL\n\3\0\0\0\0\0\0\0v\nw\n", 21)));
  EXPECT_FALSE(absl::StrContains(first, "PARTIAL"));
  std::string second = Receive(server.get());
  EXPECT_TRUE(absl::StrContains(second, "CONTAINER_PARTIAL_MESSAGE=true\n"));
  EXPECT_TRUE(absl::StrContains(second, "PRIORITY=6\n"));
}

TEST_F(LogDaemonTest, AProcessLogsAndIsNotHeldUpInNonBlockingMode) {
  base::UniqueFd server = ListenUnix(SOCK_DGRAM);
  int small = 1;
  setsockopt(server.get(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  base::EventLoop loop;
  bool timed_out = false;
  loop.After(absl::Seconds(20), [&] {
    timed_out = true;
    loop.Stop();
  });
  StdioConfig config{"", "journald://" + socket_ + "?mode=non-blocking&max-buffer-size=64k", ""};
  config.container_id = "c1";
  std::unique_ptr<ProcessIo> io;
  ProcessIo::Open(&loop, config, [&](auto opened) {
    ASSERT_TRUE(opened.ok()) << opened.status();
    io = *std::move(opened);
    loop.Stop();
  });
  if (!io) {
    ASSERT_TRUE(loop.Run().ok());
  }
  ASSERT_FALSE(timed_out);
  base::SpawnOptions options;
  options.argv = {"/bin/sh", "-c",
                  "echo first; i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done"};
  options.fds = {{1, io->child_fds().stdout_fd}};
  auto process = base::Process::Spawn(options);
  ASSERT_TRUE(process.ok());
  io->Attach({});
  // The daemon reads nothing: the program ends all the same.
  ASSERT_TRUE(loop.Add(process->pidfd(), EPOLLIN, [&](uint32_t) { loop.Stop(); }).ok());
  ASSERT_TRUE(loop.Run().ok());
  loop.Remove(process->pidfd());
  ASSERT_FALSE(timed_out);
  EXPECT_EQ(process->Wait()->code, 0);
  EXPECT_GT(io->dropped_records(), 1000u);
  EXPECT_TRUE(absl::StrContains(Receive(server.get()), "MESSAGE=first\n"));
  server.Reset();  // lets the log's thread go
}

TEST_F(LogDaemonTest, BadOptionsAndMissingDaemons) {
  for (const char* bad :
       {"syslog:///?syslog-address=http://x", "syslog:///?syslog-address=udp://name:514",
        "syslog:///?syslog-facility=nowhere", "syslog:///?syslog-format=x", "syslog:///?max-size=1",
        "syslog:///?tag=a%20b", "syslog:///path"})
    EXPECT_EQ(ParseSyslogOptions(*ParseStdioUri(bad), "c").status().code(),
              absl::StatusCode::kInvalidArgument)
        << bad;
  EXPECT_EQ(ParseJournaldOptions(*ParseStdioUri("journald:///?colour=x"), "c").status().code(),
            absl::StatusCode::kInvalidArgument);
  auto options =
      ParseSyslogOptions(*ParseStdioUri("syslog:///?syslog-address=unix://" + socket_), "c");
  absl::Status missing = OpenSyslog(*options).status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(absl::StrContains(missing.message(), socket_)) << missing;
  auto six = LogAddress::Parse("tcp://[::1]:601");
  ASSERT_TRUE(six.ok()) << six.status();
  EXPECT_EQ(six->type, SOCK_STREAM);
}

}  // namespace
}  // namespace gantry::shim
