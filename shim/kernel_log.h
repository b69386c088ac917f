#ifndef GANTRY_SHIM_KERNEL_LOG_H_
#define GANTRY_SHIM_KERNEL_LOG_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"

namespace gantry::shim {

// A line of the OOM killer ("oom-kill:constraint=…,task_memcg=/a/b,task=dd,pid=8341,…").
struct OomKill {
  std::string cgroup;  // the victim's
  std::string program;
  pid_t pid = 0;  // in the host's namespace
  bool machine_wide = false;
};
std::optional<OomKill> ParseOomKill(absl::string_view message);

// A line of seccomp in the audit log ("audit: type=1326 … pid=7 comm="x" … arch=c000003e syscall=9
// … code=0x7ffc0000").
struct AuditedCall {
  pid_t pid = 0;
  std::string program;
  uint32_t arch = 0;
  int number = 0;
  const char* action = "";  // "logged", "killed", "refused", "trapped"
};
std::optional<AuditedCall> ParseAuditedCall(absl::string_view message);

// /dev/kmsg: the kernel's log, each record once, from now on or from the oldest. Needs CAP_SYSLOG
// where kernel.dmesg_restrict is set. When auditd runs, seccomp's lines go to it instead.
class KernelLog {
 public:
  enum class From { kOldest, kNow };
  static absl::StatusOr<KernelLog> Open(From from);

  int fd() const { return fd_.get(); }  // readable when there is a record
  // Calls `fn` for the text of each record that is there.
  void Read(const std::function<void(absl::string_view message)>& fn);

 private:
  explicit KernelLog(base::UniqueFd fd) : fd_(std::move(fd)) {}
  base::UniqueFd fd_;
};

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_KERNEL_LOG_H_
