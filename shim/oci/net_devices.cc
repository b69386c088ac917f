#include "shim/oci/net_devices.h"

#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace gantry::oci {
namespace {

// One netlink request: header, body and attributes.
class Request {
 public:
  template <typename Body>
  Request(uint16_t type, uint16_t flags, const Body& body) {
    nlmsghdr header = {};
    header.nlmsg_type = type;
    header.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
    Append(&header, sizeof header);
    Append(&body, sizeof body);
  }
  void Add(uint16_t type, const void* data, size_t size) {
    rtattr attribute = {static_cast<uint16_t>(RTA_LENGTH(size)), type};
    Append(&attribute, sizeof attribute);
    Append(data, size);
  }
  const std::string& Finish() {
    uint32_t size = static_cast<uint32_t>(text_.size());
    memcpy(text_.data(), &size, sizeof size);
    return text_;
  }

 private:
  void Append(const void* data, size_t size) {
    text_.append(static_cast<const char*>(data), size);
    text_.resize(NLMSG_ALIGN(text_.size()), '\0');
  }
  std::string text_;
};

// A route socket, which stays in the network namespace where it was made.
class RouteSocket {
 public:
  absl::Status Open() {
    sock_.Reset(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    if (sock_.valid()) return absl::OkStatus();
    return base::ErrnoStatus(errno, "netlink socket");
  }

  // Gives every answer to `each` and returns when the kernel said that it was the last.
  template <typename Each>
  absl::Status Call(Request request, absl::string_view what, Each each) {
    const std::string& text = request.Finish();
    if (send(sock_.get(), text.data(), text.size(), 0) < 0) return base::ErrnoStatus(errno, what);
    alignas(nlmsghdr) char buffer[32768];
    while (true) {
      ssize_t size = recv(sock_.get(), buffer, sizeof buffer, 0);
      if (size < 0 && errno == EINTR) continue;
      if (size <= 0) return base::ErrnoStatus(size < 0 ? errno : EPIPE, what);
      auto left = static_cast<unsigned>(size);
      for (auto* message = reinterpret_cast<nlmsghdr*>(buffer); NLMSG_OK(message, left);
           message = NLMSG_NEXT(message, left)) {
        if (message->nlmsg_type == NLMSG_DONE) return absl::OkStatus();
        if (message->nlmsg_type == NLMSG_ERROR) {
          int error = -static_cast<nlmsgerr*>(NLMSG_DATA(message))->error;
          return error == 0 ? absl::OkStatus() : base::ErrnoStatus(error, what);
        }
        each(*message);
      }
    }
  }
  absl::Status Call(Request request, absl::string_view what) {
    return Call(std::move(request), what, [](const nlmsghdr&) {});
  }

 private:
  base::UniqueFd sock_;
};

// An address as it is asked for again: body and attributes of its message.
struct Address {
  ifaddrmsg body;
  std::vector<std::pair<uint16_t, std::string>> attributes;
};

absl::StatusOr<std::vector<Address>> GlobalAddresses(RouteSocket* sock, unsigned index) {
  std::vector<Address> addresses;
  auto collect = [&](const nlmsghdr& message) {
    if (message.nlmsg_type != RTM_NEWADDR) return;
    auto* body = static_cast<const ifaddrmsg*>(NLMSG_DATA(&message));
    // What the kernel makes by itself, it makes again.
    if (body->ifa_index != index || body->ifa_scope != RT_SCOPE_UNIVERSE ||
        (body->ifa_flags & IFA_F_PERMANENT) == 0) {
      return;
    }
    Address address = {*body, {}};
    auto left = static_cast<unsigned>(message.nlmsg_len - NLMSG_LENGTH(sizeof *body));
    for (auto* a = reinterpret_cast<const rtattr*>(body + 1); RTA_OK(a, left);
         a = RTA_NEXT(a, left)) {
      if (a->rta_type != IFA_ADDRESS && a->rta_type != IFA_LOCAL && a->rta_type != IFA_BROADCAST) {
        continue;
      }
      address.attributes.emplace_back(
          a->rta_type, std::string(static_cast<const char*>(RTA_DATA(a)), RTA_PAYLOAD(a)));
    }
    addresses.push_back(std::move(address));
  };
  GANTRY_RETURN_IF_ERROR(
      sock->Call(Request(RTM_GETADDR, NLM_F_DUMP, ifaddrmsg{}), "list addresses", collect));
  return addresses;
}

// 0 and errno when there is none of that name where `sock` was made.
unsigned IndexOf(int sock, const std::string& name) {
  ifreq request = {};
  strncpy(request.ifr_name, name.c_str(), sizeof request.ifr_name - 1);
  return ioctl(sock, SIOCGIFINDEX, &request) == 0 ? static_cast<unsigned>(request.ifr_ifindex) : 0;
}

absl::StatusOr<base::UniqueFd> InetSocket() {
  base::UniqueFd sock(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!sock.valid()) return base::ErrnoStatus(errno, "socket");
  return sock;
}

// Sockets of both namespaces.
struct Sides {
  RouteSocket ours, theirs;
  base::UniqueFd our_inet, their_inet, their_namespace;

