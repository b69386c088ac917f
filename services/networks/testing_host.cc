#include "services/networks/testing_host.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/process.h"
#include "services/networks/devices.h"
#include "services/networks/ip_address.h"
#include "services/networks/netns.h"

namespace gantry::services::testing {
namespace {

struct SocketAddress {
  sockaddr_storage storage = {};
  socklen_t size = 0;
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

SocketAddress ToSocketAddress(const std::string& text, int port) {
  SocketAddress result;
  IpAddress address = *IpAddress::Parse(text);
  if (address.is_v4()) {
    auto* in = reinterpret_cast<sockaddr_in*>(&result.storage);
    in->sin_family = AF_INET;
    in->sin_port = htons(static_cast<uint16_t>(port));
    memcpy(&in->sin_addr, address.data(), 4);
    result.size = sizeof *in;
  } else {
    auto* in = reinterpret_cast<sockaddr_in6*>(&result.storage);
    in->sin6_family = AF_INET6;
    in->sin6_port = htons(static_cast<uint16_t>(port));
    memcpy(&in->sin6_addr, address.data(), 16);
    result.size = sizeof *in;
  }
  return result;
}

std::string Shown(const sockaddr_storage& address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET)
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(&address)->sin_addr, text,
              sizeof text);
  else
    inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(&address)->sin6_addr, text,
              sizeof text);
  return text;
}

