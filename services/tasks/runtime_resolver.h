#ifndef GANTRY_SERVICES_TASKS_RUNTIME_RESOLVER_H_
#define GANTRY_SERVICES_TASKS_RUNTIME_RESOLVER_H_

#include <map>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry::services {

// Finds the binary that a runtime name means. Thread-safe; looks at the file system.
class RuntimeResolver {
 public:
  // `configured`: runtime name → absolute path, or another runtime name (followed once).
  explicit RuntimeResolver(std::map<std::string, std::string> configured)
      : configured_(std::move(configured)) {}

  // An absolute path is itself (NotFound if there is no such file); a name with '/' otherwise is
  // InvalidArgument; "io.containerd.runc.v2" is configured or containerd-shim-runc-v2, looked for
  // in PATH, then beside our own executable. NotFound `runtime "x" binary not installed "y"`. What
  // was found by name is remembered.
  absl::StatusOr<std::string> Resolve(const std::string& runtime);

  // containerd-shim-X-vN for "a.b.X.vN"; empty for a name with fewer than two parts or an empty
  // first one.
  static std::string BinaryName(absl::string_view runtime);

 private:
  const std::map<std::string, std::string> configured_;
  std::mutex mutex_;
  std::map<std::string, std::string> found_;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_TASKS_RUNTIME_RESOLVER_H_
