#ifndef GANTRY_DOCKER_CONTAINERS_LOG_CONFIG_H_
#define GANTRY_DOCKER_CONTAINERS_LOG_CONFIG_H_

#include <string>

#include "absl/status/statusor.h"
#include "docker/types/container_config.h"
#include "docker/types/host_config.h"

namespace gantry::docker {

// Of whom a log is.
struct LogSubject {
  std::string id;
  std::string name;
  std::string image;     // as it was asked for
  std::string image_id;  // "sha256:…"
  std::string command;   // with its arguments
};

// The shim's URI ("json-file://{dir}/ID-json.log?max-size=10m") for Docker's log drivers json-file,
// local, none, syslog and journald. InvalidArgument for other drivers ("logger: no log driver named
// 'x' is registered") and options that the driver does not have.
absl::StatusOr<std::string> LogUri(const std::string& driver, const StringMap& options,
                                   const LogSubject& subject, const ContainerConfig& config);

// Whether `docker logs` can read it: there is a file.
bool IsReadableDriver(const std::string& driver);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_CONTAINERS_LOG_CONFIG_H_
