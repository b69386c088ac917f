#include "services/tasks/runtime_resolver.h"

#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/status.h"

namespace gantry::services {
namespace {

std::string OwnDirectory() {
  char path[PATH_MAX];
  ssize_t n = readlink("/proc/self/exe", path, sizeof path);
  if (n <= 0) return "";
  std::string self(path, static_cast<size_t>(n));
  return self.substr(0, self.rfind('/'));
}

// Empty if it is nowhere.
std::string FindBinary(const std::string& name) {
  const char* path = getenv("PATH");
  std::vector<std::string> dirs =
      absl::StrSplit(path != nullptr ? path : "/usr/sbin:/usr/bin:/sbin:/bin", ':');
  dirs.push_back(OwnDirectory());
  for (const std::string& dir : dirs) {
    // Relative entries would depend on where the daemon was started.
    if (!absl::StartsWith(dir, "/")) continue;
    std::string candidate = absl::StrCat(dir, "/", name);
    if (access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return "";
}

absl::Status BadName(const std::string& runtime) {
  return absl::InvalidArgumentError(
      absl::StrCat("invalid runtime name ", runtime,
                   ", correct runtime name should be either format like `io.containerd.runc.v2` or "
                   "a full path to the binary"));
}

}  // namespace

std::string RuntimeResolver::BinaryName(absl::string_view runtime) {
  std::vector<absl::string_view> parts = absl::StrSplit(runtime, '.');
  if (parts.size() < 2 || parts[0].empty()) return "";
  return absl::StrCat("containerd-shim-", parts[parts.size() - 2], "-", parts.back());
}

absl::StatusOr<std::string> RuntimeResolver::Resolve(const std::string& runtime) {
  if (runtime.empty()) return absl::InvalidArgumentError("no runtime name");
  auto entry = configured_.find(runtime);
  const std::string& name = entry == configured_.end() ? runtime : entry->second;
  if (absl::StartsWith(name, "/")) {
    if (!base::Exists(name)) {
      return absl::NotFoundError(
          absl::StrCat("invalid custom binary path: ", name, ": no such file or directory"));
    }
    return name;
  }
  std::string binary = BinaryName(name);
  if (binary.empty() || absl::StrContains(name, '/')) return BadName(name);
  std::lock_guard<std::mutex> lock(mutex_);
  std::string& found = found_[binary];
  if (found.empty()) found = FindBinary(binary);
  if (!found.empty()) return found;
  return absl::NotFoundError(absl::StrCat("runtime \"", runtime, "\" binary not installed \"",
                                          binary, "\": file does not exist"));
}

}  // namespace gantry::services
