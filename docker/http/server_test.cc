// The server with a plain client on a socket: what is sent is what is tested.

#include "docker/http/server.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "base/unique_fd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::docker::http {
namespace {

using base::UniqueFd;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class ServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/gantry_http_XXXXXX";
    dir_ = mkdtemp(name);
    path_ = dir_ + "/s.sock";
    AddRoutes();
    ASSERT_TRUE(server_.Listen("unix://" + path_, {}).ok());
    thread_ = std::thread([this] { server_.Run(); });
  }

  void TearDown() override {
    server_.Stop();
    thread_.join();
    rmdir(dir_.c_str());
  }

  void AddRoutes() {
    router_.Add("GET", "/hello", [](const std::shared_ptr<Exchange>& x) {
      x->Reply(200, "hi", "text/plain");
      return absl::OkStatus();
    });
    router_.Add("POST", "/echo", [](const std::shared_ptr<Exchange>& x) -> absl::Status {
      auto body = x->ReadBody(8 << 20);
      if (!body.ok()) return body.status();
      x->Reply(200, *body, "text/plain");
      return absl::OkStatus();
    });
    router_.Add("POST", "/json", [](const std::shared_ptr<Exchange>& x) -> absl::Status {
      auto json = x->ReadJson();
      if (!json.ok()) return json.status();
      x->ReplyJson(201, *json);
      return absl::OkStatus();
    });
    router_.Add("GET", "/stream", [](const std::shared_ptr<Exchange>& x) {
      auto stream = x->StartStream(200, "text/plain");
      for (int i = 0; i < 3; ++i) stream->Write(absl::StrCat("piece", i));
      stream->Finish();
      return absl::OkStatus();
    });
    router_.Add("GET", "/forgotten",
                [](const std::shared_ptr<Exchange>&) { return absl::OkStatus(); });
    router_.Add("GET", "/closed", [this](const std::shared_ptr<Exchange>& x) {
      x->OnClosed([this, x] { client_gone_.Notify(); });
      return absl::OkStatus();
    });
    router_.Add("POST", "/attach", [this](const std::shared_ptr<Exchange>& x) {
      int pair[2];
      EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
      peer_.Reset(pair[1]);
      auto raw = x->Hijack("application/vnd.docker.raw-stream");
      raw->Splice(UniqueFd(pair[0]), [this] { spliced_.Notify(); });
      return absl::OkStatus();
    });
  }

  UniqueFd Connect() {
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    strncpy(address.sun_path, path_.c_str(), sizeof address.sun_path - 1);
    EXPECT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return fd;
  }

  static void Send(int fd, const std::string& text) {
    ASSERT_EQ(send(fd, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
  }

  // Until the peer says nothing for a while, or has ended.
  static std::string Receive(int fd, int patience_ms = 300) {
    std::string all;
    char buffer[65536];
    pollfd polled = {fd, POLLIN, 0};
    while (poll(&polled, 1, all.empty() ? 5000 : patience_ms) > 0) {
      ssize_t n = recv(fd, buffer, sizeof buffer, 0);
      if (n <= 0) break;
      all.append(buffer, static_cast<size_t>(n));
    }
    return all;
  }

  std::string Ask(const std::string& text) {
    UniqueFd fd = Connect();
    Send(fd.get(), text);
    return Receive(fd.get());
  }

  std::string dir_, path_;
  UniqueFd peer_;
  absl::Notification spliced_, client_gone_;
  Router router_;
  WorkerPool workers_;
  Server server_{router_, workers_};
  std::thread thread_;
};

TEST_F(ServerTest, ServesPipelinedRequestsInOrder) {
  std::string answer =
      Ask("GET /v1.43/hello HTTP/1.1\r\nHost: x\r\n\r\nGET /nope HTTP/1.1\r\nHost: x\r\n\r\n"
          "GET /hello HTTP/1.0\r\n\r\n");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\nApi-Version: 1.51\r\n"));
  EXPECT_THAT(answer, HasSubstr("hiHTTP/1.1 404 Not Found"));
  EXPECT_THAT(answer, HasSubstr("{\"message\":\"page not found\"}\nHTTP/1.1 200 OK"));
  EXPECT_THAT(answer, EndsWith("Connection: close\r\n\r\nhi"));
}

TEST_F(ServerTest, RefusesVersionsInDockersWords) {
  EXPECT_THAT(Ask("GET /v1.10/hello HTTP/1.1\r\nHost: x\r\n\r\n"), HasSubstr("400 Bad Request"));
  EXPECT_THAT(Ask("GET /v1.10/hello HTTP/1.1\r\nHost: x\r\n\r\n"),
              HasSubstr("client version 1.10 is too old. Minimum supported API version is 1.24, "
                        "please upgrade your client to a newer version"));
  EXPECT_THAT(Ask("GET /v1.99/hello HTTP/1.1\r\nHost: x\r\n\r\n"),
              HasSubstr("client version 1.99 is too new. Maximum supported API version is 1.51"));
}

TEST_F(ServerTest, ReadsBodiesOfEveryKind) {
  std::string large(1 << 20, 'b');
  EXPECT_THAT(Ask(absl::StrCat("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: ", large.size(),
                               "\r\n\r\n", large)),
              EndsWith(large));
  EXPECT_THAT(Ask("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                  "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
              EndsWith("abcde"));
}

TEST_F(ServerTest, TellsWhoWaitsForItToGoOn) {
  UniqueFd fd = Connect();
  Send(fd.get(),
       "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(Receive(fd.get()), "HTTP/1.1 100 Continue\r\n\r\n");
  Send(fd.get(), "ok");
  EXPECT_THAT(Receive(fd.get()), EndsWith("\r\n\r\nok"));
}

TEST_F(ServerTest, GoesOnAfterABodyThatNobodyRead) {
  UniqueFd fd = Connect();
  Send(fd.get(), "GET /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n");
  EXPECT_THAT(Receive(fd.get()), EndsWith("hi"));
  Send(fd.get(), "12345GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_THAT(Receive(fd.get()), EndsWith("hi"));
}

TEST_F(ServerTest, RefusesWhatIsNoRequest) {
  EXPECT_THAT(Ask("BLAH\r\n\r\n"), StartsWith("HTTP/1.1 400 Bad Request"));
  EXPECT_THAT(Ask(absl::StrCat("GET /hello HTTP/1.1\r\nX: ", std::string(100000, 'x'), "\r\n\r\n")),
              StartsWith("HTTP/1.1 431"));
  EXPECT_THAT(Ask("POST /json HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n{x}"),
              HasSubstr("{\"message\":\"invalid JSON: "));
  EXPECT_THAT(
      Ask("POST /json HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n"
          "Content-Length: 2\r\n\r\n{}"),
      HasSubstr("unsupported Content-Type header (text/plain): must be 'application/json'"));
}

TEST_F(ServerTest, StreamsInChunks) {
  std::string answer = Ask("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_THAT(answer, HasSubstr("Transfer-Encoding: chunked"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\n6\r\npiece0\r\n6\r\npiece1\r\n6\r\npiece2\r\n0\r\n\r\n"));
}

TEST_F(ServerTest, AnswersForHandlersThatForgot) {
  EXPECT_THAT(Ask("GET /forgotten HTTP/1.1\r\nHost: x\r\n\r\n"), StartsWith("HTTP/1.1 500"));
}

TEST_F(ServerTest, NoticesThatAClientHasGone) {
  UniqueFd fd = Connect();
  Send(fd.get(), "GET /closed HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_FALSE(client_gone_.WaitForNotificationWithTimeout(absl::Milliseconds(100)));
  fd.Reset();
  EXPECT_TRUE(client_gone_.WaitForNotificationWithTimeout(absl::Seconds(5)));
}

TEST_F(ServerTest, SplicesWithHalfCloseInBothDirections) {
  UniqueFd fd = Connect();
  Send(fd.get(),
       "POST /attach HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
       "Content-Length: 0\r\n\r\nearly ");
  EXPECT_THAT(Receive(fd.get()), testing::Eq("HTTP/1.1 101 UPGRADED\r\n"
                                             "Content-Type: application/vnd.docker.raw-stream\r\n"
                                             "Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"));
  Send(fd.get(), "input");
  shutdown(fd.get(), SHUT_WR);
  EXPECT_EQ(Receive(peer_.get()), "early input");
  // The input has ended; output still comes, a lot of it.
  std::string output(3 << 20, 'o');
  std::thread writer([&] {
    size_t at = 0;
    while (at < output.size()) {
      ssize_t n = send(peer_.get(), output.data() + at, output.size() - at, MSG_NOSIGNAL);
      if (n <= 0) break;
      at += static_cast<size_t>(n);
    }
    peer_.Reset();
  });
  EXPECT_EQ(Receive(fd.get(), 5000), output);
  writer.join();
  fd.Reset();
  EXPECT_TRUE(spliced_.WaitForNotificationWithTimeout(absl::Seconds(5)));
}

}  // namespace
}  // namespace gantry::docker::http
