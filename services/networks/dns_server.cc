#include "services/networks/dns_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "services/networks/container_files.h"
#include "services/networks/dns_upstream.h"
#include "services/networks/netns.h"
#include "services/networks/nft.h"

namespace gantry::services {
namespace {

constexpr char kAddress[] = "127.0.0.11";
constexpr int kMaxPending = 256;        // questions of a container on their way
constexpr size_t kMaxConnections = 32;  // of a container
constexpr size_t kMaxMessage = 65535;
constexpr int kBatch = 32;
constexpr absl::Duration kIdle = absl::Seconds(15);

struct Sockets {
  base::UniqueFd udp;
  base::UniqueFd tcp;
};

absl::StatusOr<uint16_t> BindTo(int fd, uint16_t port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  inet_pton(AF_INET, kAddress, &address.sin_addr);
  socklen_t size = sizeof address;
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return base::ErrnoStatus(errno, absl::StrCat("bind the DNS server to ", kAddress));
  }
  return ntohs(address.sin_port);
}

// Leads to our ports; replaces the rules of an earlier gantryd.
absl::Status LeadHere(uint16_t udp, uint16_t tcp) {
  GANTRY_ASSIGN_OR_RETURN(Nft nft, Nft::Open());
  return nft
      .Run(absl::StrCat("add table ip gantry_dns\ndelete table ip gantry_dns\n"
                        "table ip gantry_dns {\n chain output {\n"
                        "  type nat hook output priority -100; policy accept;\n"
                        "  ip daddr ",
                        kAddress, " udp dport 53 dnat to ", kAddress, ":", udp, "\n  ip daddr ",
                        kAddress, " tcp dport 53 dnat to ", kAddress, ":", tcp, "\n }\n}\n"))
      .status();
}

absl::StatusOr<Sockets> OpenHere() {
  Sockets sockets;
  sockets.udp.Reset(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockets.tcp.Reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!sockets.udp || !sockets.tcp)
    return base::ErrnoStatus(errno, "open the DNS server's sockets");
  GANTRY_ASSIGN_OR_RETURN(uint16_t udp, BindTo(sockets.udp.get(), 0));
  GANTRY_ASSIGN_OR_RETURN(uint16_t tcp, BindTo(sockets.tcp.get(), 0));
  if (listen(sockets.tcp.get(), 16) != 0) return base::ErrnoStatus(errno, "listen for DNS");
  GANTRY_RETURN_IF_ERROR(LeadHere(udp, tcp));
  return sockets;
}

// The host's servers; looked at again every few seconds. For one thread.
const std::vector<std::string>& HostServers() {
  static auto* servers = new std::vector<std::string>();
  static absl::Time read = absl::InfinitePast();
  if (absl::Now() - read > absl::Seconds(5)) {
    *servers = HostResolvConf().servers;
    read = absl::Now();
  }
  return *servers;
}

std::vector<IpAddress> ServersFor(const DnsScope& scope) {
  std::vector<IpAddress> servers;
  const bool own = !scope.servers.empty();
  if (!own && !scope.forwards) return servers;
  for (const std::string& text : own ? scope.servers : HostServers()) {
    auto address = IpAddress::Parse(text);
    if (!address.ok() || address->ToString() == kAddress) continue;
    bool inside = false;
    for (const Cidr& subnet : scope.subnets) inside = inside || subnet.Contains(*address);
    if (scope.forwards || inside) servers.push_back(*address);
  }
  return servers;
}

}  // namespace

// One container. Lives on the loop's thread, but for its making.
class DnsServer::Client : public std::enable_shared_from_this<Client> {
 public:
  Client(base::EventLoop* loop, DnsNames* names, Sockets sockets, DnsScope scope)
      : loop_(loop), names_(names), sockets_(std::move(sockets)), scope_(std::move(scope)) {}

