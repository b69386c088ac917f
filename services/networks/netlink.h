#ifndef GANTRY_SERVICES_NETWORKS_NETLINK_H_
#define GANTRY_SERVICES_NETWORKS_NETLINK_H_

// Messages of rtnetlink and nfnetlink, and a socket that sends them and waits for the answer.

#include <linux/netlink.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"

namespace gantry::services {

// One request under construction. Attributes come after the fixed header of the message's type.
class NetlinkMessage {
 public:
  // NLM_F_REQUEST and NLM_F_ACK are added to `flags`.
  template <typename Header>
  NetlinkMessage(uint16_t type, uint16_t flags, const Header& header) {
    nlmsghdr head = {};
    head.nlmsg_type = type;
    head.nlmsg_flags = static_cast<uint16_t>(flags | NLM_F_REQUEST | NLM_F_ACK);
    Append(&head, sizeof head);
    Append(&header, sizeof header);
  }

  void Add(uint16_t type, const void* data, size_t size);
  void Add(uint16_t type, absl::string_view text) {  // with the zero byte that names end with
    Add(type, std::string(text).c_str(), text.size() + 1);
  }
  template <typename T>
  void AddValue(uint16_t type, T value) {
    Add(type, &value, sizeof value);
  }
  // Calls `fill`, which adds what is nested; `header` (may be empty) stands before that.
  void Nest(uint16_t type, absl::FunctionRef<void()> fill, absl::string_view header = {});

  // With its length set.
  const std::string& Finish(uint32_t sequence);

 private:
  void Append(const void* data, size_t size);

  std::string bytes_;
};

// A netlink socket in the network namespace in which it was opened. One thread at a time.
class NetlinkSocket {
 public:
  static absl::StatusOr<NetlinkSocket> Open(int protocol = NETLINK_ROUTE);

  // Sends and waits for the kernel's verdict; `what` names the operation in the error.
  absl::Status Call(NetlinkMessage& message, absl::string_view what);
  // For NLM_F_DUMP: hands out the messages of the answer.
  using EachFn = absl::FunctionRef<void(const nlmsghdr& message)>;
  absl::Status Dump(NetlinkMessage& message, absl::string_view what, EachFn each);

  int fd() const { return fd_.get(); }

 private:
  explicit NetlinkSocket(base::UniqueFd fd) : fd_(std::move(fd)) {}
  absl::Status Send(NetlinkMessage& message, absl::string_view what);
  absl::Status Receive(absl::string_view what, EachFn each);

  base::UniqueFd fd_;
  uint32_t sequence_ = 0;
  std::string buffer_;
};

// Calls `each(type, data, size)` for the attributes after a message's header of `header_size`.
void ForEachAttribute(const nlmsghdr& message, size_t header_size,
                      absl::FunctionRef<void(int, const char*, size_t)> each);
// The same within nested attributes.
void ForEachNested(const char* data, size_t size,
                   absl::FunctionRef<void(int, const char*, size_t)> each);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_NETWORKS_NETLINK_H_
