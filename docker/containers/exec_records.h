#ifndef GANTRY_DOCKER_CONTAINERS_EXEC_RECORDS_H_
#define GANTRY_DOCKER_CONTAINERS_EXEC_RECORDS_H_

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "docker/types/json_object.h"

namespace gantry::docker {

// A process in a container, as Docker's exec API knows it. The process itself is a task's exec in
// gantryd under the same id.
struct ExecRecord {
  std::string id;
  std::string container;
  bool terminal = false;
  bool in = false, out = false, err = false;
  std::string attach_path;  // of the shim's socket; empty: no streams
  bool running = false;
  bool stream_ended = false;  // its client has all of its output: the exit is not far
  uint32_t pid = 0;
  std::optional<uint32_t> exit_code;
  // What only its maker knows; empty when that was an earlier frontend.
  std::string program;
  StringList args;
  std::string user;
  std::string detach_keys;
  std::optional<bool> privileged;
};

// An id tells its container: 32 random digits, then the first 32 of the container's id.
std::string MakeExecId(const std::string& container);
// The beginning of the container's id; empty for what is no exec's id.
std::string ContainerOfExec(const std::string& exec_id);

// What this process knows of execs: spares calls, and keeps what gantryd does not. Thread-safe; the
// oldest go when there are many.
class ExecRecords {
 public:
  void Put(const ExecRecord& record);
  std::optional<ExecRecord> Find(const std::string& id);
  void SetRunning(const std::string& id, uint32_t pid);
  void SetExited(const std::string& id, uint32_t exit_code);
  void SetStreamEnded(const std::string& id);
  // Blocks until it has ended, or a while has passed.
  void AwaitExit(const std::string& id, absl::Duration patience);
  StringList OfContainer(const std::string& container);  // those that have not ended

 private:
  absl::Mutex mutex_;
  std::map<std::string, ExecRecord> records_ ABSL_GUARDED_BY(mutex_);
  std::map<uint64_t, std::string> by_age_ ABSL_GUARDED_BY(mutex_);
  uint64_t next_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_CONTAINERS_EXEC_RECORDS_H_
