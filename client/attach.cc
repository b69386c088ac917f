#include "client/attach.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "gantry/shim/v1/attach.pb.h"

namespace gantry::client {
namespace {

using base::ErrnoStatus;
using base::UniqueFd;

constexpr timeval kPatience = {10, 0};
constexpr timeval kForEver = {0, 0};
constexpr size_t kMaxRefusal = 4096;

void SetPatience(int fd, const timeval& patience) {
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
}

absl::StatusOr<UniqueFd> Connect(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty()) return absl::NotFoundError("the process has no attach socket");
  if (path.size() >= sizeof address.sun_path) {
    return absl::InvalidArgumentError(absl::StrCat("the path ", path, " is too long"));
  }
  memcpy(address.sun_path, path.data(), path.size());
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return ErrnoStatus(errno, "socket");
  SetPatience(fd.get(), kPatience);
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return fd;
  int error = errno;
  if (error == ECONNREFUSED) error = ENOENT;
  return ErrnoStatus(error, "attach");
}

}  // namespace

absl::StatusOr<UniqueFd> Attach(const std::string& path, const AttachStreams& streams) {
  GANTRY_ASSIGN_OR_RETURN(UniqueFd fd, Connect(path));
  gantry::shim::v1::AttachRequest request;
  request.set_stdin(streams.in);
  request.set_stdout(streams.out);
  request.set_stderr(streams.err);
  std::string message = request.SerializeAsString();
  char length[4];
  for (int i = 0; i < 4; ++i) length[i] = static_cast<char>(message.size() >> (24 - 8 * i));
  message.insert(0, length, sizeof length);
  if (send(fd.get(), message.data(), message.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(message.size())) {
    return ErrnoStatus(errno, "attach");
  }
  char answer = 1;
  ssize_t n = recv(fd.get(), &answer, 1, 0);
  if (n == 0) return absl::NotFoundError("the process has ended");
  if (n < 0) return ErrnoStatus(errno, "attach");
  if (answer == 0) {
    SetPatience(fd.get(), kForEver);  // from here on a program may be silent as long as it likes
    return fd;
  }
  char text[kMaxRefusal];
  n = recv(fd.get(), text, sizeof text, MSG_WAITALL);
  return absl::UnavailableError(absl::string_view(text, n > 0 ? static_cast<size_t>(n) : 0));
}

}  // namespace gantry::client
