#ifndef GANTRY_DOCKER_CONFIG_H_
#define GANTRY_DOCKER_CONFIG_H_

// daemon.json: the configuration of a Docker daemon, in Docker's own keys.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry::docker {

struct UlimitSetting {
  std::string name;
  int64_t soft = 0;
  int64_t hard = 0;
};

struct AddressPool {
  std::string base;  // CIDR
  int size = 0;      // prefix length of the networks cut from it
};

// Keys that have no meaning here are accepted when Docker knows them, and named in `unused`: a
// machine can be moved with the file that it has.
struct DaemonConfig {
  // Where gantry-docker listens; empty: what the command line says.
  std::vector<std::string> hosts;
  std::string group;  // of the unix socket; empty: "gantry", or "docker" where that is missing
  bool tls = false;
  bool tls_verify = false;
  std::string tls_ca_cert;
  std::string tls_cert;
  std::string tls_key;

  std::string data_root;
  std::string exec_root;
  std::string pid_file;
  bool debug = false;
  std::string log_level = "info";  // of our own log
  std::string log_format = "text";
  std::vector<std::string> labels;
  bool experimental = false;
  bool live_restore = false;
  int64_t shutdown_timeout = 15;  // seconds
  std::map<std::string, bool> features;

  // Defaults of containers.
  std::string log_driver = "json-file";
  std::map<std::string, std::string> log_options;
  std::map<std::string, UlimitSetting> default_ulimits;
  std::string cgroup_parent;
  std::string default_cgroupns_mode;  // "host", "private"; empty: by the machine
  std::string default_ipc_mode = "private";
  int64_t default_shm_size = 64 << 20;  // bytes
  std::string default_runtime = "runc";
  std::map<std::string, std::string> runtimes;  // name to the path or type of a shim
  bool init = false;
  std::string init_path;
  bool no_new_privileges = false;
  std::string seccomp_profile;
  bool selinux_enabled = false;
  std::vector<std::string> exec_options;
  std::string userns_remap;
  std::string http_proxy, https_proxy, no_proxy;  // for pulls

  // Networks.
  std::string bridge;  // a bridge that is there; "none": no predefined one
  std::string bip, bip6;
  std::string fixed_cidr, fixed_cidr_v6;
  std::string default_gateway, default_gateway_v6;
  std::string ip;  // of published ports by default
  bool ipv6 = false;
  bool icc = true;
  bool iptables = true, ip6tables = true;
  bool ip_forward = true;
  bool ip_masq = true;
  bool userland_proxy = true;
  int64_t mtu = 0;  // 0: the device's own
  std::vector<std::string> dns, dns_options, dns_search;
  std::vector<std::string> host_gateway_ips;
  std::vector<AddressPool> default_address_pools;
  std::map<std::string, std::map<std::string, std::string>> default_network_options;  // by driver

  // Images.
  std::vector<std::string> insecure_registries;  // host, host:port or CIDR
  std::vector<std::string> registry_mirrors;     // URLs; of docker.io
  int64_t max_concurrent_downloads = 3;
  int64_t max_concurrent_uploads = 5;
  int64_t max_download_attempts = 5;
  std::string storage_driver;
  std::vector<std::string> storage_options;

  // Keys that Docker knows and that do nothing here.
  std::vector<std::string> unused;
};

// InvalidArgument for malformed JSON, values of another type or outside what is allowed, and keys
// that Docker does not know either ("the following directives don't match any configuration option:
// x, y"). An empty text is an empty configuration.
absl::StatusOr<DaemonConfig> ParseDaemonConfig(absl::string_view text);

// Reads `path`; NotFound when it does not exist. Errors say "unable to configure the Docker daemon
// with file PATH: …".
absl::StatusOr<DaemonConfig> LoadDaemonConfig(const std::string& path);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_CONFIG_H_
