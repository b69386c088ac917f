#ifndef GANTRY_SHIM_PAUSE_H_
#define GANTRY_SHIM_PAUSE_H_

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace gantry::shim {

// The namespaces of a pod, and what is set up in them.
struct PausePlan {
  int new_namespaces = 0;             // CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWPID
  std::vector<base::UniqueFd> joins;  // namespaces to enter instead
  std::string hostname;               // with CLONE_NEWUTS; empty: stays
  std::vector<std::pair<std::string, std::string>> sysctls;  // path below /proc/sys, value
};

struct PauseProcess {
  pid_t pid = 0;         // a child of ours, to be reaped by the loop
  base::UniqueFd pidfd;  // readable when it has ended
};

// Makes a process that does nothing but hold the namespaces, and reap as the first process of a pid
// namespace. It is a fork of the shim without its memory's secrets being reachable: nobody (65534)
// without capabilities, not dumpable, no descriptors, an empty read-only file system as root. It
// ends on SIGTERM, and with the thread that made it. Errors name the step.
absl::StatusOr<PauseProcess> StartPause(const PausePlan& plan);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_PAUSE_H_
