#ifndef GANTRY_SERVICES_REGISTRY_FAKE_HTTP_SERVER_H_
#define GANTRY_SERVICES_REGISTRY_FAKE_HTTP_SERVER_H_

// For tests: an HTTP server on a loopback port that can be as hostile as a test wants.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "base/unique_fd.h"

namespace gantry::services {

struct FakeRequest {
  std::string method;
  std::string target;
  std::map<std::string, std::string> headers;  // lower-case names
  std::string body;
};

// One connection, one request; whatever Send() is given goes out as it is.
class FakeConnection {
 public:
  FakeConnection(int fd, const std::atomic<bool>* stopping) : fd_(fd), stopping_(stopping) {}
  // False when the peer is gone.
  bool Send(const std::string& bytes) {
    size_t done = 0;
    while (done < bytes.size()) {
      ssize_t n = ::send(fd_, bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
      if (n <= 0) return false;
      done += static_cast<size_t>(n);
    }
    return true;
  }
  void Respond(int status, const std::string& headers, const std::string& body, bool head = false) {
    Send(absl::StrCat("HTTP/1.1 ", status, " X\r\nConnection: close\r\nContent-Length: ",
                      body.size(), "\r\n", headers, "\r\n", head ? "" : body));
  }
  // Says nothing for so long, or until the server stops.
  void Stall(absl::Duration how_long) {
    absl::Time end = absl::Now() + how_long;
    while (absl::Now() < end && !*stopping_) absl::SleepFor(absl::Milliseconds(20));
  }

 private:
  int fd_;
  const std::atomic<bool>* stopping_;
};

class FakeHttpServer {
 public:
  using Handler = std::function<void(const FakeRequest&, FakeConnection*)>;

  explicit FakeHttpServer(Handler handler) : handler_(std::move(handler)) {
    listener_.Reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    ::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size);
    ::listen(listener_.get(), 64);
    ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { Accept(); });
  }
  ~FakeHttpServer() {
    stopping_ = true;
    acceptor_.join();
    for (std::thread& t : workers_) t.join();
  }

  std::string host() const { return absl::StrCat("127.0.0.1:", port_); }
  std::vector<FakeRequest> seen() {
    absl::MutexLock lock(&mu_);
    return seen_;
  }

 private:
  void Accept() {
    while (!stopping_) {
      pollfd poller{listener_.get(), POLLIN, 0};
      if (::poll(&poller, 1, 20) <= 0) continue;
      int fd = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
      if (fd >= 0) workers_.emplace_back([this, fd] { Serve(base::UniqueFd(fd)); });
    }
  }
  bool Fill(int fd, std::string* to) {
    pollfd poller{fd, POLLIN, 0};
    while (!stopping_) {
      if (::poll(&poller, 1, 20) <= 0) continue;
      char buffer[65536];
      ssize_t n = ::recv(fd, buffer, sizeof buffer, 0);
      if (n <= 0) return false;
      to->append(buffer, static_cast<size_t>(n));
      return true;
    }
    return false;
  }
  void Serve(base::UniqueFd fd) {
    std::string data;
    size_t end = 0;
    while ((end = data.find("\r\n\r\n")) == std::string::npos) {
      if (!Fill(fd.get(), &data)) return;
    }
    FakeRequest request;
    std::vector<std::string> lines = absl::StrSplit(data.substr(0, end), "\r\n");
    std::vector<std::string> first = absl::StrSplit(lines[0], ' ');
    if (first.size() < 2) return;
    request.method = first[0];
    request.target = first[1];
    for (size_t i = 1; i < lines.size(); ++i) {
      std::pair<std::string, std::string> kv = absl::StrSplit(lines[i], absl::MaxSplits(": ", 1));
      request.headers[absl::AsciiStrToLower(kv.first)] = kv.second;
    }
    size_t length = 0;
    if (!absl::SimpleAtoi(request.headers["content-length"], &length)) length = 0;
    request.body = data.substr(end + 4);
    while (request.body.size() < length) {
      if (!Fill(fd.get(), &request.body)) break;
    }
    {
      absl::MutexLock lock(&mu_);
      seen_.push_back(request);
    }
    FakeConnection connection(fd.get(), &stopping_);
    handler_(request, &connection);
  }

  Handler handler_;
  base::UniqueFd listener_;
  int port_ = 0;
  std::atomic<bool> stopping_{false};
  absl::Mutex mu_;
  std::vector<FakeRequest> seen_;
  std::thread acceptor_;
  std::vector<std::thread> workers_;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_REGISTRY_FAKE_HTTP_SERVER_H_
