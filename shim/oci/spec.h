#ifndef GANTRY_SHIM_OCI_SPEC_H_
#define GANTRY_SHIM_OCI_SPEC_H_

// The OCI runtime specification's config.json (and its process and resources objects, which travel
// alone in exec and update requests) as typed values. Names, defaults and meanings are those of
// runtime-spec 1.2; what Linux does not know (windows, solaris, vm, zos) is skipped.

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "shim/oci/tuning.h"

namespace gantry::oci {

struct IdMapping {
  uint32_t container_id = 0;
  uint32_t host_id = 0;
  uint32_t size = 0;
};

struct Namespace {
  int flag = 0;      // one CLONE_NEW* bit
  std::string type;  // as in the specification: "pid", "network", …
  std::string path;  // empty: a new one; else the namespace to join
  // A user namespace that the engine's process lives in already (rootless.h).
  bool entered = false;
};

struct MountSpec {
  std::string destination;
  std::string type;
  std::string source;
  std::vector<std::string> options;
  std::vector<IdMapping> uid_mappings;  // an id-mapped mount when not empty
  std::vector<IdMapping> gid_mappings;
};

struct Device {
  char type = 'c';  // c, b, u (= c) or p
  std::string path;
  int64_t major = 0;
  int64_t minor = 0;
  mode_t mode = 0666;
  uid_t uid = 0;
  gid_t gid = 0;
};

struct DeviceRule {
  bool allow = false;
  char type = 'a';     // a, c or b
  int64_t major = -1;  // -1: any
  int64_t minor = -1;
  std::string access;  // of "rwm"
};

struct Rlimit {
  int resource = 0;  // RLIMIT_*
  std::string name;  // "RLIMIT_NOFILE"
  uint64_t soft = 0;
  uint64_t hard = 0;
};

// Bit n is capability n of the kernel.
struct CapabilitySets {
  uint64_t bounding = 0;
  uint64_t effective = 0;
  uint64_t inheritable = 0;
  uint64_t permitted = 0;
  uint64_t ambient = 0;
};

struct ProcessSpec {
  bool terminal = false;
  uint32_t console_height = 0;
  uint32_t console_width = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> additional_gids;
  std::optional<mode_t> umask;
  std::vector<std::string> args;
  std::vector<std::string> env;
  std::string cwd;
  // Absent: the process keeps what the engine has, as runc does.
  std::optional<CapabilitySets> capabilities;
  std::vector<Rlimit> rlimits;
  bool no_new_privileges = false;
  std::string apparmor_profile;
  std::string selinux_label;
  std::optional<int> oom_score_adj;
  std::optional<Scheduler> scheduler;
  std::optional<IoPriority> io_priority;
  CpuAffinity exec_cpu_affinity;  // of exec only
};

struct Hook {
  std::string path;
  std::vector<std::string> args;
  std::vector<std::string> env;
  int timeout_seconds = 0;  // 0: none given
};

struct Hooks {
  std::vector<Hook> prestart, create_runtime, create_container, start_container, poststart,
      poststop;
};

struct BlockWeight {
  int64_t major = 0, minor = 0;
  std::optional<uint16_t> weight, leaf_weight;
};
struct BlockThrottle {
  int64_t major = 0, minor = 0;
  uint64_t rate = 0;
};

// linux.resources, also the body of an update request: what is absent stays as it is.
struct Resources {
  std::vector<DeviceRule> devices;
  struct {
    std::optional<int64_t> limit, reservation, swap, kernel, kernel_tcp;
    std::optional<uint64_t> swappiness;
    bool disable_oom_killer = false;
    bool check_before_update = false;
  } memory;
  struct {
    std::optional<uint64_t> shares, period, realtime_period, burst;
    std::optional<int64_t> quota, realtime_runtime, idle;
    std::string cpus, mems;
  } cpu;
  std::optional<int64_t> pids_limit;
  struct {
    std::optional<uint16_t> weight, leaf_weight;
    std::vector<BlockWeight> weight_devices;
    std::vector<BlockThrottle> read_bps, write_bps, read_iops, write_iops;
  } block_io;
  std::vector<std::pair<std::string, uint64_t>> hugepage_limits;  // {"2MB", bytes}
  std::map<std::string, std::pair<std::optional<uint32_t>, std::optional<uint32_t>>> rdma;
  struct {
    std::optional<uint32_t> class_id;
    std::vector<std::pair<std::string, uint32_t>> priorities;
  } network;
  std::map<std::string, std::string> unified;
};

// linux.intelRdt: a group of the resctrl file system.
struct IntelRdt {
  std::string clos_id;                // empty: the container's id
  std::vector<std::string> schemata;  // lines, those of l3CacheSchema and memBwSchema first
  bool enable_monitoring = false;
};

struct LinuxSpec {
  std::vector<IdMapping> uid_mappings;
  std::vector<IdMapping> gid_mappings;
  std::vector<Namespace> namespaces;
  std::map<std::string, std::string> sysctl;
  std::vector<Device> devices;
  std::string cgroups_path;
  Resources resources;
  std::string rootfs_propagation;
  std::string seccomp_json;  // the object's canonical JSON text, empty if there is none
  std::string seccomp_listener, seccomp_metadata;  // who gets the notification descriptor
  std::vector<std::string> masked_paths;
  std::vector<std::string> readonly_paths;
  std::string mount_label;
  std::optional<uint32_t> personality;  // PER_LINUX or PER_LINUX32
  std::vector<TimeOffset> time_offsets;
  std::optional<MemoryPolicy> memory_policy;
  std::optional<IntelRdt> intel_rdt;
  // Network devices of the host to be moved in: their names there and, when it is another, inside.
  std::vector<std::pair<std::string, std::string>> net_devices;
};

struct Spec {
  std::string oci_version;
  std::optional<ProcessSpec> process;
  std::string root_path;
  bool root_readonly = false;
  std::string hostname;
  std::string domainname;
  std::vector<MountSpec> mounts;
  Hooks hooks;
  std::map<std::string, std::string> annotations;
  LinuxSpec linux_;

  // The namespace entry of a kind (one CLONE_NEW* bit), or null.
  const Namespace* FindNamespace(int flag) const;
};

// Parses and validates one document of at most 16 MiB and 64 levels. InvalidArgument names the
// offending key ("linux.namespaces[2].type: unknown namespace \"foo\""); ids and numbers must be in
// range, never wrapped or defaulted. No file is touched.
absl::StatusOr<Spec> ParseSpec(absl::string_view json);
absl::StatusOr<ProcessSpec> ParseProcess(absl::string_view json);
absl::StatusOr<Resources> ParseResources(absl::string_view json);

// ParseSpec of BUNDLE/config.json (NotFound if there is none).
absl::StatusOr<Spec> LoadSpec(const std::string& bundle);

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_SPEC_H_
