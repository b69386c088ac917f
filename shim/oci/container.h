#ifndef GANTRY_SHIM_OCI_CONTAINER_H_
#define GANTRY_SHIM_OCI_CONTAINER_H_

// The OCI runtime engine: one object per container. It makes namespaces, mounts, cgroups and the
// container's first process by itself; no other program is executed but hooks.
//
//   spec = LoadSpec(bundle);
//   CreatedProcess init;
//   container = Container::Create(options, spec, &init);   // OCI "created"
//   container->Start();                                    // OCI "running"
//   … the caller waits on init.pidfd and reaps init.pid …
//   container->Delete();
//
// Rules for the caller
// - The process must be single-threaded and, because the container's processes are its children,
//   must reap them: the engine waits only for children of its own making that never become part of
//   the container (a first process that failed before Create returned is reaped here too).
// - SIGCHLD may be blocked and read from a signalfd; a blanket waitpid(-1) must not run inside a
//   call of this interface (it cannot, in a single thread).
// - The process should be a child subreaper, so that processes orphaned in a shared pid namespace
//   come to it.
// - Signal mask and dispositions of the caller are not inherited by containers: each starts with
//   an empty mask and defaults.
//
// Errors: the code is the one a task service answers with (InvalidArgument for a bad spec, NotFound
// for a missing program or a process that has ended, PermissionDenied, FailedPrecondition for the
// wrong state, Unimplemented for what the engine cannot do); the message is one sentence with the
// stage, the object and the cause, e.g.
//   exec: "foo": executable file not found in $PATH
//   mount "tmpfs" on "/tmp": invalid argument
// No call blocks on a process of the container; calls block on the kernel (mounts, cgroups) and, in
// Create, Start and Delete, on hooks up to their timeouts.

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "shim/oci/metrics.h"
#include "shim/oci/spec.h"

namespace gantry::oci {

// Descriptors that become 0, 1 and 2 of a process; -1 is /dev/null. They stay the caller's and may
// be closed once the call that took them has returned. Not used when the process has a terminal.
struct ProcessIo {
  int stdin_fd = -1;
  int stdout_fd = -1;
  int stderr_fd = -1;
};

struct CreateOptions {
  std::string id;      // 1 to 1024 characters, no '/'; names the default cgroup
  std::string ns;      // containerd namespace, part of the default cgroup "/NS/ID"; may be empty
  std::string bundle;  // absolute
  // Already mounted root file system, absolute. Empty: spec.root_path, relative to the bundle.
  std::string rootfs;
  ProcessIo io;
  bool no_pivot_root = false;     // MS_MOVE and chroot instead (initramfs)
  bool no_new_keyring = false;    // keep the caller's session keyring
  bool rootless = false;          // of a user without privileges: see rootless.h
  bool systemd_cgroup = false;    // cgroupsPath is "slice:prefix:name" and is used as such
  std::vector<int> preserve_fds;  // become 3, 4, … of the first process, in this order
  // A directory of ours (0700) where compiled seccomp filters are kept across shims; may be empty.
  std::string seccomp_cache_dir;
  // File that gets init's pid in decimal (replaced atomically) before Create returns; may be empty.
  std::string pid_file;
  // For engines that do not stay alive between create and start: a unix socket to be made here, on
  // which the first process waits for whoever calls Start on an object from Open(). May be empty.
  std::string start_socket;
};

// A process of the container, a child of the caller.
struct CreatedProcess {
  pid_t pid = 0;           // in the caller's pid namespace
  base::UniqueFd pidfd;    // readable when it has ended
  base::UniqueFd console;  // the pty's master when the process has a terminal, else invalid
};

struct ExecOptions {
  ProcessIo io;
  std::vector<int> preserve_fds;
  std::string pid_file;
  bool ignore_paused = false;  // start it frozen, instead of FailedPrecondition
  // Existing cgroups below the container's to run in, "[CONTROLLER[,…]:]PATH"; the controllers are
  // those of version 1, without them the path counts for all.
  std::vector<std::string> sub_cgroups;
};

// Reports out-of-memory kills inside the container's cgroup. fd() becomes readable; Drain() then
// tells whether processes were killed since the last call (false for spurious wake-ups, for example
// the removal of the cgroup).
class OomWatch {
 public:
  virtual ~OomWatch() = default;
  virtual int fd() const = 0;
  virtual bool Drain() = 0;
};

class Cgroup;

class Container {
 public:
  // Reads what all containers of this process and of those forked from it must know of the machine,
  // so that they need not. What fails here is tried again by whoever needs it.
  static void Prepare();