base::UniqueFd SocketIn(int netns, int family, bool udp) {
  base::UniqueFd fd;
  absl::Status status = InNetns(netns, [&] {
    fd.Reset(socket(family, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  return fd;
}

bool WaitFor(int fd, short events, absl::Duration patience) {
  pollfd poll_fd = {fd, events, 0};
  return poll(&poll_fd, 1, static_cast<int>(absl::ToInt64Milliseconds(patience))) > 0;
}

}  // namespace

struct Greeter::Impl {
  base::UniqueFd socket;
  base::UniqueFd stop{eventfd(0, EFD_CLOEXEC)};
  std::string name;
  bool udp = false;
  std::thread thread;

  void Serve() {
    while (true) {
      pollfd fds[2] = {{socket.get(), POLLIN, 0}, {stop.get(), POLLIN, 0}};
      poll(fds, 2, -1);
      if (fds[1].revents != 0) return;
      sockaddr_storage peer = {};
      socklen_t size = sizeof peer;
      auto* address = reinterpret_cast<sockaddr*>(&peer);
      if (udp) {
        char byte;
        if (recvfrom(socket.get(), &byte, 1, 0, address, &size) < 0) continue;
        std::string text = absl::StrCat(name, " ", Shown(peer));
        sendto(socket.get(), text.data(), text.size(), 0, address, size);
      } else {
        base::UniqueFd client(accept4(socket.get(), address, &size, SOCK_CLOEXEC));
        if (!client) continue;
        std::string text = absl::StrCat(name, " ", Shown(peer));
        send(client.get(), text.data(), text.size(), MSG_NOSIGNAL);
      }
    }
  }
};

Greeter::Greeter(int netns, const std::string& name, const std::string& address, int port, bool udp)
    : impl_(std::make_unique<Impl>()) {
  impl_->name = name;
  impl_->udp = udp;
  SocketAddress to = ToSocketAddress(address, port);
  impl_->socket = SocketIn(netns, to.storage.ss_family, udp);
  int on = 1;
  setsockopt(impl_->socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  EXPECT_EQ(bind(impl_->socket.get(), to.get(), to.size), 0)
      << address << ":" << port << ": " << strerror(errno);
  if (!udp) {
    EXPECT_EQ(listen(impl_->socket.get(), 16), 0);
  }
  impl_->thread = std::thread([this] { impl_->Serve(); });
}

Greeter::~Greeter() {
  eventfd_write(impl_->stop.get(), 1);
  impl_->thread.join();
}

std::string Ask(int netns, const std::string& address, int port, bool udp, absl::Duration patience,
                const std::string& from) {
  SocketAddress to = ToSocketAddress(address, port);
  base::UniqueFd fd = SocketIn(netns, to.storage.ss_family, udp);
  if (!from.empty()) {
    SocketAddress own = ToSocketAddress(from, 0);
    if (bind(fd.get(), own.get(), own.size) != 0) return strerror(errno);
  }
  if (connect(fd.get(), to.get(), to.size) != 0 && errno != EINPROGRESS) return strerror(errno);
  if (!udp) {
    if (!WaitFor(fd.get(), POLLOUT, patience)) return "timeout";
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return error == ECONNREFUSED ? "refused" : strerror(error);
  } else if (send(fd.get(), "?", 1, 0) < 0) {
    return strerror(errno);
  }
  if (!WaitFor(fd.get(), POLLIN, patience)) return "timeout";
  char text[256];
  ssize_t n = recv(fd.get(), text, sizeof text, 0);
  if (n < 0) return errno == ECONNREFUSED ? "refused" : strerror(errno);
  return std::string(text, static_cast<size_t>(n));
}

std::string RunIn(int netns, const std::vector<std::string>& argv, bool must) {
  std::string out;
  absl::Status status = InNetns(netns, [&] {
    auto result = base::RunProcess({.argv = argv});
    EXPECT_TRUE(result.ok()) << result.status();
    if (!result.ok()) return absl::OkStatus();
    if (must) {
      EXPECT_EQ(result->exit.code, 0) << absl::StrJoin(argv, " ") << ": " << result->err;
    }
    out = result->out;
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  return out;
}

int CountLines(const std::string& text, const std::string& part) {
  int count = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n'))
    count += line.find(part) != absl::string_view::npos ? 1 : 0;
  return count;
}

int HostTest::host_ = -1;
int HostTest::outside_ = -1;

void HostTest::SetUpTestSuite() {
  if (host_ >= 0) return;
  auto outside = MakeNetns();
  ASSERT_TRUE(outside.ok()) << outside.status();
  outside_ = outside->Release();
  // The whole process moves, as long as it has one thread: gantryd lives in there.
  ASSERT_EQ(unshare(CLONE_NEWNET), 0) << strerror(errno);
  host_ = base::Open("/proc/thread-self/ns/net", O_RDONLY)->Release();
  RunIn(host_, {"ip", "link", "set", "lo", "up"});
  RunIn(host_, {"ip", "link", "add", "up0", "type", "veth", "peer", "name", "down0"});
  auto devices = Devices::Open();
  ASSERT_TRUE(devices.ok());
  std::string path = absl::StrCat("/proc/self/fd/", outside_);
  RunIn(host_, {"sh", "-c", "true"});
  ASSERT_TRUE(PinNetns(outside_, absl::StrCat("/run/netns-outside-", getpid())).ok());
  RunIn(host_,
        {"ip", "link", "set", "down0", "netns", absl::StrCat("/run/netns-outside-", getpid())});
  ASSERT_TRUE(UnpinNetns(absl::StrCat("/run/netns-outside-", getpid())).ok());
  RunIn(host_, {"ip", "addr", "add", "10.99.0.1/24", "dev", "up0"});
  RunIn(host_, {"ip", "addr", "add", "10.99.0.3/24", "dev", "up0"});
  RunIn(host_, {"ip", "addr", "add", "fd99::1/64", "dev", "up0", "nodad"});
  RunIn(host_, {"ip", "link", "set", "up0", "up"});
  RunIn(outside_, {"ip", "addr", "add", "10.99.0.2/24", "dev", "down0"});
  RunIn(outside_, {"ip", "addr", "add", "fd99::2/64", "dev", "down0", "nodad"});
  RunIn(outside_, {"ip", "link", "set", "down0", "up"});
  RunIn(host_, {"ip", "route", "add", "default", "via", "10.99.0.2"});
}

void HostTest::SetUp() {
  dir_ = absl::StrCat("/tmp/gantry-net-", getpid(), "-", base::RandomHex(4));
  ASSERT_TRUE(base::MakeDirs(dir_ + "/state").ok());
  options_ = {};
  options_.state = dir_ + "/state";
  options_.root = dir_ + "/root";
  ASSERT_TRUE(base::MakeDirs(options_.root).ok());
  Reopen();
}

void HostTest::Reopen(bool alive) {
  manager_.reset();
  db_.reset();
  auto db = Db::Open(options_.root + "/db");
  ASSERT_TRUE(db.ok()) << db.status();
  db_ = *std::move(db);
  auto manager = OpenNetworkManager(db_.get(), options_);
  ASSERT_TRUE(manager.ok()) << manager.status();
  manager_ = *std::move(manager);
  absl::Status recovered =
      manager_->Recover([alive](const std::string&, const std::string&) { return alive; });
  ASSERT_TRUE(recovered.ok()) << recovered;
}

void HostTest::TearDown() {
  if (db_ == nullptr) return;
  Reopen(/*alive=*/false);  // tears all containers down
  auto list = manager_->List(kNs);
  ASSERT_TRUE(list.ok()) << list.status();
  for (const networks::Network& network : list->networks()) {
    if (network.predefined()) continue;
    EXPECT_EQ(manager_->Delete(kNs, network.id()), absl::OkStatus());
  }
  auto objects = manager_->Audit();
  ASSERT_TRUE(objects.ok()) << objects.status();
  for (const NetworkObject& object : *objects) {
    // The predefined bridges stay.
    if (object.kind != "bridge" && object.kind != "rules") {
      EXPECT_EQ(object.problem, "") << object.kind << " " << object.name;
    }
    if (object.kind == "bridge") RunIn(host(), {"ip", "link", "del", object.name}, false);
  }
  manager_.reset();
  db_.reset();
  RunIn(host(), {"nft", "flush", "ruleset"});
  EXPECT_TRUE(base::RemoveTree(dir_).ok());
}

networks::Sandbox HostTest::MakeContainer(const std::string& id, const std::string& network,
                                          std::vector<networks::PortBinding> ports) {
  networks::SetUpRequest request;
  request.set_container_id(id);
  request.set_container_name(id);
  request.set_hostname(id);
  request.add_endpoints()->set_network(network);
  for (networks::PortBinding& port : ports) *request.add_ports() = std::move(port);
  auto sandbox = manager_->SetUp(kNs, request);
  EXPECT_TRUE(sandbox.ok()) << sandbox.status();
  return sandbox.ok() ? *sandbox : networks::Sandbox();
}

base::UniqueFd HostTest::Netns(const std::string& id) {
  auto netns = OpenNetns(manager_->NetnsPath(kNs, id));
  EXPECT_TRUE(netns.ok()) << netns.status();
  return netns.ok() ? *std::move(netns) : base::UniqueFd();
}

std::string HostTest::AddressOf(const networks::Sandbox& sandbox, int endpoint) {
  std::string address = sandbox.endpoints(endpoint).ipv4_address();
  return address.substr(0, address.find('/'));
}

networks::Network HostTest::MakeNetwork(const std::string& name, const std::string& subnet,
                                        bool internal) {
  networks::CreateNetworkRequest request;
  request.mutable_network()->set_name(name);
  request.mutable_network()->set_internal(internal);
  if (!subnet.empty()) request.mutable_network()->add_ipam()->set_subnet(subnet);
  auto response = manager_->Create(kNs, request);
  EXPECT_TRUE(response.ok()) << response.status();
  return response.ok() ? response->network() : networks::Network();
}

networks::PortBinding HostTest::Port(const std::string& host_ip, uint32_t host, uint32_t container,
                                     const std::string& protocol) {
  networks::PortBinding port;
  port.set_host_ip(host_ip);
  port.set_host_port(host);
  port.set_container_port(container);
  port.set_protocol(protocol);
  return port;
}

}  // namespace gantry::services::testing
