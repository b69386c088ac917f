#include "services/networks/netlink.h"

#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>

#include "base/status.h"

namespace gantry::services {
namespace {

constexpr size_t kBuffer = 64u << 10;
// The kernel answers at once; only a namespace that is being taken apart makes one wait for its
// lock, and that for a moment.
constexpr timeval kPatience = {.tv_sec = 30, .tv_usec = 0};

}  // namespace

void NetlinkMessage::Append(const void* data, size_t size) {
  bytes_.append(static_cast<const char*>(data), size);
  bytes_.resize(NLMSG_ALIGN(bytes_.size()), '\0');
}

void NetlinkMessage::Add(uint16_t type, const void* data, size_t size) {
  nlattr head = {};
  head.nla_len = static_cast<uint16_t>(NLA_HDRLEN + size);
  head.nla_type = type;
  Append(&head, sizeof head);
  Append(data, size);
}

void NetlinkMessage::Nest(uint16_t type, absl::FunctionRef<void()> fill, absl::string_view header) {
  size_t start = bytes_.size();
  nlattr head = {};
  head.nla_type = type;
  Append(&head, sizeof head);
  if (!header.empty()) Append(header.data(), header.size());
  fill();
  head.nla_len = static_cast<uint16_t>(bytes_.size() - start);
  memcpy(bytes_.data() + start, &head, sizeof head);
}

const std::string& NetlinkMessage::Finish(uint32_t sequence) {
  nlmsghdr head;
  memcpy(&head, bytes_.data(), sizeof head);
  head.nlmsg_len = static_cast<uint32_t>(bytes_.size());
  head.nlmsg_seq = sequence;
  memcpy(bytes_.data(), &head, sizeof head);
  return bytes_;
}

absl::StatusOr<NetlinkSocket> NetlinkSocket::Open(int protocol) {
  base::UniqueFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
  if (!fd) return base::ErrnoStatus(errno, "open a netlink socket");
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof kPatience);
  // Errors come without the request that caused them.
  int on = 1;
  setsockopt(fd.get(), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  setsockopt(fd.get(), SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on);
  return NetlinkSocket(std::move(fd));
}

absl::Status NetlinkSocket::Send(NetlinkMessage& message, absl::string_view what) {
  const std::string& bytes = message.Finish(++sequence_);
  sockaddr_nl kernel = {};
  kernel.nl_family = AF_NETLINK;
  ssize_t sent;
  do {
    sent = sendto(fd_.get(), bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr*>(&kernel),
                  sizeof kernel);
  } while (sent < 0 && errno == EINTR);
  return sent < 0 ? base::ErrnoStatus(errno, what) : absl::OkStatus();
}

absl::Status NetlinkSocket::Receive(absl::string_view what, EachFn each) {
  buffer_.resize(kBuffer);
  while (true) {
    ssize_t n = recv(fd_.get(), buffer_.data(), buffer_.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return base::ErrnoStatus(errno == EAGAIN ? ETIMEDOUT : errno, what);
    size_t left = static_cast<size_t>(n);
    for (auto* head = reinterpret_cast<nlmsghdr*>(buffer_.data()); NLMSG_OK(head, left);
         head = NLMSG_NEXT(head, left)) {
      if (head->nlmsg_seq != sequence_) continue;  // of a request that was given up
      if (head->nlmsg_type == NLMSG_DONE) return absl::OkStatus();
      if (head->nlmsg_type == NLMSG_ERROR) {
        int error = -static_cast<nlmsgerr*>(NLMSG_DATA(head))->error;
        return error == 0 ? absl::OkStatus() : base::ErrnoStatus(error, what);
      }
      each(*head);
    }
  }
}

absl::Status NetlinkSocket::Call(NetlinkMessage& message, absl::string_view what) {
  return Dump(message, what, [](const nlmsghdr&) {});
}

absl::Status NetlinkSocket::Dump(NetlinkMessage& message, absl::string_view what, EachFn each) {
  GANTRY_RETURN_IF_ERROR(Send(message, what));
  return Receive(what, each);
}

void ForEachNested(const char* data, size_t size,
                   absl::FunctionRef<void(int, const char*, size_t)> each) {
  while (size >= NLA_HDRLEN) {
    nlattr head;
    memcpy(&head, data, sizeof head);
    if (head.nla_len < NLA_HDRLEN || head.nla_len > size) return;
    each(head.nla_type & NLA_TYPE_MASK, data + NLA_HDRLEN, head.nla_len - NLA_HDRLEN);
    size_t step = NLA_ALIGN(head.nla_len);
    if (step >= size) return;
    data += step;
    size -= step;
  }
}

void ForEachAttribute(const nlmsghdr& message, size_t header_size,
                      absl::FunctionRef<void(int, const char*, size_t)> each) {
  size_t start = NLMSG_LENGTH(NLMSG_ALIGN(header_size));
  if (message.nlmsg_len < start) return;
  ForEachNested(reinterpret_cast<const char*>(&message) + start, message.nlmsg_len - start, each);
}

}  // namespace gantry::services