  // For the next container of this process, if it gets a new network namespace and no user
  // namespace, which would have to own it: this one, fresh and with `lo` up (see NetworkPool).
  static void LendNetwork(base::UniqueFd network_namespace);

  // Brings the container to the state "created": cgroups, namespaces, mounts, hooks up to
  // createContainer, user, capabilities, working directory; the program has been looked up. The
  // first process then waits for Start. On failure everything made by this call is gone again.
  static absl::StatusOr<std::unique_ptr<Container>> Create(const CreateOptions& options,
                                                           const Spec& spec, CreatedProcess* init);

  // Takes up a container that another process created; `pid` is its first process (dead or alive;
  // the caller has made sure that it is still that one). Its reaping is not ours.
  static absl::StatusOr<std::unique_ptr<Container>> Open(const CreateOptions& options,
                                                         const Spec& spec, pid_t pid);

  // Lets the first process run its startContainer hooks and execute the program, and returns when
  // it did (then runs poststart hooks, one of which that fails ends the container) or with the
  // reason why it could not; in that case the process ends, with status 127 when the program or its
  // interpreter does not exist, else 126, and the caller reaps it as usual. FailedPrecondition when
  // it was started before.
  absl::Status Start();

  // Runs one more process in the container; returns after its program was executed, or with the
  // reason (nothing is left to reap then). FailedPrecondition when the container is not running or
  // paused. `process` needs args, cwd and user as in a spec.
  absl::StatusOr<CreatedProcess> Exec(const ProcessSpec& process, const ExecOptions& options);

  // Signals the first process or, with `all`, every process of the container's cgroup. NotFound
  // with "process already finished" when there is none. A paused container stays paused, except
  // that SIGKILL to all thaws it so that the processes can die.
  absl::Status Kill(int signal, bool all);

  // Processes in the container's cgroup and those beneath, in the caller's pid namespace.
  absl::StatusOr<std::vector<pid_t>> Pids() const;

  absl::Status Pause();  // returns when all processes are frozen
  absl::Status Resume();
  absl::StatusOr<bool> Paused() const;
  absl::Status Update(const Resources& resources);
  absl::StatusOr<Metrics> Stats() const;
  // Before Delete(). What cannot be read is missing in it.
  struct Remains Remains() const;
  // Null with OK never: Unimplemented where the memory controller is absent.
  absl::StatusOr<std::unique_ptr<OomWatch>> WatchOom();

  // Kills what is left, removes the cgroups, runs poststop hooks. Call it after init was reaped
  // (a created or running init is killed, but its reaping stays the caller's). Idempotent. The
  // rootfs mount belongs to the caller.
  absl::Status Delete();

  pid_t init_pid() const;
  // The state document of the runtime specification with the given status ("created", "running",
  // "stopped", …), as hooks get it on their stdin.
  std::string StateJson(absl::string_view status) const;

  // After a crash: kills every process in the container's cgroup and removes the cgroups, found
  // from the bundle's config.json alone. OK when nothing is left, also when the bundle is half
  // gone (then the default cgroup "/NS/ID" is tried). poststop hooks run when config.json is there.
  static absl::Status DeleteLeftovers(const CreateOptions& options);

  ~Container();  // leaves processes and cgroups as they are
  Container(const Container&) = delete;
  Container& operator=(const Container&) = delete;

 private:
  struct Impl;
  explicit Container(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// The name of a system call on an architecture as the kernel's audit log has it (AUDIT_ARCH_X86_64
// = 0xc000003e, …); "syscall 436" for one that libseccomp does not know.
std::string AuditedSyscallName(uint32_t audit_arch, int number);

// The document of `runc features` (runtime-spec "features"), for `-info` and the CLI.
std::string FeaturesJson();

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_CONTAINER_H_
