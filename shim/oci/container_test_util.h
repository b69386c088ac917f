#ifndef GANTRY_SHIM_OCI_CONTAINER_TEST_UTIL_H_
#define GANTRY_SHIM_OCI_CONTAINER_TEST_UTIL_H_

// Real containers for tests: a busybox root file system in a temporary bundle, a spec like the one
// containerd's clients make, and a run that collects output and status.

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/json.h"
#include "base/unique_fd.h"
#include "gtest/gtest.h"
#include "shim/oci/container.h"

namespace gantry::oci {

struct RunOutcome {
  absl::Status status;   // of Create or Start
  int exit_status = -1;  // 128 + signal
  std::string out;       // stdout and stderr
};

// A bundle directory that removes itself; destroyed containers are killed and their cgroups
// removed.
class TestBundle {
 public:
  TestBundle();
  ~TestBundle();

  const std::string& dir() const { return dir_; }
  const std::string& id() const { return id_; }
  std::string rootfs() const { return dir_ + "/rootfs"; }
  // Editable config.json: mount, pid, network, ipc, uts, cgroup namespaces, the usual mounts and
  // masks, Docker's default capabilities, `args` to be set.
  base::Json spec;
  CreateOptions options;

  // Adds a user namespace that maps 65536 ids from 100000 on.
  void UseUserNamespace();

  // Shorthand for process.args = {"sh", "-c", script}.
  void Script(const std::string& script);
  // Create, with stdio on a pipe.
  absl::Status Create();
  // Create + Start + wait + Delete.
  RunOutcome Run();
  RunOutcome RunScript(const std::string& script) {
    Script(script);
    return Run();
  }
  RunOutcome ExecScript(const std::string& script, base::Json process = base::Json());

  Container* container() { return container_.get(); }
  CreatedProcess& init() { return init_; }
  // Reads what the container printed until all writers are gone (10 s at most).
  std::string Drain();
  static int Reap(pid_t pid);  // exit status or 128 + signal; at most 10 s, then the test fails
  void Delete();

 private:
  std::string dir_;
  std::string id_;
  std::unique_ptr<Container> container_;
  CreatedProcess init_;
  base::UniqueFd output_;
  bool reaped_ = false;
};

void WriteTestFile(const std::string& path, const std::string& text, mode_t mode = 0644);

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_CONTAINER_TEST_UTIL_H_
