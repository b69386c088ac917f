#ifndef GANTRY_SHIM_OCI_SPAWN_H_
#define GANTRY_SHIM_OCI_SPAWN_H_

#include <sys/types.h>

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "shim/oci/plan.h"
#include "shim/oci/protocol.h"

namespace gantry::oci {

// A child that RunInit or RunExec prepares, seen from its parent. Until Detach() the object owns
// the process: its destructor kills and reaps it.
class Spawned {
 public:
  struct Handlers {
    std::function<absl::Status()> maps;   // kNeedMaps
    std::function<absl::Status()> hooks;  // kNeedHooks
  };

  // Forks with `clone_flags` (CLONE_NEW*); `join_pid` (-1: none) is a pid namespace or a pidfd with
  // CLONE_NEWPID to be joined for the child; `body` runs in the child and must not return.
  static absl::StatusOr<Spawned> Clone(int clone_flags, int join_pid,
                                       const std::function<void(int sock)>& body);

  // A ready process that waits on a unix socket (InitPlan::start_listener); not ours to reap.
  static absl::StatusOr<Spawned> Connect(pid_t pid, const std::string& socket_path);

  Spawned(Spawned&&) = default;
  Spawned& operator=(Spawned&&) = delete;
  ~Spawned();

  pid_t pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }

  // After RunStaged: from now on this is the process that it cloned. `maps` as in Handlers.
  absl::Status AdoptSibling(const std::function<absl::Status()>& maps);
  // Talks to the child until it is ready. An error of the child ends it.
  absl::Status AwaitReady(const Handlers& handlers);
  // Lets a ready child execute its program; OK when execve succeeded. `listener` gets the
  // descriptor of seccomp notifications when there is one; if it fails, the process is killed. An
  // error leaves the process to whoever reaps it.
  absl::Status Execute(const std::function<absl::Status(base::UniqueFd)>& listener);
  // Gives the pieces away: no kill, no reaping here.
  base::UniqueFd TakePidfd() { return std::move(pidfd_); }
  base::UniqueFd TakeConsole() { return std::move(console_); }
  void Detach() { detached_ = true; }

 private:
  Spawned(pid_t pid, base::UniqueFd pidfd, base::UniqueFd sock);
  absl::StatusOr<bool> Receive(Report* report);  // false: the other end is gone
  absl::Status Answer();

  pid_t pid_;
  base::UniqueFd pidfd_;
  base::UniqueFd sock_;
  base::UniqueFd received_;  // with the last report
  base::UniqueFd console_;
  bool detached_ = false;
};

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_SPAWN_H_