  absl::Status Open(pid_t pid) {
    GANTRY_RETURN_IF_ERROR(ours.Open());
    GANTRY_ASSIGN_OR_RETURN(our_inet, InetSocket());
    GANTRY_ASSIGN_OR_RETURN(base::UniqueFd own, base::Open("/proc/self/ns/net", O_RDONLY));
    GANTRY_ASSIGN_OR_RETURN(their_namespace,
                            base::Open(absl::StrCat("/proc/", pid, "/ns/net"), O_RDONLY));
    if (setns(their_namespace.get(), CLONE_NEWNET) != 0) {
      return base::ErrnoStatus(errno, "enter the container's network namespace");
    }
    absl::Status opened = theirs.Open();
    auto inet = InetSocket();
    if (setns(own.get(), CLONE_NEWNET) != 0) {
      return base::ErrnoStatus(errno, "return to our network namespace");
    }
    GANTRY_RETURN_IF_ERROR(opened);
    GANTRY_RETURN_IF_ERROR(inet.status());
    their_inet = *std::move(inet);
    return absl::OkStatus();
  }
};

absl::Status MoveDevice(Sides* sides, const std::string& name, const std::string& inside) {
  unsigned index = IndexOf(sides->our_inet.get(), name);
  if (index == 0) return base::ErrnoStatus(errno, "find it on the host");
  GANTRY_ASSIGN_OR_RETURN(std::vector<Address> addresses, GlobalAddresses(&sides->ours, index));
  ifinfomsg link = {};
  link.ifi_index = static_cast<int>(index);
  Request move(RTM_NEWLINK, NLM_F_ACK, link);
  int their_namespace = sides->their_namespace.get();
  move.Add(IFLA_NET_NS_FD, &their_namespace, sizeof their_namespace);
  move.Add(IFLA_IFNAME, inside.c_str(), inside.size() + 1);
  GANTRY_RETURN_IF_ERROR(sides->ours.Call(std::move(move), "move it"));
  index = IndexOf(sides->their_inet.get(), inside);
  if (index == 0) return base::ErrnoStatus(errno, "find it in the container");
  for (Address& address : addresses) {
    address.body.ifa_index = index;
    Request add(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, address.body);
    for (const auto& [type, value] : address.attributes) add.Add(type, value.data(), value.size());
    GANTRY_RETURN_IF_ERROR(sides->theirs.Call(std::move(add), "give its address back"));
  }
  link = {};
  link.ifi_index = static_cast<int>(index);
  link.ifi_flags = IFF_UP;
  link.ifi_change = IFF_UP;
  return sides->theirs.Call(Request(RTM_NEWLINK, NLM_F_ACK, link), "bring it up");
}

}  // namespace

absl::Status MoveNetDevices(const Spec& spec, pid_t pid) {
  if (spec.linux_.net_devices.empty()) return absl::OkStatus();
  if (spec.FindNamespace(CLONE_NEWNET) == nullptr) {
    return absl::InvalidArgumentError("linux.netDevices: needs a namespace of type \"network\"");
  }
  Sides sides;
  GANTRY_RETURN_IF_ERROR(base::Annotate(sides.Open(pid), "linux.netDevices"));
  for (const auto& [name, inside] : spec.linux_.net_devices) {
    GANTRY_RETURN_IF_ERROR(
        base::Annotate(MoveDevice(&sides, name, inside), absl::StrCat("network device ", name)));
  }
  return absl::OkStatus();
}

}  // namespace gantry::oci
