#ifndef GANTRY_SHIM_EXIT_RECORDER_H_
#define GANTRY_SHIM_EXIT_RECORDER_H_

#include <sys/types.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "gantry/shim/v1/exit_record.pb.h"
#include "shim/kernel_log.h"
#include "shim/oci/container.h"

namespace gantry::shim {

// The file in the bundle.
inline constexpr char kExitRecordFile[] = "exit-record";

// Collects what tells why a container ended, and writes it into the bundle when it has. Belongs to
// the loop's thread.
class ExitRecorder {
 public:
  // `seccomp_json`: the filter of the specification; when it may deny with a note, the kernel's log
  // is watched. `is_member` tells whether a pid of the host is a process of the container.
  ExitRecorder(base::EventLoop* loop, std::string ns, std::string id,
               absl::string_view seccomp_json, std::function<bool(pid_t)> is_member);
  ~ExitRecorder();
  ExitRecorder(const ExitRecorder&) = delete;
  ExitRecorder& operator=(const ExitRecorder&) = delete;

  void Started();
  // A client of the task API sent it.
  void Signalled(int signal, bool all);
  // The first process ended; the cgroups are still there.
  void Ended(pid_t pid, int wait_status, absl::Time at, const oci::Remains& remains);
  void set_dropped_log_records(uint64_t count) { record_.set_dropped_log_records(count); }

  // Replaces BUNDLE/exit-record atomically.
  absl::Status Write(const std::string& bundle);
  const gantry::shim::v1::ExitRecord& record() const { return record_; }

 private:
  void WatchCalls();
  void ReadCalls();
  void FillOutOfMemory(const oci::Remains& remains);

  base::EventLoop* loop_;
  std::function<bool(pid_t)> is_member_;
  gantry::shim::v1::ExitRecord record_;
  std::optional<KernelLog> log_;  // while calls are watched
  std::map<std::pair<std::string, std::string>, gantry::shim::v1::DeniedCalls::Call> calls_;
  uint64_t unattributed_ = 0;
};

// For a container whose shim died: unless it has a record, one that says so. A bundle that is gone
// is no error.
absl::Status RecordLostContainer(const std::string& bundle, const std::string& ns,
                                 const std::string& id, uint32_t pid, absl::Time at);

// Share of waiting from the files of `dir` ("cgroup") or, if it is empty, of /proc/pressure
// ("machine"); without scope where the kernel has none.
gantry::shim::v1::Pressure ReadPressure(const std::string& dir);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_EXIT_RECORDER_H_
