#include "docker/http/server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "docker/http/http_session.h"

namespace gantry::docker::http {
namespace {

namespace asio = boost::asio;
using base::ErrnoStatus;
using base::UniqueFd;
using boost::system::error_code;

constexpr int kBacklog = 512;
constexpr int kFirstInheritedFd = 3;  // sd_listen_fds(3)

// From /etc/group itself: a static program has no NSS. -1 when there is none.
gid_t GroupId(const std::string& name) {
  auto file = base::ReadFile("/etc/group", 4u << 20);
  if (name.empty() || !file.ok()) return gid_t(-1);
  for (absl::string_view line : absl::StrSplit(*file, '\n')) {
    std::vector<absl::string_view> fields = absl::StrSplit(line, ':');
    uint32_t id = 0;
    if (fields.size() >= 3 && fields[0] == name && absl::SimpleAtoi(fields[2], &id)) return id;
  }
  return gid_t(-1);
}

absl::StatusOr<UniqueFd> ListenUnix(const std::string& path, const std::string& group) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path[0] != '/' || path.size() >= sizeof address.sun_path) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", path, "\" is no absolute path that fits a unix socket"));
  }
  memcpy(address.sun_path, path.data(), path.size());
  if (size_t slash = path.rfind('/'); slash > 0) {
    GANTRY_RETURN_IF_ERROR(base::MakeDirs(path.substr(0, slash), 0711));
  }
  struct stat info {};
  if (lstat(path.c_str(), &info) == 0 && S_ISSOCK(info.st_mode)) unlink(path.c_str());
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return ErrnoStatus(errno, "socket");
  // Nobody but root until the mode is set below.
  mode_t old = umask(0177);
  int bound = bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
  int bind_error = errno;
  umask(old);
  if (bound != 0) return ErrnoStatus(bind_error, absl::StrCat("bind ", path));
  if (gid_t gid = GroupId(group); gid != gid_t(-1)) {
    if (chown(path.c_str(), 0, gid) != 0) return ErrnoStatus(errno, absl::StrCat("chown ", path));
  }
  if (chmod(path.c_str(), 0660) != 0) return ErrnoStatus(errno, absl::StrCat("chmod ", path));
  if (listen(fd.get(), kBacklog) != 0) return ErrnoStatus(errno, absl::StrCat("listen ", path));
  return fd;
}

absl::StatusOr<UniqueFd> ListenTcp(absl::string_view text) {
  size_t colon = text.rfind(':');
  uint32_t port = 0;
  if (colon == absl::string_view::npos || !absl::SimpleAtoi(text.substr(colon + 1), &port) ||
      port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("tcp://", text, " has no port"));
  }
  std::string host(absl::StripSuffix(absl::StripPrefix(text.substr(0, colon), "["), "]"));
  if (host == "localhost") host = "127.0.0.1";
  if (host.empty()) host = "0.0.0.0";
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  v4.sin_family = AF_INET;
  v6.sin6_family = AF_INET6;
  v4.sin_port = v6.sin6_port = htons(static_cast<uint16_t>(port));
  bool is_v4 = inet_pton(AF_INET, host.c_str(), &v4.sin_addr) == 1;
  if (!is_v4 && inet_pton(AF_INET6, host.c_str(), &v6.sin6_addr) != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("tcp://", text, ": the host must be an address"));
  }
  UniqueFd fd(socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return ErrnoStatus(errno, "socket");
  int on = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  auto* address = is_v4 ? reinterpret_cast<sockaddr*>(&v4) : reinterpret_cast<sockaddr*>(&v6);
  if (bind(fd.get(), address, is_v4 ? sizeof v4 : sizeof v6) != 0 ||
      listen(fd.get(), kBacklog) != 0) {
    return ErrnoStatus(errno, absl::StrCat("listen on tcp://", text));
  }
  return fd;
}

absl::StatusOr<std::vector<UniqueFd>> InheritedSockets() {
  const char* count_text = getenv("LISTEN_FDS");
  const char* pid_text = getenv("LISTEN_PID");
  int count = 0;
  int pid = 0;
  if (count_text == nullptr || pid_text == nullptr || !absl::SimpleAtoi(count_text, &count) ||
      !absl::SimpleAtoi(pid_text, &pid) || pid != getpid() || count < 1) {
    return absl::InvalidArgumentError("fd://: systemd has passed no sockets");
  }
  std::vector<UniqueFd> fds;
  for (int fd = kFirstInheritedFd; fd < kFirstInheritedFd + count; ++fd) {
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    fds.emplace_back(fd);
  }
  return fds;
}

absl::StatusOr<std::shared_ptr<asio::ssl::context>> MakeTls(const TlsSettings& settings) {
  auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_server);
  error_code error;
  auto failed = [&error](absl::string_view what, const std::string& file) {
    return absl::InvalidArgumentError(absl::StrCat(what, " ", file, ": ", error.message()));
  };
  context->set_options(asio::ssl::context::default_workarounds | asio::ssl::context::no_tlsv1 |
                           asio::ssl::context::no_tlsv1_1,
                       error);
  context->use_certificate_chain_file(settings.cert, error);
  if (error) return failed("TLS certificate", settings.cert);
  context->use_private_key_file(settings.key, asio::ssl::context::pem, error);
  if (error) return failed("TLS key", settings.key);
  if (settings.verify) {
    context->load_verify_file(settings.ca, error);
    if (error) return failed("TLS authority", settings.ca);
    context->set_verify_mode(asio::ssl::verify_peer | asio::ssl::verify_fail_if_no_peer_cert,
                             error);
  }
  return context;
}

}  // namespace

