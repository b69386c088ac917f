#include "services/networks/ports.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/status.h"

namespace gantry::services {
namespace {

struct Range {
  uint16_t first = 49153;
  uint16_t last = 65535;
};

Range KernelRange() {
  Range range;
  auto text = base::ReadFile("/proc/sys/net/ipv4/ip_local_port_range", 64);
  if (!text.ok()) return range;
  std::vector<std::string> words =
      absl::StrSplit(*text, absl::ByAnyChar("\t \n"), absl::SkipEmpty());
  unsigned first, last;
  if (words.size() == 2 && absl::SimpleAtoi(words[0], &first) &&
      absl::SimpleAtoi(words[1], &last) && first > 0 && first <= last && last <= 65535) {
    range = {static_cast<uint16_t>(first), static_cast<uint16_t>(last)};
  }
  return range;
}

std::string Shown(const HostPort& port) {
  return port.address.is_v6() ? absl::StrCat("[", port.address.ToString(), "]:", port.port)
                              : absl::StrCat(port.address.ToString(), ":", port.port);
}

int Bind(int fd, const HostPort& port) {
  if (port.address.is_v6()) {
    sockaddr_in6 address = {};
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(port.port);
    memcpy(&address.sin6_addr, port.address.data(), 16);
    return bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 ? 0 : errno;
  }
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port.port);
  memcpy(&address.sin_addr, port.address.data(), 4);
  return bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 ? 0 : errno;
}

// Bound and never read: packets for the port go to the container before they would get here.
absl::StatusOr<base::UniqueFd> Hold(const HostPort& port) {
  int type = port.protocol == "udp" ? SOCK_DGRAM : SOCK_STREAM;
  int protocol = port.protocol == "sctp" ? IPPROTO_SCTP : 0;
  base::UniqueFd fd(socket(port.address.family(), type | SOCK_CLOEXEC, protocol));
  // A host without SCTP has no program that could have the port.
  if (!fd && port.protocol == "sctp") return fd;
  if (!fd) return base::ErrnoStatus(errno, "open a socket that holds a port");
  int on = 1;
  int smallest = 0;
  if (port.address.is_v6()) setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &smallest, sizeof smallest);
  int error = Bind(fd.get(), port);
  if (error == 0) return fd;
  std::string what = absl::StrCat("failed to bind host port ", Shown(port), "/", port.protocol);
  if (error == EADDRINUSE)
    return absl::FailedPreconditionError(absl::StrCat(what, ": address already in use"));
  if (error == EADDRNOTAVAIL)
    return absl::InvalidArgumentError(absl::StrCat(what, ": cannot assign requested address"));
  return base::ErrnoStatus(error, what);
}

}  // namespace

bool PortAllocator::ConflictsLocked(const HostPort& port) const {
  for (auto it = held_.lower_bound({.protocol = port.protocol});
       it != held_.end() && it->first.protocol == port.protocol; ++it) {
    const HostPort& other = it->first;
    if (other.port != port.port || other.address.family() != port.address.family()) continue;
    if (other.address == port.address || other.address.IsUnspecified() ||
        port.address.IsUnspecified()) {
      return true;
    }
  }
  return false;
}

absl::Status PortAllocator::TakeLocked(const std::string& protocol,
                                       const std::vector<IpAddress>& addresses, uint16_t port) {
  std::map<HostPort, base::UniqueFd> taken;
  for (const IpAddress& address : addresses) {
    HostPort wanted{protocol, address, port};
    if (ConflictsLocked(wanted)) {
      return absl::FailedPreconditionError(
          absl::StrCat("Bind for ", Shown(wanted), " failed: port is already allocated"));
    }
    GANTRY_ASSIGN_OR_RETURN(taken[wanted], Hold(wanted));
  }
  held_.merge(taken);
  return absl::OkStatus();
}

absl::StatusOr<uint16_t> PortAllocator::Take(const std::string& protocol,
                                             const std::vector<IpAddress>& addresses,
                                             uint16_t first, uint16_t last) {
  std::lock_guard lock(mutex_);
  Range range{first, std::max(first, last)};
  bool any = first == 0;
  if (any) range = KernelRange();
  uint32_t count = range.last - range.first + 1u;
  uint32_t start = any && next_ >= range.first && next_ <= range.last ? next_ - range.first : 0;
  absl::Status status;
  for (uint32_t i = 0; i < count; ++i) {
    uint16_t port = static_cast<uint16_t>(range.first + (start + i) % count);
    status = TakeLocked(protocol, addresses, port);
    if (status.ok()) {
      if (any) next_ = static_cast<uint16_t>(port == range.last ? range.first : port + 1);
      return port;
    }
    if (status.code() != absl::StatusCode::kFailedPrecondition) return status;
  }
  return status;
}

void PortAllocator::Release(const HostPort& port) {
  std::lock_guard lock(mutex_);
  held_.erase(port);
}

size_t PortAllocator::taken() const {
  std::lock_guard lock(mutex_);
  return held_.size();
}

absl::Status ValidatePort(const gantry::services::networks::v1::PortBinding& port) {
  auto bad = [](absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat("invalid port binding: ", what));
  };
  if (port.protocol() != "tcp" && port.protocol() != "udp" && port.protocol() != "sctp")
    return bad(absl::StrCat("unknown protocol \"", port.protocol(), "\""));
  if (port.container_port() == 0 || port.container_port() > 65535)
    return bad("the container's port is not in 1-65535");
  if (port.host_port() > 65535 || port.host_port_end() > 65535)
    return bad("the host's port is not in 0-65535");
  if (port.host_port_end() != 0 && port.host_port_end() < port.host_port())
    return bad("the range of host ports ends before it begins");
  if (!port.host_ip().empty()) GANTRY_RETURN_IF_ERROR(IpAddress::Parse(port.host_ip()).status());
  return absl::OkStatus();
}

bool HostHasIpv6() {
  auto disabled = base::ReadFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", 16);
  return disabled.ok() && !disabled->empty() && (*disabled)[0] == '0';
}

}  // namespace gantry::services