  void Open() {
    auto self = shared_from_this();
    loop_->Add(sockets_.udp.get(), EPOLLIN, [self](uint32_t) { self->OnDatagrams(); })
        .IgnoreError();
    loop_->Add(sockets_.tcp.get(), EPOLLIN, [self](uint32_t) { self->OnConnection(); })
        .IgnoreError();
  }

  void Close() {
    if (!sockets_.udp) return;
    loop_->Remove(sockets_.udp.get());
    loop_->Remove(sockets_.tcp.get());
    sockets_ = {};
    while (!connections_.empty()) Drop(connections_.begin()->first);
  }

  void SetScope(DnsScope scope) { scope_ = std::move(scope); }

 private:
  struct Connection {
    base::UniqueFd fd;
    std::string in;
    std::string out;
    bool waits = false;  // one question at a time
    base::EventLoop::TimerId timer = 0;
    uint64_t number = 0;
  };

  void OnDatagrams() {
    std::string message(4096, '\0');
    for (int i = 0; i < kBatch; ++i) {
      sockaddr_in peer = {};
      socklen_t size = sizeof peer;
      ssize_t n = recvfrom(sockets_.udp.get(), message.data(), message.size(), 0,
                           reinterpret_cast<sockaddr*>(&peer), &size);
      if (n < 0) return;
      auto self = shared_from_this();
      Handle(std::string(message.data(), static_cast<size_t>(n)), /*tcp=*/false,
             [self, peer](const std::string& answer) {
               if (!self->sockets_.udp) return;
               sendto(self->sockets_.udp.get(), answer.data(), answer.size(), MSG_NOSIGNAL,
                      reinterpret_cast<const sockaddr*>(&peer), sizeof peer);
             });
    }
  }

  // Calls `reply` now or later, or never for what is no question.
  void Handle(std::string message, bool tcp, std::function<void(const std::string&)> reply) {
    std::optional<DnsQuery> query = ParseDnsQuery(message);
    if (!query.has_value()) return;
    size_t limit = tcp ? kMaxMessage : query->udp_limit;
    DnsNames::Result known = names_->Look(scope_, *query);
    if (known.found) {
      reply(BuildDnsAnswer(message, *query, known.answers, known.error, limit));
      return;
    }
    std::vector<IpAddress> servers = ServersFor(scope_);
    if (servers.empty()) {
      reply(BuildDnsAnswer(message, *query, {}, DnsError::kNoSuchName, limit));
      return;
    }
    if (pending_ >= kMaxPending) {
      reply(BuildDnsAnswer(message, *query, {}, DnsError::kServerFailure, limit));
      return;
    }
    ++pending_;
    auto self = shared_from_this();
    DnsUpstream::Ask(loop_, std::move(servers), message, *query, tcp,
                     [self, message, query = *query, limit, reply](std::string answer) {
                       --self->pending_;
                       if (answer.empty())
                         answer =
                             BuildDnsAnswer(message, query, {}, DnsError::kServerFailure, limit);
                       reply(answer);
                     });
  }

