#ifndef GANTRY_DOCKER_IMAGES_REGISTRY_HOSTS_H_
#define GANTRY_DOCKER_IMAGES_REGISTRY_HOSTS_H_

// insecure-registries and registry-mirrors of daemon.json, in the form that gantryd reads: a
// directory of HOST/hosts.toml.

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "docker/config.h"

namespace gantry::docker {

// Texts of hosts.toml by registry; only those that need one.
std::map<std::string, std::string> HostsFiles(const DaemonConfig& config);

// Whether `registry` ("10.1.2.3:5000") is one of the addresses that a CIDR in insecure-registries
// means. Names are not looked up.
bool IsInsecureAddress(const DaemonConfig& config, absl::string_view registry);

// One hosts.toml: https without verification, then plain http.
std::string InsecureHostsFile(absl::string_view registry);

class RegistryHosts {
 public:
  // `certs_dirs`: where people put certificates, separated by ':'. Writes below `state_dir`, which
  // is made.
  RegistryHosts(const DaemonConfig& config, std::string state_dir, std::string certs_dirs);

  // The value for the transfer's hosts_dir, for images of `registry`.
  absl::StatusOr<std::string> DirFor(absl::string_view registry) const;

 private:
  const DaemonConfig& config_;
  const std::string state_dir_;
  const std::string certs_dirs_;
};

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_IMAGES_REGISTRY_HOSTS_H_
