#include "shim/log_socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/status.h"

namespace gantry::shim {
namespace {

constexpr absl::Duration kConnectLimit = absl::Seconds(5);
constexpr absl::Duration kOutageLimit = absl::Seconds(5);
constexpr absl::Duration kRetryPause = absl::Seconds(1);
constexpr uint16_t kSyslogPort = 514;

absl::Status ParseUnix(absl::string_view path, LogAddress* to) {
  auto* address = reinterpret_cast<sockaddr_un*>(&to->address);
  address->sun_family = AF_UNIX;
  if (!absl::StartsWith(path, "/") || path.size() >= sizeof address->sun_path)
    return absl::InvalidArgumentError(
        absl::StrCat("log address ", to->text, ": not an absolute path of at most 107 bytes"));
  memcpy(address->sun_path, path.data(), path.size());
  to->length = sizeof *address;
  return absl::OkStatus();
}

absl::Status ParseInet(absl::string_view text, LogAddress* to) {
  absl::string_view host = text;
  uint16_t port = kSyslogPort;
  bool brackets = absl::StartsWith(text, "[");
  size_t colon = brackets ? text.find("]:") : text.rfind(':');
  if (colon != absl::string_view::npos) {
    host = text.substr(0, brackets ? colon + 1 : colon);
    GANTRY_ASSIGN_OR_RETURN(uint64_t number,
                            base::ParseDecimal(text.substr(colon + (brackets ? 2 : 1)), 65535));
    port = static_cast<uint16_t>(number);
  }
  if (brackets && (!absl::ConsumePrefix(&host, "[") || !absl::ConsumeSuffix(&host, "]"))) host = "";
  std::string name(host == "localhost" ? "127.0.0.1" : host);
  auto* four = reinterpret_cast<sockaddr_in*>(&to->address);
  auto* six = reinterpret_cast<sockaddr_in6*>(&to->address);
  if (!brackets && inet_pton(AF_INET, name.c_str(), &four->sin_addr) == 1) {
    four->sin_family = AF_INET;
    four->sin_port = htons(port);
    to->length = sizeof *four;
  } else if (brackets && inet_pton(AF_INET6, name.c_str(), &six->sin6_addr) == 1) {
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(port);
    to->length = sizeof *six;
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("log address ", to->text, ": the host must be given as an IP address"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<LogAddress> LogAddress::Parse(absl::string_view text) {
  LogAddress parsed;
  parsed.text = std::string(text);
  absl::Status status;
  if (absl::ConsumePrefix(&text, "unix://")) {
    status = ParseUnix(text, &parsed);
  } else if (absl::ConsumePrefix(&text, "unixgram://")) {
    parsed.type = SOCK_DGRAM;
    status = ParseUnix(text, &parsed);
  } else if (absl::ConsumePrefix(&text, "udp://")) {
    parsed.type = SOCK_DGRAM;
    status = ParseInet(text, &parsed);
  } else if (absl::ConsumePrefix(&text, "tcp://")) {
    parsed.type = SOCK_STREAM;
    status = ParseInet(text, &parsed);
  } else {
    status = absl::InvalidArgumentError(
        absl::StrCat("log address ", text, " is none of unix, unixgram, udp and tcp"));
  }
  if (!status.ok()) return status;
  return parsed;
}

absl::Status LogSocket::Connect() {
  const std::string what = absl::StrCat("connect to ", address_.text);
  int error = 0;
  for (int type : {SOCK_DGRAM, SOCK_STREAM}) {
    if (address_.type != 0 && address_.type != type) continue;
    base::UniqueFd fd(socket(address_.address.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return base::ErrnoStatus(errno, what);
    error = 0;
    if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address_.address), address_.length) != 0)
      error = errno;
    if (error == EPROTOTYPE) continue;  // a unix socket of the other type
    if (error == EINPROGRESS) {
      pollfd ready{fd.get(), POLLOUT, 0};
      socklen_t size = sizeof error;
      if (poll(&ready, 1, static_cast<int>(absl::ToInt64Milliseconds(kConnectLimit))) <= 0)
        return absl::DeadlineExceededError(absl::StrCat(what, ": no answer within 5 seconds"));
      getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    }
    if (error != 0) break;
    int flags = fcntl(fd.get(), F_GETFL);
    if (fcntl(fd.get(), F_SETFL, flags & ~O_NONBLOCK) != 0) return base::ErrnoStatus(errno, what);
    fd_ = std::move(fd);
    return absl::OkStatus();
  }
  return base::ErrnoStatus(error, what);
}

absl::Status LogSocket::SendOnce(absl::string_view record) {
  if (!fd_) return absl::UnavailableError("not connected");
  while (!record.empty()) {
    ssize_t n = send(fd_.get(), record.data(), record.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      absl::Status failed = base::ErrnoStatus(errno, absl::StrCat("send to ", address_.text));
      // Too long for a datagram: another connection would not help.
      if (errno != EMSGSIZE) fd_.Reset();
      return failed;
    }
    record.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

bool LogSocket::ConnectAgain() {
  absl::Time now = absl::Now();
  if (now >= tried_ && now - tried_ < kRetryPause) return false;
  tried_ = now;
  return Connect().ok();
}

void LogSocket::Lose(const absl::Status& why) {
  if (lost_++ == 0)
    base::LogError("log lines are lost", {{"to", address_.text}, {"error", why.ToString()}});
}

void LogSocket::Recovered() {
  if (lost_ > 0)
    base::LogWarn("the log goes on after an outage",
                  {{"to", address_.text}, {"lost", absl::StrCat(lost_)}});
  away_ = false;
  lost_ = 0;
}

void LogSocket::Send(absl::string_view record) {
  absl::Status sent = SendOnce(record);
  absl::Time limit = absl::Now() + (away_ ? absl::ZeroDuration() : kOutageLimit);
  bool first = !away_;
  while (!sent.ok() && !fd_) {
    // A daemon that was restarted is there again at once.
    if (std::exchange(first, false) ? Connect().ok() : ConnectAgain()) {
      sent = SendOnce(record);
      continue;
    }
    if (absl::Now() >= limit) break;
    absl::SleepFor(absl::Milliseconds(100));
  }
  if (sent.ok()) return Recovered();
  away_ = !fd_;
  Lose(sent);
}

}  // namespace gantry::shim
