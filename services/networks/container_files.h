#ifndef GANTRY_SERVICES_NETWORKS_CONTAINER_FILES_H_
#define GANTRY_SERVICES_NETWORKS_CONTAINER_FILES_H_

// The files /etc/hosts and /etc/resolv.conf of containers. The texts are pure.

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "services/networks/ip_address.h"

namespace gantry::services {

// What a resolv.conf says.
struct ResolvConf {
  std::vector<std::string> servers;
  std::vector<std::string> search;
  std::vector<std::string> options;

  // Lines that are none are left out; at most 64 entries of each kind.
  static ResolvConf Parse(absl::string_view text);
  std::string ToString() const;
};

// The host's, of systemd-resolved's upstream servers where the host's names only the local stub.
ResolvConf HostResolvConf();

// For a container without embedded DNS: the host's servers, but those on a loopback address, which
// is another one in the container.
std::vector<std::string> ReachableServers(const std::vector<std::string>& servers);

using HostLines = std::vector<std::pair<std::string, std::string>>;  // address, names
std::string HostsText(bool ipv6, const HostLines& extra, const HostLines& own);

// Overwrites a file of a container in place (it may be bind-mounted). The file is one that a
// container writes, too: no link is followed and it must be a regular file.
absl::Status WriteInPlace(const std::string& path, absl::string_view text);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_NETWORKS_CONTAINER_FILES_H_
