#include "shim/oci/spawn.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "shim/oci/explain.h"

// <sched.h> has no C++-safe way beside <linux/sched.h>.
extern "C" int setns(int fd, int nstype) noexcept;

namespace gantry::oci {
namespace {

// Makes the next child start in another pid namespace, and ours again afterwards; our own
// membership never changes.
class PidNamespaceForChildren {
 public:
  absl::Status Enter(int target) {
    if (target < 0) return absl::OkStatus();
    GANTRY_ASSIGN_OR_RETURN(own_, base::Open("/proc/self/ns/pid", O_RDONLY));
    if (setns(target, CLONE_NEWPID) != 0) {
      int error = errno;
      own_.Reset();
      return base::ErrnoStatus(error, "join pid namespace");
    }
    return absl::OkStatus();
  }
  ~PidNamespaceForChildren() {
    // Joining one's own namespace again is always allowed.
    if (own_.valid()) setns(own_.get(), CLONE_NEWPID);
  }

 private:
  base::UniqueFd own_;
};

absl::Status CloneError(int error, int join_pid) {
  if (join_pid >= 0 && (error == ENOMEM || error == EINVAL)) {
    return absl::FailedPreconditionError(
        "clone: the pid namespace to join has lost its first process");
  }
  if (error == EAGAIN) {
    return absl::ResourceExhaustedError(
        "clone: a limit of processes is reached: raise RLIMIT_NPROC, kernel.pid_max or the pids "
        "limit of the engine's cgroup");
  }
  return base::ErrnoStatus(error, "clone with new namespaces");
}

}  // namespace

Spawned::Spawned(pid_t pid, base::UniqueFd pidfd, base::UniqueFd sock)
    : pid_(pid), pidfd_(std::move(pidfd)), sock_(std::move(sock)) {}

absl::StatusOr<Spawned> Spawned::Clone(int clone_flags, int join_pid,
                                       const std::function<void(int sock)>& body) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return base::ErrnoStatus(errno, "socketpair");
  }
  base::UniqueFd ours(ends[0]), theirs(ends[1]);
  PidNamespaceForChildren pid_namespace;
  GANTRY_RETURN_IF_ERROR(pid_namespace.Enter(join_pid));
  int pidfd = -1;
  clone_args args = {};
  args.flags = static_cast<uint64_t>(static_cast<unsigned>(clone_flags)) | CLONE_PIDFD;
  args.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  args.exit_signal = SIGCHLD;
  long pid = syscall(SYS_clone3, &args, sizeof args);
  if (pid < 0) return CloneError(errno, join_pid);
  if (pid == 0) {
    close(ours.get());
    body(theirs.get());
    _exit(126);
  }
  return Spawned(static_cast<pid_t>(pid), base::UniqueFd(pidfd), std::move(ours));
}

absl::StatusOr<Spawned> Spawned::Connect(pid_t pid, const std::string& socket_path) {
  base::UniqueFd sock(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (socket_path.size() >= sizeof address.sun_path) {
    return absl::InvalidArgumentError(absl::StrCat("socket path too long: ", socket_path));
  }
  memcpy(address.sun_path, socket_path.c_str(), socket_path.size() + 1);
  if (connect(sock.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    if (errno == ECONNREFUSED || errno == ENOENT) {
      return absl::FailedPreconditionError("cannot start a container that is not in state created");
    }
    return base::ErrnoStatus(errno, absl::StrCat("connect to ", socket_path));
  }
  Spawned spawned(pid, base::UniqueFd(), std::move(sock));
  spawned.Detach();
  return spawned;
}

Spawned::~Spawned() {
  if (detached_ || !pidfd_.valid()) return;
  syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0);
  int status = 0;
  while (waitpid(pid_, &status, __WALL) < 0 && errno == EINTR) {
  }
}

absl::StatusOr<bool> Spawned::Receive(Report* report) {
  iovec data = {report, sizeof *report};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t n;
  do {
    n = recvmsg(sock_.get(), &message, MSG_CMSG_CLOEXEC);
  } while (n < 0 && errno == EINTR);
  // A child that dies with an answer of ours unread resets the connection.
  if (n == 0 || (n < 0 && errno == ECONNRESET)) return false;
  if (n < 0) return base::ErrnoStatus(errno, "hear from the container's process");
  if (n != sizeof *report) return absl::InternalError("a short report from the child");
  report->object[sizeof report->object - 1] = '\0';
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header != nullptr && header->cmsg_type == SCM_RIGHTS &&
      header->cmsg_len == CMSG_LEN(sizeof(int))) {
    int fd;
    memcpy(&fd, CMSG_DATA(header), sizeof fd);
    received_.Reset(fd);
  }
  if (report->kind == ReportKind::kConsole) console_ = std::move(received_);
  return true;
}

