#include "shim/oci/cli/notify_socket.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/status.h"

namespace gantry::oci {
namespace {

constexpr char kInside[] = "/run/notify";

absl::StatusOr<sockaddr_un> Address(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return absl::InvalidArgumentError(absl::StrCat("socket path too long: ", path));
  }
  memcpy(address.sun_path, path.data(), path.size());
  if (path[0] == '@') address.sun_path[0] = '\0';  // an abstract one
  return address;
}

absl::StatusOr<base::UniqueFd> DatagramSocket() {
  base::UniqueFd sock(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!sock.valid()) return base::ErrnoStatus(errno, "notify socket");
  return sock;
}

socklen_t SizeOf(const std::string& path) {
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() +
                                (path[0] == '@' ? 0 : 1));
}

}  // namespace

NotifySocket::NotifySocket(const std::string& directory) : directory_(directory + "/notify") {
  const char* host = getenv("NOTIFY_SOCKET");
  if (host != nullptr) host_ = host;
}

absl::Status NotifySocket::Prepare(Spec* spec) const {
  if (!wanted() || !spec->process) return absl::OkStatus();
  GANTRY_RETURN_IF_ERROR(base::MakeDirs(directory_, 0755));
  MountSpec mount;
  mount.destination = kInside;
  mount.type = "bind";
  mount.source = directory_;
  mount.options = {"bind", "nosuid", "noexec", "nodev", "ro"};
  spec->mounts.push_back(std::move(mount));
  spec->process->env.push_back(absl::StrCat("NOTIFY_SOCKET=", kInside, "/notify.sock"));
  return absl::OkStatus();
}

absl::Status NotifySocket::Listen() {
  // The directory is there when create prepared for it.
  base::UniqueFd directory(open(directory_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!wanted() || !directory.valid()) {
    host_.clear();
    return absl::OkStatus();
  }
  // Through the descriptor: the path may be longer than a socket's may be.
  std::string path = absl::StrCat("/proc/self/fd/", directory.get(), "/notify.sock");
  GANTRY_ASSIGN_OR_RETURN(sock_, DatagramSocket());
  GANTRY_ASSIGN_OR_RETURN(sockaddr_un address, Address(path));
  if (bind(sock_.get(), reinterpret_cast<sockaddr*>(&address), SizeOf(path)) != 0 ||
      chmod(path.c_str(), 0777) != 0) {
    return base::ErrnoStatus(errno, absl::StrCat("listen on ", directory_, "/notify.sock"));
  }
  return absl::OkStatus();
}

absl::Status NotifySocket::Tell(const std::string& text) const {
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd sock, DatagramSocket());
  GANTRY_ASSIGN_OR_RETURN(sockaddr_un address, Address(host_));
  if (sendto(sock.get(), text.data(), text.size(), MSG_NOSIGNAL,
             reinterpret_cast<sockaddr*>(&address), SizeOf(host_)) < 0) {
    return base::ErrnoStatus(errno, absl::StrCat("tell ", host_));
  }
  return absl::OkStatus();
}

absl::Status NotifySocket::Forward(pid_t pid) {
  if (!wanted()) return absl::OkStatus();
  base::UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!process.valid()) return absl::OkStatus();
  pollfd fds[2] = {{sock_.get(), POLLIN, 0}, {process.get(), POLLIN, 0}};
  while (true) {
    if (poll(fds, 2, -1) < 0 && errno != EINTR) return base::ErrnoStatus(errno, "poll");
    if (fds[0].revents == 0 && fds[1].revents != 0) return absl::OkStatus();
    if (fds[0].revents == 0) continue;
    char text[4096];
    ssize_t size = recv(sock_.get(), text, sizeof text, 0);
    if (size <= 0) continue;
    for (absl::string_view line :
         absl::StrSplit(absl::string_view(text, static_cast<size_t>(size)), '\n')) {
      if (!absl::StartsWith(line, "READY=")) continue;
      return Tell(absl::StrCat(line, "\nMAINPID=", pid, "\n"));
    }
  }
}

}  // namespace gantry::oci