  void OnConnection() {
    base::UniqueFd fd(accept4(sockets_.tcp.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd || connections_.size() >= kMaxConnections) return;
    int number = fd.get();
    auto self = shared_from_this();
    if (!loop_->Add(number, EPOLLIN, [self, number](uint32_t) { self->OnStream(number); }).ok())
      return;
    Connection& connection = connections_[number];
    connection.fd = std::move(fd);
    connection.number = ++last_connection_;
    connection.timer = loop_->After(kIdle, [self, number] { self->Drop(number); });
  }

  void OnStream(int fd) {
    auto it = connections_.find(fd);
    if (it == connections_.end()) return;
    Connection& connection = it->second;
    char chunk[4096];
    ssize_t n = recv(fd, chunk, sizeof chunk, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
      n = 0;
    else if (n <= 0)
      return Drop(fd);
    connection.in.append(chunk, static_cast<size_t>(n));
    if (connection.in.size() > 2 * kMaxMessage || !Flush(&connection)) return Drop(fd);
    NextQuestion(fd);
  }

  void NextQuestion(int fd) {
    auto it = connections_.find(fd);
    if (it == connections_.end() || it->second.waits) return;
    Connection& connection = it->second;
    if (connection.in.size() < 2) return;
    size_t length = static_cast<size_t>(static_cast<uint8_t>(connection.in[0])) << 8 |
                    static_cast<uint8_t>(connection.in[1]);
    if (connection.in.size() < 2 + length) return;
    std::string message = connection.in.substr(2, length);
    connection.in.erase(0, 2 + length);
    if (!ParseDnsQuery(message).has_value()) return Drop(fd);
    connection.waits = true;
    auto self = shared_from_this();
    uint64_t number = connection.number;
    Handle(std::move(message), /*tcp=*/true,
           [self, fd, number](const std::string& answer) { self->Reply(fd, number, answer); });
  }

  void Reply(int fd, uint64_t number, const std::string& answer) {
    auto it = connections_.find(fd);
    if (it == connections_.end() || it->second.number != number) return;
    Connection& connection = it->second;
    connection.waits = false;
    connection.out.push_back(static_cast<char>(answer.size() >> 8));
    connection.out.push_back(static_cast<char>(answer.size() & 0xff));
    connection.out += answer;
    if (!Flush(&connection)) return Drop(fd);
    // Not from within: a client that sends many questions at once is no recursion.
    auto self = shared_from_this();
    loop_->After(absl::ZeroDuration(), [self, fd] { self->NextQuestion(fd); });
  }

  bool Flush(Connection* connection) {
    while (!connection->out.empty()) {
      ssize_t n =
          send(connection->fd.get(), connection->out.data(), connection->out.size(), MSG_NOSIGNAL);
      if (n < 0 && errno == EAGAIN) break;
      if (n < 0) return false;
      connection->out.erase(0, static_cast<size_t>(n));
    }
    uint32_t events = connection->out.empty() ? EPOLLIN : EPOLLIN | EPOLLOUT;
    return loop_->Modify(connection->fd.get(), events).ok();
  }

  void Drop(int fd) {
    auto it = connections_.find(fd);
    if (it == connections_.end()) return;
    loop_->Cancel(it->second.timer);
    loop_->Remove(fd);
    connections_.erase(it);
  }

  base::EventLoop* const loop_;
  DnsNames* const names_;
  Sockets sockets_;
  DnsScope scope_;
  int pending_ = 0;
  std::map<int, Connection> connections_;
  uint64_t last_connection_ = 0;
};

DnsServer::~DnsServer() {
  loop_.Stop();
  if (thread_.joinable()) thread_.join();
  for (auto& [key, client] : clients_) client->Close();
}

absl::Status DnsServer::Serve(const std::string& key, int netns, DnsScope scope) {
  absl::StatusOr<Sockets> sockets = absl::UnknownError("");
  GANTRY_RETURN_IF_ERROR(InNetns(netns, [&] {
    sockets = OpenHere();
    return sockets.status();
  }));
  auto client = std::make_shared<Client>(&loop_, &names_, *std::move(sockets), std::move(scope));
  std::shared_ptr<Client> old;
  std::lock_guard lock(mutex_);
  if (!thread_.joinable()) thread_ = std::thread([this] { loop_.Run().IgnoreError(); });
  old = std::exchange(clients_[key], client);
  loop_.Post([client, old] {
    if (old != nullptr) old->Close();
    client->Open();
  });
  return absl::OkStatus();
}

void DnsServer::Update(const std::string& key, DnsScope scope) {
  std::lock_guard lock(mutex_);
  auto it = clients_.find(key);
  if (it == clients_.end()) return;
  loop_.Post([client = it->second, scope = std::move(scope)]() mutable {
    client->SetScope(std::move(scope));
  });
}

void DnsServer::Stop(const std::string& key) {
  std::lock_guard lock(mutex_);
  auto it = clients_.find(key);
  if (it == clients_.end()) return;
  loop_.Post([client = it->second] { client->Close(); });
  clients_.erase(it);
}

}  // namespace gantry::services
