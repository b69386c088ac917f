// Load for measuring networks: what a TCP connection carries, and how many small requests are
// answered.
//
//   netload serve PORT                   takes connections until it is killed
//   netload send ADDRESS PORT SECONDS    one connection as fast as it goes; prints MB/s
//   netload ask ADDRESS PORT SECONDS N   N connections at once, a request each of 64 bytes there
//   and
//                                        back again over and over; prints requests/s

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
constexpr size_t kRequest = 64;
constexpr char kSend = 's';  // the first byte of a connection says which it is
constexpr char kAsk = 'a';

[[noreturn]] void Die(const char* what) {
  perror(what);
  _exit(1);
}

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

Address Parse(const char* host, int port) {
  Address address;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
  if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(static_cast<uint16_t>(port));
    address.size = sizeof *v4;
  } else if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(static_cast<uint16_t>(port));
    address.size = sizeof *v6;
  } else {
    fprintf(stderr, "netload: %s is no address\n", host);
    _exit(2);
  }
  return address;
}

int Connect(const Address& address, char kind) {
  int fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) Die("socket");
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address.storage), address.size) != 0) {
    Die("connect");
  }
  int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (write(fd, &kind, 1) != 1) Die("write");
  return fd;
}

// Answers one connection's requests, or swallows what it sends; false when it has ended.
bool ServeOnce(int fd, char kind) {
  static char buffer[256 * 1024];
  ssize_t got = read(fd, buffer, sizeof buffer);
  if (got <= 0) return false;
  return kind == kSend || write(fd, buffer, static_cast<size_t>(got)) == got;
}

[[noreturn]] void Serve(int port) {
  int listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int one = 1, zero = 0;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
  sockaddr_in6 any{};
  any.sin6_family = AF_INET6;
  any.sin6_port = htons(static_cast<uint16_t>(port));
  if (bind(listener, reinterpret_cast<sockaddr*>(&any), sizeof any) != 0) Die("bind");
  if (listen(listener, 512) != 0) Die("listen");
  std::vector<pollfd> fds = {{listener, POLLIN, 0}};
  std::vector<char> kinds = {0};
  for (;;) {
    if (poll(fds.data(), fds.size(), -1) < 0) Die("poll");
    for (size_t i = fds.size(); i-- > 1;) {
      if (fds[i].revents == 0) continue;
      bool goes_on =
          kinds[i] == 0 ? read(fds[i].fd, &kinds[i], 1) == 1 : ServeOnce(fds[i].fd, kinds[i]);
      if (goes_on) continue;
      close(fds[i].fd);
      fds.erase(fds.begin() + static_cast<long>(i));
      kinds.erase(kinds.begin() + static_cast<long>(i));
    }
    if ((fds[0].revents & POLLIN) != 0) {
      int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) continue;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
      fds.push_back({fd, POLLIN, 0});
      kinds.push_back(0);
    }
  }
}

double Since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void Send(const Address& address, double seconds) {
  int fd = Connect(address, kSend);
  std::string block(256 * 1024, 'x');
  auto start = Clock::now();
  double bytes = 0;
  while (Since(start) < seconds) {
    ssize_t sent = write(fd, block.data(), block.size());
    if (sent <= 0) Die("write");
    bytes += static_cast<double>(sent);
  }
  printf("%.1f\n", bytes / Since(start) / 1e6);
}

void Ask(const Address& address, double seconds, int connections) {
  std::vector<pollfd> fds;
  std::string request(kRequest, 'q');
  for (int i = 0; i < connections; ++i) {
    fds.push_back({Connect(address, kAsk), POLLIN, 0});
    if (write(fds.back().fd, request.data(), kRequest) != kRequest) Die("write");
  }
  std::vector<size_t> got(fds.size());
  auto start = Clock::now();
  size_t answers = 0;
  while (Since(start) < seconds) {
    if (poll(fds.data(), fds.size(), 1000) < 0) Die("poll");
    for (size_t i = 0; i < fds.size(); ++i) {
      if (fds[i].revents == 0) continue;
      char buffer[kRequest];
      ssize_t read_now = read(fds[i].fd, buffer, kRequest - got[i]);
      if (read_now <= 0) Die("read");
      got[i] += static_cast<size_t>(read_now);
      if (got[i] < kRequest) continue;
      got[i] = 0;
      ++answers;
      if (write(fds[i].fd, request.data(), kRequest) != kRequest) Die("write");
    }
  }
  printf("%.0f\n", static_cast<double>(answers) / Since(start));
}

}  // namespace

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  std::string command = argc > 2 ? argv[1] : "";
  if (command == "serve") Serve(atoi(argv[2]));
  if (command == "send" && argc == 5) {
    Send(Parse(argv[2], atoi(argv[3])), atof(argv[4]));
  } else if (command == "ask" && argc == 6) {
    Ask(Parse(argv[2], atoi(argv[3])), atof(argv[4]), atoi(argv[5]));
  } else {
    fprintf(stderr,
            "usage: netload serve PORT | send ADDRESS PORT SECONDS | ask ADDRESS PORT SECONDS N\n");
    return 2;
  }
  return 0;
}
