#include "shim/oci/network_pool.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/status.h"

namespace gantry::oci {
namespace {

// As many starts at the same moment find one ready; each weighs some 200 KB of kernel memory.
constexpr int kReady = 4;
// Behind what runs in the foreground: whoever finds none ready makes one himself.
constexpr int kNiceness = 5;

bool BringLoopbackUp() {
  base::UniqueFd sock(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request = {};
  strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP;
  return sock && ioctl(sock.get(), SIOCSIFFLAGS, &request) == 0;
}

bool Offer(int sock, int fd) {
  char byte = 0;
  iovec data = {&byte, 1};
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
  return sendmsg(sock, &message, MSG_NOSIGNAL) == 1;
}

// One more for each byte that comes, until the other end closes. The first ones without being
// asked.
[[noreturn]] void Make(int sock) {
  prctl(PR_SET_NAME, "gantry-netns");
  // Whoever waits for the end of our parent's connections must not wait for us.
  if (sock > 3) syscall(SYS_close_range, 3, sock - 1, 0);
  syscall(SYS_close_range, sock + 1, ~0u, 0);
  setpriority(PRIO_PROCESS, 0, kNiceness);
  base::UniqueFd home(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  char token;
  for (int made = 0; made < kReady || recv(sock, &token, 1, 0) == 1; ++made) {
    if (unshare(CLONE_NEWNET) != 0 || !BringLoopbackUp()) break;
    base::UniqueFd fresh(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
    // Back, so that none depends on the one before, and none lives on because we are in it.
    if (!home || !fresh || setns(home.get(), CLONE_NEWNET) != 0) break;
    if (!Offer(sock, fresh.get())) break;
  }
  _exit(0);
}

}  // namespace

absl::StatusOr<NetworkPool> NetworkPool::Start() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return base::ErrnoStatus(errno, "socketpair");
  }
  base::UniqueFd ours(ends[0]), theirs(ends[1]);
  pid_t pid = fork();
  if (pid < 0) return base::ErrnoStatus(errno, "fork");
  if (pid == 0) {
    ours.Reset();
    Make(theirs.get());
  }
  return NetworkPool(std::move(ours));
}

base::UniqueFd NetworkPool::Take() {
  char byte;
  iovec data = {&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  if (recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != 1) return {};
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_type != SCM_RIGHTS) return {};
  int fd;
  memcpy(&fd, CMSG_DATA(header), sizeof fd);
  // The next one; if the maker has ended there is none.
  char token = 0;
  (void)send(socket_.get(), &token, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
  return base::UniqueFd(fd);
}

}  // namespace gantry::oci
