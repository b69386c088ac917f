#include "base/json.h"
#include "shim/oci/capabilities.h"
#include "shim/oci/container.h"
#include "shim/oci/mounts.h"
#include "shim/oci/seccomp.h"

namespace gantry::oci {

std::string FeaturesJson() {
  base::Json features;
  features["ociVersionMin"] = "1.0.0";
  features["ociVersionMax"] = "1.2.0";
  features["hooks"] = {"prestart",       "createRuntime", "createContainer",
                       "startContainer", "poststart",     "poststop"};
  features["mountOptions"] = KnownMountOptions();
  base::Json& linux_features = features["linux"];
  linux_features["namespaces"] = {"cgroup", "ipc", "mount", "network", "pid", "user", "uts"};
  linux_features["capabilities"] = CapabilityNames();
  linux_features["cgroup"] = {
      {"v1", true}, {"v2", true}, {"systemd", false}, {"systemdUser", false}, {"rdma", true}};
  linux_features["seccomp"] = {{"enabled", true},
                               {"actions", SeccompActions()},
                               {"operators", SeccompOperators()},
                               {"archs", SeccompArchitectures()}};
  linux_features["apparmor"] = {{"enabled", true}};
  linux_features["selinux"] = {{"enabled", false}};
  linux_features["intelRdt"] = {{"enabled", false}};
  linux_features["mountExtensions"] = {{"idmap", {{"enabled", false}}}};
  return base::DumpJson(features);
}

}  // namespace gantry::oci
