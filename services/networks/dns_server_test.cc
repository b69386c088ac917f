// The embedded DNS server, asked over real sockets from containers' namespaces.

#include "services/networks/dns_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <atomic>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/networks/netns.h"
#include "services/networks/testing_host.h"

namespace gantry::services::testing {
namespace {

using ::testing::HasSubstr;

std::string QueryFor(const std::string& name, uint16_t type) {
  std::string message("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00", 12);
  for (absl::string_view label : absl::StrSplit(name, '.')) {
    message.push_back(static_cast<char>(label.size()));
    absl::StrAppend(&message, label);
  }
  message.push_back('\0');
  return message + std::string({static_cast<char>(type >> 8), static_cast<char>(type), 0, 1});
}

base::UniqueFd ConnectedSocket(int netns, const std::string& address, bool tcp) {
  base::UniqueFd fd;
  absl::Status status = InNetns(netns, [&] {
    fd.Reset(socket(AF_INET, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0));
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  timeval patience = {.tv_sec = 5, .tv_usec = 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  to.sin_port = htons(53);
  inet_pton(AF_INET, address.c_str(), &to.sin_addr);
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) fd.Reset();
  return fd;
}

std::string Exchange(int netns, std::string message, bool tcp) {
  base::UniqueFd fd = ConnectedSocket(netns, "127.0.0.11", tcp);
  if (!fd) return "";
  if (tcp) {
    message = absl::StrCat(std::string(1, static_cast<char>(message.size() >> 8)),
                           std::string(1, static_cast<char>(message.size())), message);
  }
  if (send(fd.get(), message.data(), message.size(), MSG_NOSIGNAL) < 0) return "";
  std::string answer(65535, '\0');
  ssize_t n = recv(fd.get(), answer.data(), answer.size(), 0);
  if (n <= 0) return "";
  answer.resize(static_cast<size_t>(n));
  return tcp ? answer.substr(2) : answer;
}

// The addresses in an answer, or how it failed.
std::string Resolve(int netns, const std::string& name, uint16_t type = kDnsA, bool tcp = false) {
  std::string message = QueryFor(name, type);
  std::string answer = Exchange(netns, message, tcp);
  if (answer.size() < message.size()) return "no answer";
  int code = answer[3] & 0x0f;
  if (code != 0) return absl::StrCat("error ", code);
  std::vector<std::string> found;
  size_t at = message.size();
  for (int i = static_cast<uint8_t>(answer[7]); i > 0 && at + 12 <= answer.size(); --i) {
    size_t length = static_cast<uint8_t>(answer[at + 11]);
    std::string data = answer.substr(at + 12, length);
    if (type == kDnsA && length == 4)
      found.push_back(IpAddress::FromBytes(AF_INET, data.data()).ToString());
    if (type == kDnsPtr) found.push_back(data);
    at += 12 + length;
  }
  return absl::StrJoin(found, " ");
}

// Answers everything with one address, on UDP and TCP port 53 of `address`.
class FakeServer {
 public:
  FakeServer(int netns, const std::string& address, const std::string& answer)
      : answer_(*IpAddress::Parse(answer)) {
    absl::Status status = InNetns(netns, [&] {
      udp_.Reset(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      tcp_.Reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      return absl::OkStatus();
    });
    EXPECT_TRUE(status.ok());
    int on = 1;
    setsockopt(tcp_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in to = {};
    to.sin_family = AF_INET;
    to.sin_port = htons(53);
    inet_pton(AF_INET, address.c_str(), &to.sin_addr);
    EXPECT_EQ(bind(udp_.get(), reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
    EXPECT_EQ(bind(tcp_.get(), reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
    EXPECT_EQ(listen(tcp_.get(), 8), 0);
    thread_ = std::thread([this] { Serve(); });
  }
  ~FakeServer() {
    eventfd_write(stop_.get(), 1);
    thread_.join();
  }
  int asked() const { return asked_; }

 private:
  std::string AnswerTo(const std::string& message) {
    ++asked_;
    auto query = ParseDnsQuery(message);
    if (!query.has_value()) return "";
    return BuildDnsAnswer(message, *query, {{.address = answer_}}, DnsError::kNone, 512);
  }
  void Serve() {
    std::string buffer(4096, '\0');
    while (true) {
      pollfd fds[3] = {{udp_.get(), POLLIN, 0}, {tcp_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
      poll(fds, 3, -1);
      if (fds[2].revents != 0) return;
      if (fds[0].revents != 0) {
        sockaddr_in peer = {};
        socklen_t size = sizeof peer;
        auto* address = reinterpret_cast<sockaddr*>(&peer);
        ssize_t n = recvfrom(udp_.get(), buffer.data(), buffer.size(), 0, address, &size);
        std::string answer = AnswerTo(buffer.substr(0, static_cast<size_t>(n)));
        sendto(udp_.get(), answer.data(), answer.size(), 0, address, size);
      }
      if (fds[1].revents != 0) {
        base::UniqueFd client(accept(tcp_.get(), nullptr, nullptr));
        ssize_t n = recv(client.get(), buffer.data(), buffer.size(), 0);
        std::string answer = AnswerTo(buffer.substr(2, static_cast<size_t>(n) - 2));
        std::string framed = std::string({0, static_cast<char>(answer.size())}) + answer;
        send(client.get(), framed.data(), framed.size(), MSG_NOSIGNAL);
      }
    }
  }

  const IpAddress answer_;
  base::UniqueFd udp_, tcp_;
  base::UniqueFd stop_{eventfd(0, EFD_CLOEXEC)};
  std::atomic<int> asked_{0};
  std::thread thread_;
};

class DnsServerTest : public HostTest {
 protected:
  networks::Sandbox Make(const std::string& id, const std::string& network,
                         std::vector<std::string> servers = {},
                         std::vector<std::string> aliases = {}) {
    networks::SetUpRequest request;
    request.set_container_id(id);
    request.set_container_name(id);
    auto* endpoint = request.add_endpoints();
    endpoint->set_network(network);
    for (std::string& alias : aliases) endpoint->add_aliases(alias);
    for (std::string& server : servers) request.mutable_dns()->add_servers(server);
    request.set_resolv_conf_path(dir_ + "/resolv-" + id);
    auto sandbox = manager_->SetUp(kNs, request);
    EXPECT_TRUE(sandbox.ok()) << sandbox.status();
    return sandbox.ok() ? *sandbox : networks::Sandbox();
  }
};

TEST_F(DnsServerTest, ResolvesNamesOfTheNetwork) {
  MakeNetwork("mine");
  MakeNetwork("other");
  networks::Sandbox a = Make("a", "mine"), b = Make("b", "mine", {}, {"Backend"});
  Make("c", "other");
  base::UniqueFd in_a = Netns("a"), in_c = Netns("c");
  EXPECT_EQ(Resolve(in_a.get(), "b"), AddressOf(b));
  EXPECT_EQ(Resolve(in_a.get(), "B", kDnsA, /*tcp=*/true), AddressOf(b));
  EXPECT_EQ(Resolve(in_a.get(), "backend"), AddressOf(b));
  EXPECT_EQ(Resolve(in_a.get(), "b.mine"), AddressOf(b));
  EXPECT_EQ(Resolve(in_a.get(), "b", kDnsAaaa), "");
  std::vector<std::string> bytes = absl::StrSplit(AddressOf(b), '.');
  std::string reverse =
      absl::StrCat(bytes[3], ".", bytes[2], ".", bytes[1], ".", bytes[0], ".in-addr.arpa");
  EXPECT_EQ(Resolve(in_a.get(), reverse, kDnsPtr), std::string("\1b\4mine\0", 8));
  EXPECT_NE(Resolve(in_c.get(), "b"), AddressOf(b));
  EXPECT_THAT(*base::ReadFile(dir_ + "/resolv-a"), HasSubstr("nameserver 127.0.0.11\n"));
  ASSERT_TRUE(manager_->TearDown(kNs, "b").ok());
  EXPECT_NE(Resolve(in_a.get(), "b"), AddressOf(b));
}

TEST_F(DnsServerTest, AsksServersInTurn) {
  MakeNetwork("mine");
  FakeServer upstream(outside(), "10.99.0.2", "203.0.113.7");
  // The first one does not exist.
  Make("a", "mine", {"10.99.0.1", "10.99.0.2"});
  base::UniqueFd in_a = Netns("a");
  EXPECT_EQ(Resolve(in_a.get(), "example.com"), "203.0.113.7");
  EXPECT_EQ(Resolve(in_a.get(), "example.com", kDnsA, /*tcp=*/true), "203.0.113.7");
  EXPECT_EQ(upstream.asked(), 2);
  // Own names are nobody else's business.
  EXPECT_NE(Resolve(in_a.get(), "a"), "203.0.113.7");
  EXPECT_EQ(upstream.asked(), 2);
}

TEST_F(DnsServerTest, AnswersAfterACrash) {
  MakeNetwork("mine");
  Make("a", "mine");
  networks::Sandbox b = Make("b", "mine");
  base::UniqueFd in_a = Netns("a");
  Reopen();
  EXPECT_EQ(Resolve(in_a.get(), "b"), AddressOf(b));
}

TEST_F(DnsServerTest, LeavesPort53ToTheContainer) {
  MakeNetwork("mine");
  networks::Sandbox a = Make("a", "mine");
  networks::Sandbox b = Make("b", "mine");
  base::UniqueFd in_a = Netns("a"), in_b = Netns("b");
  Greeter own(in_b.get(), "own", "0.0.0.0", 53, /*udp=*/true);
  EXPECT_EQ(Ask(in_a.get(), AddressOf(b), 53, true), "own " + AddressOf(a));
  EXPECT_EQ(Resolve(in_b.get(), "a"), AddressOf(a));
}

// CVE-2024-29018: what is asked on an internal network leaves no trace outside of it.
TEST_F(DnsServerTest, DoesNotAskForInternalNetworks) {
  MakeNetwork("inside", "", /*internal=*/true);
  MakeNetwork("open");
  FakeServer upstream(outside(), "10.99.0.2", "203.0.113.7");
  Make("a", "inside", {"10.99.0.2"});
  networks::Sandbox b = Make("b", "inside", {"10.99.0.2"});
  base::UniqueFd in_a = Netns("a");
  EXPECT_EQ(Resolve(in_a.get(), "b"), AddressOf(b));
  EXPECT_EQ(Resolve(in_a.get(), "secret.example.com"), "error 3");
  EXPECT_EQ(upstream.asked(), 0);
  // With a way out it may ask.
  networks::ConnectRequest connect;
  connect.set_container_id("a");
  connect.mutable_endpoint()->set_network("open");
  ASSERT_TRUE(manager_->Connect(kNs, connect).ok());
  EXPECT_EQ(Resolve(in_a.get(), "example.com"), "203.0.113.7");
}

TEST_F(DnsServerTest, SurvivesNonsense) {
  MakeNetwork("mine");
  Make("a", "mine");
  networks::Sandbox b = Make("b", "mine");
  base::UniqueFd in_a = Netns("a");
  std::string good = QueryFor("b", kDnsA);
  base::UniqueFd udp = ConnectedSocket(in_a.get(), "127.0.0.11", false);
  for (size_t n = 0; n < good.size(); ++n) send(udp.get(), good.data(), n, 0);
  for (int i = 0; i < 200; ++i) {
    base::UniqueFd tcp = ConnectedSocket(in_a.get(), "127.0.0.11", true);
    ASSERT_TRUE(tcp.valid());
    send(tcp.get(), good.data(), good.size() / 2, MSG_NOSIGNAL);
  }
  EXPECT_EQ(Resolve(in_a.get(), "b"), AddressOf(b));
  // Many that stay open: the others are refused, questions by UDP are not.
  std::vector<base::UniqueFd> open;
  for (int i = 0; i < 50; ++i) open.push_back(ConnectedSocket(in_a.get(), "127.0.0.11", true));
  EXPECT_EQ(Resolve(in_a.get(), "b"), AddressOf(b));
  open.clear();
  EXPECT_EQ(Resolve(in_a.get(), "b", kDnsA, /*tcp=*/true), AddressOf(b));
}

}  // namespace
}  // namespace gantry::services::testing
