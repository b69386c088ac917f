#ifndef GANTRY_TESTS_INTEGRATION_DOCKER_REGISTRY_H_
#define GANTRY_TESTS_INTEGRATION_DOCKER_REGISTRY_H_

#include <optional>
#include <string>

#include "base/process.h"

namespace gantry::tests {

// A loopback TCP port that nobody listens on.
int FreePort();

struct DockerRegistryOptions {
  std::string dir;            // existing directory for its files
  std::string htpasswd;       // "user:password": asked for basic authentication
  bool tls = false;           // certificate for 127.0.0.1 by a CA of its own, see ca()
  bool client_certs = false;  // and it wants one from us, see client_cert()
};

// Debian's docker-registry on a free loopback port; ends with the object.
class DockerRegistry {
 public:
  // Fails the test when it does not come up.
  explicit DockerRegistry(const DockerRegistryOptions& options);
  ~DockerRegistry();
  DockerRegistry(const DockerRegistry&) = delete;
  DockerRegistry& operator=(const DockerRegistry&) = delete;

  std::string host() const { return "127.0.0.1:" + std::to_string(port_); }
  std::string ca() const { return dir_ + "/ca.pem"; }
  std::string client_cert() const { return dir_ + "/client.pem"; }
  std::string client_key() const { return dir_ + "/client.key"; }

 private:
  void Start(const DockerRegistryOptions& options);
  void MakeCertificates();
  bool WaitForPort();

  std::string dir_;
  int port_ = 0;
  std::optional<base::Process> process_;
};

}  // namespace gantry::tests

#endif  // GANTRY_TESTS_INTEGRATION_DOCKER_REGISTRY_H_
