#ifndef GANTRY_SHIM_OCI_CHILD_H_
#define GANTRY_SHIM_OCI_CHILD_H_

// The code that runs in a new process between clone and execve. It allocates nothing, takes no
// lock, logs nothing and returns to nobody: what goes wrong leaves as a Report and the process
// exits. Errors that only the parent can explain (a missing interpreter) are explained there, while
// the child still holds the container open.

#include <sys/types.h>

#include "shim/oci/plan.h"
#include "shim/oci/protocol.h"

namespace gantry::oci {

class ChildLink {
 public:
  explicit ChildLink(int sock) : sock_(sock) {}

  int sock() const { return sock_; }
  void set_sock(int sock) { sock_ = sock; }

  void Send(ReportKind kind, int value = 0, int fd = -1) const;
  // Returns when the parent said so; exits silently when it is gone.
  void AwaitContinue() const;
  [[noreturn]] void Fail(Stage stage, int error, const char* object, int value = 0) const;

 private:
  int sock_;
};

// --- child_path.cc: paths inside a root directory, without ever leaving it

// openat2 with RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS; -1 and errno on failure.
int OpenInRoot(int root, const char* path, int flags, uint64_t extra_resolve = 0);
// Opens `path` beneath `root` O_PATH; when it is missing, makes it (a directory or an empty file)
// with all its parents, following symbolic links (dangling ones too) as they look from inside.
int OpenOrMake(int root, const char* path, bool directory);
// The parent directory of `path`, made when missing; *name points into `path`.
int OpenParent(int root, const char* path, const char** name);
// "/proc/self/fd/N"
struct FdPath {
  explicit FdPath(int fd);
  char text[32];
};

// --- child_rootfs.cc, child_devices.cc

void SetupRootfs(const ChildLink& link, const RootfsPlan& plan);
// Moves the root to where the bundle has it: hooks look for it there and add mounts.
void ShowRootfs(const ChildLink& link, const RootfsPlan& plan);
// Read-only paths and masks, once nothing has to be written any more.
void FinishRootfs(const ChildLink& link, const RootfsPlan& plan);
void EnterRootfs(const ChildLink& link, const RootfsPlan& plan);
// Copies what is in the directory `from` (attributes too) into the new mount `to`.
void CopyUp(const ChildLink& link, int from, int to, const char* destination);
void SetupDevices(const ChildLink& link, const RootfsPlan& plan, int root);
// Opens a pty of the devpts in `root`, sends the master away and, with `bind_console`, mounts the
// slave on /dev/console. Returns the slave.
int SetupConsole(const ChildLink& link, const ProcessPlan& process, int root, bool bind_console);

// --- child_namespaces.cc

void JoinCgroups(const ChildLink& link, const NamespacePlan& plan);
void JoinNamespaces(const ChildLink& link, const NamespacePlan& plan);
// Makes a time namespace with its offsets, for children: nobody may have entered it yet. `offsets`
// is opened before a change of user namespaces, after which /proc/self belongs to nobody we can be.
int OpenTimeOffsets(const ChildLink& link);
void MakeTimeNamespace(const ChildLink& link, const NamespacePlan& plan, int offsets);
// In a user namespace just made: has the parent write its maps, then becomes its root.
void MapIds(const ChildLink& link);
void SetupNamespaces(const ChildLink& link, const NamespacePlan& plan);

// --- child_hooks.cc

void RunHooks(const ChildLink& link, const std::vector<HookPlan>& hooks, const std::string& prefix,
              const std::string& suffix);

// --- child_tuning.cc

// Scheduler, I/O priority and memory policy.
void ApplyTuning(const ChildLink& link, const ProcessPlan& plan);

// --- child_process.cc

// Puts `terminal` (or ProcessPlan::io) on 0 to 2 and the preserved descriptors behind; a terminal
// becomes the controlling one. The link's socket moves above them; nothing else stays open but
// `listener` (-1: none).
void OpenStdio(ChildLink* link, const ProcessPlan& plan, int terminal, int listener);
// Working directory, user, capabilities, and the program's path into `program` (PATH_MAX bytes).
void PrepareProcess(const ChildLink& link, const ProcessPlan& plan, char* program);
// Labels, seccomp, the last capabilities, execve.
[[noreturn]] void ExecuteProgram(const ChildLink& link, const ProcessPlan& plan,
                                 const char* program);

// --- child_init.cc

[[noreturn]] void RunInit(int sock, const InitPlan& plan);
// As RunInit, for plans that join namespaces and have a user namespace: joins, then clones a
// sibling (CLONE_PARENT) that goes on, reports kStagedPid and exits.
[[noreturn]] void RunStaged(int sock, const InitPlan& plan);
// A process beside init: NamespacePlan::joins holds a pidfd when `pidfd_flags` is not 0.
[[noreturn]] void RunExec(int sock, const NamespacePlan& namespaces, int pidfd, int pidfd_flags,
                          const ProcessPlan& process);

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_CHILD_H_
