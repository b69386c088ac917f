#ifndef GANTRY_DOCKER_OPTIONS_H_
#define GANTRY_DOCKER_OPTIONS_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace gantry::docker {

// The command line of gantry-docker; dockerd's names where it has them.
struct Options {
  std::vector<std::string> hosts = {"unix:///run/gantry/docker.sock"};
  std::string gantryd = "/run/gantry/gantry.sock";
  std::string ns = "moby";
  std::string snapshotter = "overlayfs";
  std::string cgroup_parent = "/docker";
  std::string group = "gantry";
  std::string config_file = "/etc/gantry/daemon.json";
  // Certificates and mirrors of registries (HOST/hosts.toml, HOST/*.crt), separated by ':'.
  std::string certs_dirs = "/etc/gantry/certs.d:/etc/docker/certs.d";
  bool tls = false;
  bool tls_verify = false;
  std::string tls_ca = "/etc/gantry/ca.pem";
  std::string tls_cert = "/etc/gantry/cert.pem";
  std::string tls_key = "/etc/gantry/key.pem";
  bool debug = false;
  bool print_routes = false;  // "gantry-docker routes": the table of endpoints, then exit
};

// What the program should do now: go on with these options, or exit with a code (help was printed,
// or a complaint).
struct ParsedOptions {
  Options options;
  std::optional<int> exit_code;
};
ParsedOptions ParseOptions(int argc, char** argv);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_OPTIONS_H_
