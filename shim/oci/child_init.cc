#include <fcntl.h>
#include <limits.h>
#include <linux/sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "shim/oci/child.h"

extern "C" int setns(int fd, int nstype) noexcept;
extern "C" int unshare(int flags) noexcept;

namespace gantry::oci {

void ChildLink::Send(ReportKind kind, int value, int fd) const {
  Report report;
  report.kind = kind;
  report.value = value;
  iovec data = {&report, sizeof report};
  msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  if (fd >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
  }
  if (sendmsg(sock_, &message, MSG_NOSIGNAL) < 0) _exit(126);
}

void ChildLink::AwaitContinue() const {
  char answer = 0;
  ssize_t n;
  do {
    n = recv(sock_, &answer, 1, 0);
  } while (n < 0 && errno == EINTR);
  if (n != 1 || answer != kContinue) _exit(126);
}

void ChildLink::Fail(Stage stage, int error, const char* object, int value) const {
  Report report;
  report.kind = ReportKind::kError;
  report.stage = stage;
  report.error = error;
  report.value = value;
  strncpy(report.object, object, sizeof report.object - 1);
  if (send(sock_, &report, sizeof report, MSG_NOSIGNAL) > 0) {
    // The parent may look into our root to explain, before we go.
    char answer;
    while (recv(sock_, &answer, 1, 0) < 0 && errno == EINTR) {
    }
  }
  bool missing = error == ENOENT || error == kErrorNotInPath;
  _exit((stage == Stage::kExec || stage == Stage::kLookup) && missing ? 127 : 126);
}

namespace {

// Until somebody connects and says the word; a connection that closes without it was no starter.
void AcceptStarter(ChildLink* link, int listener) {
  while (true) {
    int sock = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (sock < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
    if (sock < 0) _exit(126);
    char answer = 0;
    if (recv(sock, &answer, 1, MSG_PEEK) == 1) {
      close(link->sock());
      link->set_sock(sock);
      close(listener);
      return;
    }
    close(sock);
  }
}

[[noreturn]] void RunJoined(ChildLink link, const InitPlan& plan) {
  umask(0);
  SetupNamespaces(link, plan.namespaces);
  int terminal = -1;
  if (plan.rootfs.enabled) {
    SetupRootfs(link, plan.rootfs);
    if (plan.process.terminal) {
      terminal = SetupConsole(link, plan.process, plan.rootfs.tree.get(), true);
    }
  }
  if (plan.rootfs.enabled && (plan.parent_hooks || !plan.create_container.empty())) {
    ShowRootfs(link, plan.rootfs);
  }
  if (plan.parent_hooks) {
    link.Send(ReportKind::kNeedHooks);
    link.AwaitContinue();
  }
  RunHooks(link, plan.create_container, plan.creating_prefix, plan.state_suffix);
  if (plan.rootfs.enabled) {
    FinishRootfs(link, plan.rootfs);
    EnterRootfs(link, plan.rootfs);
  } else if (plan.process.terminal) {
    int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    terminal = SetupConsole(link, plan.process, root, false);
  }
  OpenStdio(&link, plan.process, terminal, plan.start_listener.get());
  char program[PATH_MAX];
  PrepareProcess(link, plan.process, program);
  link.Send(ReportKind::kReady);
  if (plan.start_listener.valid()) AcceptStarter(&link, plan.start_listener.get());
  link.AwaitContinue();
  RunHooks(link, plan.start_container, plan.created_prefix, plan.state_suffix);
  ExecuteProgram(link, plan.process, program);
}

}  // namespace

void RunInit(int sock, const InitPlan& plan) {
  ChildLink link(sock);
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  JoinCgroups(link, plan.namespaces);
  JoinNamespaces(link, plan.namespaces);
  if (plan.namespaces.maps) MapIds(link);
  RunJoined(link, plan);
}

// What is joined belongs to whoever owns it now, and what is new must belong to the user namespace
// that is joined or made: so the joining is done by a process that then clones the real one as its
// sibling.
void RunStaged(int sock, const InitPlan& plan) {
  ChildLink link(sock);
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  JoinCgroups(link, plan.namespaces);
  JoinNamespaces(link, plan.namespaces);
  unsigned flags = static_cast<unsigned>(plan.namespaces.clone_flags);
  bool maps = plan.namespaces.maps;
  if (plan.namespaces.new_time) {
    int offsets = OpenTimeOffsets(link);
    // It belongs to the new user namespace, which therefore has to come first.
    if (maps) {
      if (unshare(CLONE_NEWUSER) != 0) link.Fail(Stage::kUnshare, errno, "user namespace");
      MapIds(link);
      flags &= ~static_cast<unsigned>(CLONE_NEWUSER);
      maps = false;
    }
    MakeTimeNamespace(link, plan.namespaces, offsets);
  }
  int pidfd = -1;
  clone_args args = {};
  args.flags = uint64_t{flags} | CLONE_PIDFD | CLONE_PARENT;
  args.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  long pid = syscall(SYS_clone3, &args, sizeof args);
  if (pid < 0) link.Fail(Stage::kUnshare, errno, "the joined namespaces");
  if (pid == 0) {
    // Nothing of the container before the parent knows its process.
    link.AwaitContinue();
    if (maps) MapIds(link);
    RunJoined(link, plan);
  }
  link.Send(ReportKind::kStagedPid, 0, pidfd);
  _exit(0);
}

void RunExec(int sock, const NamespacePlan& namespaces, int pidfd, int pidfd_flags,
             const ProcessPlan& process) {
  ChildLink link(sock);
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  JoinCgroups(link, namespaces);
  if (pidfd_flags != 0 && setns(pidfd, pidfd_flags) != 0) {
    link.Fail(Stage::kJoinNamespace, errno, "the container's namespaces");
  }
  SetupNamespaces(link, namespaces);
  int terminal = -1;
  if (process.terminal) {
    int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0) link.Fail(Stage::kConsole, errno, "/");
    terminal = SetupConsole(link, process, root, false);
    close(root);
  }
  OpenStdio(&link, process, terminal, -1);
  char program[PATH_MAX];
  PrepareProcess(link, process, program);
  link.Send(ReportKind::kReady);
  link.AwaitContinue();
  ExecuteProgram(link, process, program);
}

}  // namespace gantry::oci
