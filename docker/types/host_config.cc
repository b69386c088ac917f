#include "docker/types/host_config.h"

#include <unistd.h>

#include <cmath>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace gantry::docker {
namespace {

using base::Json;
using base::OrderedJson;

constexpr int64_t kMinMemory = 6 << 20;

absl::Status ParsePortBindings(JsonObject& o, HostConfig* config) {
  o.ForMembers("PortBindings", [config](const std::string& port, const Json& list) {
    auto& mappings = config->port_bindings[port];
    if (list.is_null()) return absl::OkStatus();
    if (!list.is_array()) {
      return absl::InvalidArgumentError(
          "invalid JSON: json: cannot unmarshal into Go struct field HostConfig.PortBindings of "
          "type []nat.PortBinding");
    }
    for (const Json& item : list) {
      PortMapping mapping;
      JsonObject binding(item, "PortBinding");
      binding.Get("HostIp", &mapping.host_ip);
      binding.Get("HostPort", &mapping.host_port);
      if (!binding.status().ok()) return binding.status();
      mappings.push_back(std::move(mapping));
    }
    return absl::OkStatus();
  });
  return o.status();
}

absl::Status ParseMount(const Json& json, std::vector<MountRequest>* mounts) {
  MountRequest mount;
  JsonObject o(json, "Mount");
  o.Get("Type", &mount.type);
  o.Get("Source", &mount.source);
  o.Get("Target", &mount.target);
  o.Get("ReadOnly", &mount.read_only);
  JsonObject bind(o.At("BindOptions"), "BindOptions");
  bind.Get("Propagation", &mount.propagation);
  bind.Get("NonRecursive", &mount.non_recursive);
  bind.Get("CreateMountpoint", &mount.create_mountpoint);
  bind.Get("ReadOnlyNonRecursive", &mount.read_only_non_recursive);
  bind.Get("ReadOnlyForceRecursive", &mount.read_only_force_recursive);
  JsonObject volume(o.At("VolumeOptions"), "VolumeOptions");
  volume.Get("NoCopy", &mount.no_copy);
  volume.Get("Subpath", &mount.subpath);
  volume.Get("Labels", &mount.labels);
  JsonObject driver(volume.At("DriverConfig"), "Driver");
  driver.Get("Name", &mount.driver);
  driver.Get("Options", &mount.driver_options);
  JsonObject image(o.At("ImageOptions"), "ImageOptions");
  image.Get("Subpath", &mount.subpath);
  JsonObject tmpfs(o.At("TmpfsOptions"), "TmpfsOptions");
  tmpfs.Get("SizeBytes", &mount.tmpfs_size);
  tmpfs.Get("Mode", &mount.tmpfs_mode);
  tmpfs.ForEach("Options", [&mount](const Json& option) {
    StringList words;
    if (option.is_array()) {
      for (const Json& word : option)
        words.push_back(word.is_string() ? word.get<std::string>() : "");
    }
    mount.tmpfs_options.push_back(std::move(words));
    return absl::OkStatus();
  });
  for (JsonObject* part : {&bind, &volume, &driver, &image, &tmpfs}) o.Keep(part->status());
  mounts->push_back(std::move(mount));
  return o.status();
}

// [{"Path": …, KEY: …}, …]
void ReadDevices(JsonObject& o, absl::string_view key, const char* value_key,
                 std::vector<WeightDevice>* to) {
  o.ForEach(key, [&](const Json& item) {
    WeightDevice device;
    JsonObject object(item, std::string(key));
    object.Get("Path", &device.path);
    object.Get(value_key, &device.value);
    to->push_back(std::move(device));
    return object.status();
  });
}

// A key of HostConfig as inspect shows it: its value when nothing was given, and whether it is left
// out then.
struct Field {
  const char* key;
  const char* otherwise;  // JSON; null: left out
};

// In the order of Docker's structure.
constexpr Field kFields[] = {
    {"Binds", "null"},
    {"ContainerIDFile", "\"\""},
    {"LogConfig", R"({"Type":"json-file","Config":{}})"},
    {"NetworkMode", "\"bridge\""},
    {"PortBindings", "{}"},
    {"RestartPolicy", R"({"Name":"no","MaximumRetryCount":0})"},
    {"AutoRemove", "false"},
    {"VolumeDriver", "\"\""},
    {"VolumesFrom", "null"},
    {"ConsoleSize", "[0,0]"},
    {"Annotations", nullptr},
    {"CapAdd", "null"},
    {"CapDrop", "null"},
    {"CgroupnsMode", "\"private\""},
    {"Dns", "null"},
    {"DnsOptions", "null"},
    {"DnsSearch", "null"},
    {"ExtraHosts", "null"},
    {"GroupAdd", "null"},
    {"IpcMode", "\"private\""},
    {"Cgroup", "\"\""},
    {"Links", "null"},
    {"OomScoreAdj", "0"},
    {"PidMode", "\"\""},
    {"Privileged", "false"},
    {"PublishAllPorts", "false"},
    {"ReadonlyRootfs", "false"},
    {"SecurityOpt", "null"},
    {"StorageOpt", nullptr},
    {"Tmpfs", nullptr},
    {"UTSMode", "\"\""},
    {"UsernsMode", "\"\""},
    {"ShmSize", "67108864"},
    {"Sysctls", nullptr},
    {"Runtime", "\"runc\""},
    {"Isolation", "\"\""},
    {"CpuShares", "0"},
    {"Memory", "0"},
    {"NanoCpus", "0"},
    {"CgroupParent", "\"\""},
    {"BlkioWeight", "0"},
    {"BlkioWeightDevice", "null"},
    {"BlkioDeviceReadBps", "null"},
    {"BlkioDeviceWriteBps", "null"},
    {"BlkioDeviceReadIOps", "null"},
    {"BlkioDeviceWriteIOps", "null"},
    {"CpuPeriod", "0"},
    {"CpuQuota", "0"},
    {"CpuRealtimePeriod", "0"},
    {"CpuRealtimeRuntime", "0"},
    {"CpusetCpus", "\"\""},
    {"CpusetMems", "\"\""},
    {"Devices", "null"},
    {"DeviceCgroupRules", "null"},
    {"DeviceRequests", "null"},
    {"MemoryReservation", "0"},
    {"MemorySwap", "0"},
    {"MemorySwappiness", "null"},
    {"OomKillDisable", "null"},
    {"PidsLimit", "null"},
    {"Ulimits", "null"},
    {"CpuCount", "0"},
    {"CpuPercent", "0"},
    {"IOMaximumIOps", "0"},
    {"IOMaximumBandwidth", "0"},
    {"Mounts", nullptr},
    {"MaskedPaths", "null"},
    {"ReadonlyPaths", "null"},
    {"Init", nullptr},
};

bool IsEmpty(const Json& value) {
  return value.is_null() || (value.is_structured() && value.empty());
}

}  // namespace

