#ifndef GANTRY_SERVICES_REGISTRY_HOSTS_H_
#define GANTRY_SERVICES_REGISTRY_HOSTS_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/registry/http.h"

namespace gantry::services {

// One place that serves a registry's images: the registry itself or a mirror.
struct RegistryHost {
  enum Capability : unsigned { kPull = 1, kResolve = 2, kPush = 4, kAll = 7 };

  std::string scheme;  // "https" or "http"
  std::string host;    // "registry-1.docker.io", "127.0.0.1:5000"
  std::string path;    // "/v2", or what override_path left
  unsigned capabilities = kAll;
  std::vector<std::string> ca_files;
  std::string client_cert;
  std::string client_key;
  std::optional<bool> skip_verify;
  HttpHeaders headers;  // sent to this host only
  absl::Duration dial_timeout = absl::Seconds(30);
  // The scheme was guessed (loopback): if the server turns out to speak TLS, https without
  // verification is used, as containerd does for this machine.
  bool scheme_guessed = false;

  std::string base_url() const { return scheme + "://" + host + path; }
};

struct HostsOptions {
  // Directories of HOST/hosts.toml files (containerd's certs.d), separated by ':'; the first that
  // has something for the host counts. Empty: none.
  std::string config_dir;
  // For hosts without an explicit scheme; empty: https, and http on loopback ports.
  std::string default_scheme;
};

// The hosts to ask for images of `host`, mirrors first, the registry itself last. Reads
// DIR/host_port_/, DIR/host:port/ or DIR/_default/, whichever exists first: hosts.toml, or else
// Docker's *.crt, *.cert and *.key files. Keys: server, host."URL", capabilities, ca, client,
// skip_verify, header, override_path, dial_timeout. InvalidArgument with file and line for a file
// that cannot be understood: it is not silently ignored, since a mirror that is not used or a CA
// that is not trusted would look like an error of the registry.
absl::StatusOr<std::vector<RegistryHost>> HostsFor(absl::string_view host,
                                                   const HostsOptions& options);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_REGISTRY_HOSTS_H_
