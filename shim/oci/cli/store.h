#ifndef GANTRY_SHIM_OCI_CLI_STORE_H_
#define GANTRY_SHIM_OCI_CLI_STORE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "shim/oci/container.h"

namespace gantry::oci {

// What the command line remembers of a container between its calls: ROOT/ID with config.json (a
// copy of the bundle's), state.json and, until it was started, start.sock.
struct Record {
  CreateOptions options;
  Spec spec;
  pid_t pid = 0;
  uint64_t start_time = 0;  // of the first process, in ticks since boot: pids are used again
  std::string created;      // RFC 3339

  // "created", "running", "paused" or "stopped".
  absl::StatusOr<std::string> Status() const;
  absl::StatusOr<std::unique_ptr<Container>> Open() const;
  std::string RootfsPath() const;
};

class Store {
 public:
  explicit Store(std::string root) : root_(std::move(root)) {}

  std::string Directory(const std::string& id) const { return root_ + "/" + id; }
  // Reserves the id (AlreadyExists: "container with given ID already exists") and copies the spec.
  absl::Status Reserve(const std::string& id, const std::string& bundle);
  absl::Status Save(const Record& record) const;
  absl::StatusOr<Record> Load(const std::string& id) const;  // NotFound: "container does not exist"
  absl::Status Started(const std::string& id) const;
  absl::Status Remove(const std::string& id) const;
  absl::StatusOr<std::vector<std::string>> Ids() const;

  // The start socket's path through a descriptor, because ids and roots can be longer than socket
  // paths may be. The descriptor stays open for the life of the store.
  absl::StatusOr<std::string> StartSocket(const std::string& id);

 private:
  std::string root_;
  base::UniqueFd directory_;
};

// Field 22 of /proc/PID/stat; 0 when the process is gone or a zombie.
uint64_t ProcessStartTime(pid_t pid);

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_CLI_STORE_H_