absl::Status Spawned::Answer() {
  if (send(sock_.get(), &kContinue, 1, MSG_NOSIGNAL) == 1) return absl::OkStatus();
  return base::ErrnoStatus(errno, "answer the container's process");
}

absl::Status Spawned::AdoptSibling(const std::function<absl::Status()>& maps) {
  Report report;
  GANTRY_ASSIGN_OR_RETURN(bool heard, Receive(&report));
  if (heard && report.kind == ReportKind::kNeedMaps) {
    GANTRY_RETURN_IF_ERROR(maps());
    GANTRY_RETURN_IF_ERROR(Answer());
    GANTRY_ASSIGN_OR_RETURN(heard, Receive(&report));
  }
  if (!heard) return absl::UnknownError("the process that joins namespaces died");
  if (report.kind != ReportKind::kStagedPid) return ExplainReport(report, pid_);
  base::UniqueFd sibling = std::move(received_);
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  // The number that the sender saw may be one of another pid namespace; the kernel shows ours.
  GANTRY_ASSIGN_OR_RETURN(std::string info,
                          base::ReadFile(absl::StrCat("/proc/self/fdinfo/", sibling.get())));
  size_t at = info.find("\nPid:");
  pid_t pid = 0;
  if (at == std::string::npos ||
      !absl::SimpleAtoi(info.substr(at + 5, info.find('\n', at + 1) - at - 5), &pid) || pid <= 0) {
    return absl::InternalError("the kernel does not tell the pid of a pidfd");
  }
  pid_ = pid;
  pidfd_ = std::move(sibling);
  return Answer();
}

absl::Status Spawned::AwaitReady(const Handlers& handlers) {
  while (true) {
    Report report;
    GANTRY_ASSIGN_OR_RETURN(bool heard, Receive(&report));
    if (!heard) {
      return absl::UnknownError(
          "the container's first process died while it was set up (killed, "
          "or out of memory)");
    }
    switch (report.kind) {
      case ReportKind::kNeedMaps:
        GANTRY_RETURN_IF_ERROR(handlers.maps());
        GANTRY_RETURN_IF_ERROR(Answer());
        break;
      case ReportKind::kNeedHooks:
        GANTRY_RETURN_IF_ERROR(handlers.hooks());
        GANTRY_RETURN_IF_ERROR(Answer());
        break;
      case ReportKind::kReady:
        return absl::OkStatus();
      case ReportKind::kError:
        return ExplainReport(report, pid_);
      default:
        break;
    }
  }
}

absl::Status Spawned::Execute(const std::function<absl::Status(base::UniqueFd)>& listener) {
  GANTRY_RETURN_IF_ERROR(Answer());
  Report report;
  GANTRY_ASSIGN_OR_RETURN(bool heard, Receive(&report));
  if (heard && report.kind == ReportKind::kListener) {
    absl::Status given = listener(std::move(received_));
    if (!given.ok()) {
      kill(pid_, SIGKILL);
      sock_.Reset();
      return given;
    }
    GANTRY_ASSIGN_OR_RETURN(heard, Receive(&report));
  }
  if (!heard) {
    // The socket closed by execve, or the process died before it got there; both are the past of
    // a started process, and the second one shows in its exit status.
    sock_.Reset();
    return absl::OkStatus();
  }
  absl::Status status = ExplainReport(report, pid_);
  Answer().IgnoreError();
  sock_.Reset();
  return status;
}

}  // namespace gantry::oci