struct Server::Impl {
  // A listening socket: waited for by asio, accepted by us, so that one class serves every family.
  struct Listener {
    Listener(asio::io_context& io, int fd) : descriptor(io, fd), pause(io) {}
    asio::posix::stream_descriptor descriptor;
    asio::steady_timer pause;
    std::shared_ptr<asio::ssl::context> tls;
  };

  asio::io_context io;
  std::shared_ptr<const HttpSession::Serve> serve;
  std::vector<std::shared_ptr<Listener>> listeners;
  std::vector<std::string> unix_paths;

  void Add(UniqueFd fd, std::shared_ptr<asio::ssl::context> tls) {
    auto listener = std::make_shared<Listener>(io, fd.Release());
    listener->tls = std::move(tls);
    listeners.push_back(listener);
    Accept(listener);
  }

  void Accept(std::shared_ptr<Listener> listener) {
    listener->descriptor.async_wait(asio::posix::stream_descriptor::wait_read,
                                    [this, listener](error_code error) {
                                      if (!error) AcceptAll(listener);
                                    });
  }

  void AcceptAll(std::shared_ptr<Listener> listener) {
    while (true) {
      sockaddr_storage address{};
      socklen_t size = sizeof address;
      int fd = accept4(listener->descriptor.native_handle(), reinterpret_cast<sockaddr*>(&address),
                       &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (fd >= 0) {
        Begin(fd, address.ss_family, *listener);
        continue;
      }
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno == EAGAIN) return Accept(listener);
      base::LogWarn("accepting connections failed", {{"cause", strerror(errno)}});
      // No descriptors: others are given back sooner or later.
      listener->pause.expires_after(std::chrono::milliseconds(100));
      listener->pause.async_wait([this, listener](error_code error) {
        if (!error) Accept(listener);
      });
      return;
    }
  }

  void Begin(int fd, int family, Listener& listener) {
    Socket socket(asio::make_strand(io));
    error_code error;
    socket.assign(asio::generic::stream_protocol(family, 0), fd, error);
    if (error) {
      ::close(fd);
      return;
    }
    auto stream = listener.tls ? MakeTlsStream(std::move(socket), *listener.tls)
                               : MakePlainStream(std::move(socket));
    std::make_shared<HttpSession>(std::move(stream), serve)->Start();
  }
};

Server::Server(const Router& router, WorkerPool& workers) : impl_(std::make_unique<Impl>()) {
  impl_->serve = std::make_shared<const HttpSession::Serve>(
      [&router, &workers](std::shared_ptr<Exchange> exchange) {
        workers.Run([&router, exchange = std::move(exchange)] { router.Serve(exchange); });
      });
}

Server::~Server() = default;

absl::Status Server::Listen(const std::string& address, const ListenSettings& settings) {
  if (absl::StartsWith(address, "unix://")) {
    std::string path = address.substr(strlen("unix://"));
    GANTRY_ASSIGN_OR_RETURN(UniqueFd fd, ListenUnix(path, settings.group));
    impl_->unix_paths.push_back(path);
    impl_->Add(std::move(fd), nullptr);
    return absl::OkStatus();
  }
  std::shared_ptr<asio::ssl::context> tls;
  if (settings.tls != nullptr) {
    GANTRY_ASSIGN_OR_RETURN(tls, MakeTls(*settings.tls));
  }
  if (absl::StartsWith(address, "tcp://")) {
    GANTRY_ASSIGN_OR_RETURN(UniqueFd fd, ListenTcp(address.substr(strlen("tcp://"))));
    if (tls == nullptr) {
      base::LogWarn("whoever reaches this address is root on this machine; use --tlsverify",
                    {{"address", address}});
    }
    impl_->Add(std::move(fd), tls);
    return absl::OkStatus();
  }
  if (absl::StartsWith(address, "fd://")) {
    GANTRY_ASSIGN_OR_RETURN(std::vector<UniqueFd> fds, InheritedSockets());
    for (UniqueFd& fd : fds) impl_->Add(std::move(fd), nullptr);
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("cannot listen on \"", address, "\": not unix://, tcp:// or fd://"));
}

void Server::Run(int threads) {
  std::vector<std::thread> others;
  for (int i = 1; i < threads; ++i) others.emplace_back([this] { impl_->io.run(); });
  impl_->io.run();
  for (std::thread& thread : others) thread.join();
  for (const std::string& path : impl_->unix_paths) unlink(path.c_str());
}

void Server::Stop() { impl_->io.stop(); }

void Server::After(absl::Duration delay, std::function<void()> function) {
  auto timer = std::make_shared<asio::steady_timer>(impl_->io);
  timer->expires_after(absl::ToChronoNanoseconds(delay));
  timer->async_wait([timer, function = std::move(function)](error_code error) {
    if (!error) function();
  });
}

}  // namespace gantry::docker::http
