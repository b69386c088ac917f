#ifndef GANTRY_DOCKER_TYPES_HOST_CONFIG_H_
#define GANTRY_DOCKER_TYPES_HOST_CONFIG_H_

// Docker's container.HostConfig: what of a container depends on the host.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/json.h"
#include "docker/types/json_object.h"

namespace gantry::docker {

struct PortMapping {
  std::string host_ip;
  std::string host_port;  // "8080", "8080-8090", empty: any
};

struct RestartSettings {
  std::string name;
  int64_t maximum_retry_count = 0;

  // InvalidArgument in Docker's words.
  absl::Status Check() const;
};

struct DeviceMapping {
  std::string path_on_host;
  std::string path_in_container;
  std::string cgroup_permissions;
};

struct DeviceRequest {
  std::string driver;
};

struct Ulimit {
  std::string name;
  int64_t soft = 0;
  int64_t hard = 0;
};

struct WeightDevice {
  std::string path;
  int64_t value = 0;  // a weight, or a rate
};

// What `--mount` asks for.
struct MountRequest {
  std::string type;  // "bind", "volume", "tmpfs", "image", …
  std::string source;
  std::string target;
  bool read_only = false;
  std::string propagation;
  bool non_recursive = false;
  bool create_mountpoint = false;
  bool read_only_non_recursive = false;
  bool read_only_force_recursive = false;
  bool no_copy = false;
  std::string subpath;
  StringMap labels;
  std::string driver;
  StringMap driver_options;
  int64_t tmpfs_size = 0;
  int64_t tmpfs_mode = 0;
  std::vector<StringList> tmpfs_options;
};

// What limits a container; also the body of POST /containers/{id}/update.
struct ResourceSettings {
  int64_t cpu_shares = 0;
  int64_t memory = 0;
  int64_t nano_cpus = 0;
  std::string cgroup_parent;
  int64_t blkio_weight = 0;
  std::vector<WeightDevice> blkio_weight_device;
  std::vector<WeightDevice> blkio_read_bps, blkio_write_bps, blkio_read_iops, blkio_write_iops;
  int64_t cpu_period = 0;
  int64_t cpu_quota = 0;
  int64_t cpu_realtime_period = 0;
  int64_t cpu_realtime_runtime = 0;
  std::string cpuset_cpus;
  std::string cpuset_mems;
  std::vector<DeviceMapping> devices;
  StringList device_cgroup_rules;
  std::vector<DeviceRequest> device_requests;
  int64_t memory_reservation = 0;
  int64_t memory_swap = 0;  // -1: without limit
  std::optional<int64_t> memory_swappiness;
  std::optional<bool> oom_kill_disable;
  std::optional<int64_t> pids_limit;
  std::vector<Ulimit> ulimits;

  void Read(JsonObject& object);
  // InvalidArgument in Docker's words: "Minimum memory limit allowed is 6MB", …
  absl::Status Check() const;
};

struct HostConfig {
  StringList binds;
  std::string log_type;
  StringMap log_options;
  std::string network_mode;
  std::map<std::string, std::vector<PortMapping>> port_bindings;  // by "80/tcp"
  RestartSettings restart;
  bool auto_remove = false;
  std::string volume_driver;
  StringList volumes_from;
  std::vector<int64_t> console_size;  // height, width
  StringMap annotations;
  StringList cap_add, cap_drop;
  std::string cgroupns_mode;
  StringList dns, dns_options, dns_search;
  StringList extra_hosts;
  StringList group_add;
  std::string ipc_mode;
  StringList links;
  int64_t oom_score_adj = 0;
  std::string pid_mode;
  bool privileged = false;
  bool publish_all_ports = false;
  bool readonly_rootfs = false;
  StringList security_opt;
  StringMap storage_opt;
  StringMap tmpfs;
  std::string uts_mode;
  std::string userns_mode;
  int64_t shm_size = 0;
  StringMap sysctls;
  std::string runtime;
  std::optional<bool> init;
  std::vector<MountRequest> mounts;
  std::optional<StringList> masked_paths;
  std::optional<StringList> readonly_paths;
  ResourceSettings resources;

  static absl::StatusOr<HostConfig> FromJson(const base::Json& json);
};

// `json` as `docker inspect` shows a HostConfig: every key in Docker's order; what was given as it
// was, the rest with Docker's defaults and nulls. `json` has passed HostConfig::FromJson().
base::OrderedJson CompleteHostConfig(const base::Json& json);

// "container:NAME" → NAME; empty for all else.
std::string ContainerOfMode(absl::string_view mode);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_TYPES_HOST_CONFIG_H_
