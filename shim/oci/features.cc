#include "base/json.h"
#include "shim/oci/container.h"

namespace gantry::oci {

std::string FeaturesJson() {
  // Only what the engine does; optional parts that are left out mean "unknown" to readers.
  base::Json features = {
      {"ociVersionMin", "1.0.0"},
      {"ociVersionMax", "1.2.0"},
      {"hooks",
       {"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"}},
      {"linux",
       {{"namespaces", {"cgroup", "ipc", "mount", "network", "pid", "user", "uts"}},
        {"cgroup", {{"v1", true}, {"v2", true}, {"systemd", false}, {"systemdUser", false}}},
        {"seccomp", {{"enabled", true}}},
        {"selinux", {{"enabled", false}}},
        {"intelRdt", {{"enabled", false}}}}}};
  return base::DumpJson(features);
}

}  // namespace gantry::oci
