#include "shim/oci/send_fd.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace gantry::oci {

absl::Status SendFd(const std::string& path, absl::string_view payload, int fd) {
  base::UniqueFd sock(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return absl::InvalidArgumentError(absl::StrCat("socket path too long: ", path));
  }
  memcpy(address.sun_path, path.c_str(), path.size() + 1);
  if (connect(sock.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return base::ErrnoStatus(errno, absl::StrCat("connect to ", path));
  }
  iovec data = {const_cast<char*>(payload.data()), payload.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(header), &fd, sizeof fd);
  ssize_t sent = sendmsg(sock.get(), &message, MSG_NOSIGNAL);
  if (sent == static_cast<ssize_t>(payload.size())) return absl::OkStatus();
  return base::ErrnoStatus(sent < 0 ? errno : EMSGSIZE, absl::StrCat("send to ", path));
}

}  // namespace gantry::oci
