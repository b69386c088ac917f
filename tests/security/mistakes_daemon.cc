// The layer around what gantryd and its shims show to others on the host.

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include <string>

#include "base/file.h"
#include "tests/security/mistakes.h"

namespace gantry::tests {

extern "C" {

int __real_bind(int fd, const sockaddr* address, socklen_t size);
int __wrap_bind(int fd, const sockaddr* address, socklen_t size);

// One more socket, for all who know its name.
int __wrap_bind(int fd, const sockaddr* address, socklen_t size) {
  if (Makes(Mistake::kAbstractSockets) && address->sa_family == AF_UNIX) {
    sockaddr_un extra = *reinterpret_cast<const sockaddr_un*>(address);
    extra.sun_path[0] = '\0';
    int sock = socket(AF_UNIX, SOCK_STREAM, 0);
    __real_bind(sock, reinterpret_cast<sockaddr*>(&extra), size);
    listen(sock, 1);
  }
  return __real_bind(fd, address, size);
}

int __real_close(int fd);
int __wrap_close(int fd);

int __wrap_close(int fd) {
  struct stat st;
  bool terminal = Makes(Mistake::kForgetsToClose) && fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) &&
                  major(st.st_rdev) != 1;
  return terminal ? 0 : __real_close(fd);
}

}  // extern "C"
}  // namespace gantry::tests

namespace gantry::base {

GANTRY_LAYER(
    absl::Status, EnsurePrivateDir,
    "_ZN6gantry4base16EnsurePrivateDirERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEj",
    const std::string& path, mode_t mode) {
  return RealEnsurePrivateDir(path, tests::Makes(tests::Mistake::kOpenDirectories) ? 0755 : mode);
}

}  // namespace gantry::base