std::string ContainerOfMode(absl::string_view mode) {
  constexpr absl::string_view kPrefix = "container:";
  return absl::StartsWith(mode, kPrefix) ? std::string(mode.substr(kPrefix.size())) : "";
}

absl::Status RestartSettings::Check() const {
  if (name == "always" || name == "unless-stopped" || name == "no" || name.empty()) {
    if (maximum_retry_count == 0 || (name.empty() && maximum_retry_count >= 0)) {
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError(absl::StrCat(
        "invalid restart policy: maximum retry count can only be used with 'on-failure'",
        maximum_retry_count < 0 ? " and cannot be negative" : ""));
  }
  if (name == "on-failure") {
    if (maximum_retry_count >= 0) return absl::OkStatus();
    return absl::InvalidArgumentError(
        "invalid restart policy: maximum retry count cannot be negative");
  }
  return absl::InvalidArgumentError(
      absl::StrCat("invalid restart policy: unknown policy '", name,
                   "'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"));
}

void ResourceSettings::Read(JsonObject& o) {
  o.Get("CpuShares", &cpu_shares);
  o.Get("Memory", &memory);
  o.Get("NanoCpus", &nano_cpus);
  o.Get("CgroupParent", &cgroup_parent);
  o.Get("BlkioWeight", &blkio_weight);
  ReadDevices(o, "BlkioWeightDevice", "Weight", &blkio_weight_device);
  ReadDevices(o, "BlkioDeviceReadBps", "Rate", &blkio_read_bps);
  ReadDevices(o, "BlkioDeviceWriteBps", "Rate", &blkio_write_bps);
  ReadDevices(o, "BlkioDeviceReadIOps", "Rate", &blkio_read_iops);
  ReadDevices(o, "BlkioDeviceWriteIOps", "Rate", &blkio_write_iops);
  o.Get("CpuPeriod", &cpu_period);
  o.Get("CpuQuota", &cpu_quota);
  o.Get("CpuRealtimePeriod", &cpu_realtime_period);
  o.Get("CpuRealtimeRuntime", &cpu_realtime_runtime);
  o.Get("CpusetCpus", &cpuset_cpus);
  o.Get("CpusetMems", &cpuset_mems);
  o.ForEach("Devices", [this](const Json& item) {
    DeviceMapping device;
    JsonObject object(item, "DeviceMapping");
    object.Get("PathOnHost", &device.path_on_host);
    object.Get("PathInContainer", &device.path_in_container);
    object.Get("CgroupPermissions", &device.cgroup_permissions);
    devices.push_back(std::move(device));
    return object.status();
  });
  o.Get("DeviceCgroupRules", &device_cgroup_rules);
  o.ForEach("DeviceRequests", [this](const Json& item) {
    DeviceRequest request;
    JsonObject object(item, "DeviceRequest");
    object.Get("Driver", &request.driver);
    device_requests.push_back(std::move(request));
    return object.status();
  });
  o.Get("MemoryReservation", &memory_reservation);
  o.Get("MemorySwap", &memory_swap);
  o.Get("MemorySwappiness", &memory_swappiness);
  o.Get("OomKillDisable", &oom_kill_disable);
  o.Get("PidsLimit", &pids_limit);
  o.ForEach("Ulimits", [this](const Json& item) {
    Ulimit limit;
    JsonObject object(item, "Ulimit");
    object.Get("Name", &limit.name);
    object.Get("Soft", &limit.soft);
    object.Get("Hard", &limit.hard);
    ulimits.push_back(std::move(limit));
    return object.status();
  });
}

absl::Status ResourceSettings::Check() const {
  auto bad = [](auto... text) { return absl::InvalidArgumentError(absl::StrCat(text...)); };
  if (memory < 0 || (memory > 0 && memory < kMinMemory)) {
    return bad("Minimum memory limit allowed is 6MB");
  }
  if (memory > 0 && memory_swap > 0 && memory_swap < memory) {
    return bad("Minimum memoryswap limit should be larger than memory limit, see usage");
  }
  if (memory == 0 && memory_swap > 0) {
    return bad("You should always set the Memory limit when using Memoryswap limit, see usage");
  }
  if (memory_swappiness && (*memory_swappiness < -1 || *memory_swappiness > 100)) {
    return bad("Invalid value: ", *memory_swappiness, ", valid memory swappiness range is 0-100");
  }
  if (memory_reservation < 0 || (memory_reservation > 0 && memory_reservation < kMinMemory)) {
    return bad("Minimum memory reservation allowed is 6MB");
  }
  if (memory > 0 && memory_reservation > 0 && memory < memory_reservation) {
    return bad("Minimum memory limit can not be less than memory reservation limit, see usage");
  }
  if (nano_cpus > 0 && cpu_period > 0) {
    return bad("Conflicting options: Nano CPUs and CPU Period cannot both be set");
  }
  if (nano_cpus > 0 && cpu_quota > 0) {
    return bad("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
  }
  if (int64_t cpus = sysconf(_SC_NPROCESSORS_ONLN);
      nano_cpus < 0 || nano_cpus > cpus * 1'000'000'000) {
    return bad("range of CPUs is from 0.01 to ", cpus, ".00, as there are only ", cpus,
               " CPUs available");
  }
  if (cpu_shares < 0) {
    return bad("invalid CPU shares (", cpu_shares, "): value must be a positive integer");
  }
  if (cpu_period != 0 && (cpu_period < 1000 || cpu_period > 1'000'000)) {
    return bad(
        "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. "
        "1000000)");
  }
  if (cpu_quota > 0 && cpu_quota < 1000) {
    return bad("CPU cfs quota can not be less than 1ms (i.e. 1000)");
  }
  if (blkio_weight > 0 && (blkio_weight < 10 || blkio_weight > 1000)) {
    return bad("Range of blkio weight is from 10 to 1000");
  }
  return absl::OkStatus();
}

absl::StatusOr<HostConfig> HostConfig::FromJson(const Json& json) {
  HostConfig c;
  JsonObject o(json, "HostConfig");
  o.Get("Binds", &c.binds);
  JsonObject log(o.At("LogConfig"), "LogConfig");
  log.Get("Type", &c.log_type);
  log.Get("Config", &c.log_options);
  o.Keep(log.status());
  o.Get("NetworkMode", &c.network_mode);
  GANTRY_RETURN_IF_ERROR(ParsePortBindings(o, &c));
  JsonObject restart(o.At("RestartPolicy"), "RestartPolicy");
  restart.Get("Name", &c.restart.name);
  restart.Get("MaximumRetryCount", &c.restart.maximum_retry_count);
  o.Keep(restart.status());
  o.Get("AutoRemove", &c.auto_remove);
  o.Get("VolumeDriver", &c.volume_driver);
  o.Get("VolumesFrom", &c.volumes_from);
  o.ForEach("ConsoleSize", [&c](const Json& item) {
    c.console_size.push_back(item.is_number_integer() ? item.get<int64_t>() : 0);
    return absl::OkStatus();
  });
  o.Get("Annotations", &c.annotations);
  o.Get("CapAdd", &c.cap_add);
  o.Get("CapDrop", &c.cap_drop);
  o.Get("CgroupnsMode", &c.cgroupns_mode);
  o.Get("Dns", &c.dns);
  o.Get("DnsOptions", &c.dns_options);
  o.Get("DnsSearch", &c.dns_search);
  o.Get("ExtraHosts", &c.extra_hosts);
  o.Get("GroupAdd", &c.group_add);
  o.Get("IpcMode", &c.ipc_mode);
  o.Get("Links", &c.links);
  o.Get("OomScoreAdj", &c.oom_score_adj);
  o.Get("PidMode", &c.pid_mode);
  o.Get("Privileged", &c.privileged);
  o.Get("PublishAllPorts", &c.publish_all_ports);
  o.Get("ReadonlyRootfs", &c.readonly_rootfs);
  o.Get("SecurityOpt", &c.security_opt);
  o.Get("StorageOpt", &c.storage_opt);
  o.Get("Tmpfs", &c.tmpfs);
  o.Get("UTSMode", &c.uts_mode);
  o.Get("UsernsMode", &c.userns_mode);
  o.Get("ShmSize", &c.shm_size);
  o.Get("Sysctls", &c.sysctls);
  o.Get("Runtime", &c.runtime);
  o.Get("Init", &c.init);
  o.ForEach("Mounts", [&c](const Json& item) { return ParseMount(item, &c.mounts); });
  o.Get("MaskedPaths", &c.masked_paths);
  o.Get("ReadonlyPaths", &c.readonly_paths);
  c.resources.Read(o);
  GANTRY_RETURN_IF_ERROR(o.status());
  return c;
}

OrderedJson CompleteHostConfig(const Json& json) {
  JsonObject given(json, "HostConfig");
  OrderedJson complete = OrderedJson::object();
  for (const Field& field : kFields) {
    const Json& value = given.At(field.key);
    if (field.otherwise == nullptr && IsEmpty(value)) continue;
    if (value.is_null()) {
      complete[field.key] = OrderedJson::parse(field.otherwise);
    } else {
      complete[field.key] = OrderedJson(value);
    }
  }
  return complete;
}

}  // namespace gantry::docker
