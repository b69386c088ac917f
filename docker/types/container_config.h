#ifndef GANTRY_DOCKER_TYPES_CONTAINER_CONFIG_H_
#define GANTRY_DOCKER_TYPES_CONTAINER_CONFIG_H_

// Docker's container.Config: what of a container does not depend on the host. Images have one, too.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/json.h"
#include "docker/types/json_object.h"

namespace gantry::docker {

struct Healthcheck {
  StringList test;  // empty: the image's; {"NONE"}: none; {"CMD", …}; {"CMD-SHELL", command}
  // Nanoseconds; 0: the image's, or the default.
  int64_t interval = 0;
  int64_t timeout = 0;
  int64_t start_period = 0;
  int64_t start_interval = 0;
  int64_t retries = 0;

  // InvalidArgument in Docker's words: "Interval in Healthcheck cannot be less than 1ms", …
  absl::Status Check() const;
};

struct ContainerConfig {
  std::string hostname;
  std::string domainname;
  std::string user;
  bool attach_stdin = false;
  bool attach_stdout = false;
  bool attach_stderr = false;
  StringList exposed_ports;  // "80/tcp"
  bool tty = false;
  bool open_stdin = false;
  bool stdin_once = false;
  std::optional<StringList> env;  // "NAME=value", or "NAME": without a value, left out
  std::optional<StringList> cmd;
  std::optional<Healthcheck> healthcheck;
  bool args_escaped = false;
  std::string image;
  StringList volumes;
  std::string working_dir;
  std::optional<StringList> entrypoint;
  bool network_disabled = false;
  std::string mac_address;
  std::optional<StringList> on_build;
  StringMap labels;
  std::string stop_signal;
  std::optional<int64_t> stop_timeout;  // seconds
  std::optional<StringList> shell;

  static absl::StatusOr<ContainerConfig> FromJson(const base::Json& json);
  // As `docker inspect` shows it: every key, in Docker's order.
  base::OrderedJson ToJson() const;

  // Fills what is not set from the image's configuration, as Docker merges them at creation.
  void MergeImage(const ContainerConfig& image);
};

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_TYPES_CONTAINER_CONFIG_H_
