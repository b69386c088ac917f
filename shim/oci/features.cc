#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/json.h"
#include "shim/oci/capabilities.h"
#include "shim/oci/container.h"
#include "shim/oci/mounts.h"
#include "shim/oci/seccomp.h"
#include "shim/oci/tuning.h"

namespace gantry::oci {

namespace {

// What this kernel has, as far as a file shows it.
base::Json NamespaceNames() {
  static constexpr std::pair<const char*, const char*> kNamespaces[] = {
      {"cgroup", "cgroup"}, {"ipc", "ipc"},   {"mount", "mnt"}, {"network", "net"},
      {"pid", "pid"},       {"time", "time"}, {"user", "user"}, {"uts", "uts"}};
  base::Json names = base::Json::array();
  for (const auto& [name, file] : kNamespaces) {
    if (base::Exists(absl::StrCat("/proc/self/ns/", file))) names.push_back(name);
  }
  return names;
}

}  // namespace

std::string FeaturesJson() {
  base::Json features;
  features["ociVersionMin"] = "1.0.0";
  features["ociVersionMax"] = "1.3.0";
  features["hooks"] = {"prestart",       "createRuntime", "createContainer",
                       "startContainer", "poststart",     "poststop"};
  features["mountOptions"] = KnownMountOptions();
  base::Json& linux_features = features["linux"];
  linux_features["namespaces"] = NamespaceNames();
  linux_features["capabilities"] = CapabilityNames();
  // Paths of systemd are understood; systemd itself is not asked.
  linux_features["cgroup"] = {
      {"v1", true}, {"v2", true}, {"systemd", true}, {"systemdUser", false}, {"rdma", true}};
  linux_features["seccomp"] = {{"enabled", true},
                               {"actions", SeccompActions()},
                               {"operators", SeccompOperators()},
                               {"archs", SeccompArchitectures()},
                               {"knownFlags", SeccompFlags()},
                               {"supportedFlags", SeccompFlags()}};
  linux_features["apparmor"] = {{"enabled", true}};
  linux_features["selinux"] = {{"enabled", true}};
  linux_features["intelRdt"] = {{"enabled", true}, {"schemata", true}, {"monitoring", true}};
  linux_features["mountExtensions"] = {{"idmap", {{"enabled", true}}}};
  linux_features["memoryPolicy"] = {{"modes", MemoryPolicyModes()}, {"flags", MemoryPolicyFlags()}};
  linux_features["netDevices"] = {{"enabled", true}};
  return base::DumpJson(features);
}

}  // namespace gantry::oci
