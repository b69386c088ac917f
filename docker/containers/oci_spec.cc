#include "docker/containers/oci_spec.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/status.h"
#include "client/spec/capabilities.h"

namespace gantry::docker {
namespace {

using base::Json;

constexpr char kInitPath[] = "/sbin/docker-init";
constexpr int64_t kCpuPeriod = 100000;
constexpr rlim_t kOpenFiles = 1048576;
constexpr int64_t kDefaultShm = 64 << 20;
constexpr long kCgroup2Magic = 0x63677270;
constexpr size_t kMaxHostDevices = 4096;

template <typename... Text>
absl::Status Invalid(Text... text) {
  return absl::InvalidArgumentError(absl::StrCat(text...));
}

bool NetworkIsHost(const HostConfig& host) { return host.network_mode == "host"; }

std::string Hostname(const SpecInput& in) {
  if (!in.config->hostname.empty()) return in.config->hostname;
  if (!NetworkIsHost(*in.host) && in.host->uts_mode != "host") return in.id.substr(0, 12);
  char name[256] = {};
  gethostname(name, sizeof name - 1);
  return name;
}

// --- process

struct Security {
  bool no_new_privileges = false;
  bool seccomp_unconfined = false;
  std::string seccomp_profile;
};

absl::StatusOr<Security> ParseSecurity(const StringList& options) {
  Security security;
  for (const std::string& option : options) {
    // "key=value", and the old "key:value".
    size_t at = option.find_first_of("=:");
    std::string key = option.substr(0, at);
    std::string value = at == std::string::npos ? "" : option.substr(at + 1);
    if (key == "no-new-privileges") {
      if (!value.empty() && value != "true" && value != "false") {
        return Invalid("invalid --security-opt 2: \"", option, "\"");
      }
      security.no_new_privileges = value != "false";
    } else if (key == "seccomp") {
      security.seccomp_unconfined = value == "unconfined";
      if (value != "unconfined" && value != "builtin") security.seccomp_profile = value;
    } else if (key != "label" && key != "apparmor" && key != "disable" &&
               key != "writable-cgroups") {
      return Invalid("invalid --security-opt 2: \"", option, "\"");
    }
  }
  return security;
}

std::vector<std::string> Environment(const SpecInput& in) {
  std::vector<std::string> env = {absl::StrCat("HOSTNAME=", Hostname(in))};
  std::vector<std::string> own;
  for (const std::string& entry : in.config->env.value_or(StringList())) {
    if (absl::StrContains(entry, '=')) own.push_back(entry);
  }
  return client::MergeEnv(std::move(env), own);
}

absl::StatusOr<Json> Rlimits(const std::vector<Ulimit>& ulimits) {
  Json list = Json::array();
  bool open_files = false;
  for (const Ulimit& limit : ulimits) {
    std::string type = absl::StrCat("RLIMIT_", absl::AsciiStrToUpper(limit.name));
    open_files = open_files || limit.name == "nofile";
    if (limit.soft > limit.hard && limit.hard != -1) {
      return Invalid(
          "invalid ulimits: ulimit soft limit must be less than or equal to hard limit: ",
          limit.soft, " > ", limit.hard);
    }
    list.push_back({{"type", type},
                    {"soft", static_cast<uint64_t>(limit.soft)},
                    {"hard", static_cast<uint64_t>(limit.hard)}});
  }
  if (!open_files) {
    rlimit ours{};
    getrlimit(RLIMIT_NOFILE, &ours);
    uint64_t limit = std::min(ours.rlim_max, kOpenFiles);
    list.push_back({{"type", "RLIMIT_NOFILE"}, {"soft", limit}, {"hard", limit}});
  }
  return list;
}

// --- devices

absl::Status AddDeviceRules(const StringList& texts, Json* rules) {
  for (const std::string& text : texts) {
    // "c 1:3 rwm", with * for any number.
    std::vector<std::string> words = absl::StrSplit(text, ' ', absl::SkipEmpty());
    std::pair<std::string, std::string> numbers;
    if (words.size() == 3) numbers = absl::StrSplit(words[1], absl::MaxSplits(':', 1));
    Json rule = {{"allow", true}};
    bool good = words.size() == 3 && (words[0] == "a" || words[0] == "b" || words[0] == "c") &&
                words[2].find_first_not_of("rwm") == std::string::npos;
    for (const auto& [key, number] :
         {std::make_pair("major", numbers.first), std::make_pair("minor", numbers.second)}) {
      int64_t value = 0;
      if (number == "*") continue;
      good = good && absl::SimpleAtoi(number, &value) && value >= 0;
      rule[key] = value;
    }
    if (!good) return Invalid("invalid device cgroup rule format: '", text, "'");
    rule["type"] = words[0];
    rule["access"] = words[2];
    rules->push_back(std::move(rule));
  }
  return absl::OkStatus();
}

// Every device of the host, for privileged containers; what each container has of its own is left
// out.
void CollectHostDevices(const std::string& directory, std::vector<client::SpecDevice>* to) {
  auto names = base::ListDir(directory);
  if (!names.ok()) return;
  for (const std::string& name : *names) {
    if (to->size() >= kMaxHostDevices) return;
    if (name == "pts" || name == "shm" || name == "fd" || name == "mqueue" || name == "console" ||
        name == ".lxc" || name == ".lxd-mounts" || name == ".udev" || name == "ptmx") {
      continue;
    }
    std::string path = absl::StrCat(directory, "/", name);
    struct stat info {};
    if (lstat(path.c_str(), &info) != 0) continue;
    if (S_ISDIR(info.st_mode)) CollectHostDevices(path, to);
    if (S_ISCHR(info.st_mode) || S_ISBLK(info.st_mode)) to->push_back({path, path, "rwm"});
  }
}

bool IsDefaultDevice(const std::string& path) {
  for (const char* known :
       {"/dev/null", "/dev/zero", "/dev/full", "/dev/tty", "/dev/random", "/dev/urandom"}) {
    if (path == known) return true;
  }
  return false;
}

std::vector<client::SpecDevice> Devices(const HostConfig& host) {
  std::vector<client::SpecDevice> devices;
  if (host.privileged) {
    CollectHostDevices("/dev", &devices);
    std::erase_if(devices, [](const auto& device) { return IsDefaultDevice(device.host_path); });
  }
  for (const DeviceMapping& mapping : host.resources.devices) {
    std::erase_if(devices, [&mapping](const client::SpecDevice& other) {
      return other.container_path == mapping.path_in_container;
    });
    devices.push_back(
        {mapping.path_on_host,
         mapping.path_in_container.empty() ? mapping.path_on_host : mapping.path_in_container,
         mapping.cgroup_permissions.empty() ? "rwm" : mapping.cgroup_permissions});
  }
  return devices;
}

// --- namespaces, mounts

Json Namespaces(const HostConfig& host, const ContainerConfig& config) {
  Json list = Json::array();
  list.push_back({{"type", "mount"}});
  if (host.pid_mode != "host") list.push_back({{"type", "pid"}});
  if (host.ipc_mode != "host") list.push_back({{"type", "ipc"}});
  if (host.uts_mode != "host") list.push_back({{"type", "uts"}});
  if (host.cgroupns_mode == "private") list.push_back({{"type", "cgroup"}});
  if (config.network_disabled || host.network_mode == "none") {
    list.push_back({{"type", "network"}});
  } else if (!NetworkIsHost(host)) {
    // Of the sandbox; that of another container is filled in at the start.
    Json entry = {{"type", "network"}};
    if (ContainerOfMode(host.network_mode).empty()) entry["path"] = "{netns}";
    list.push_back(std::move(entry));
  }
  return list;
}

void ReplaceMount(Json& mounts, const std::string& destination, const Json& by) {
  for (size_t i = 0; i < mounts.size(); ++i) {
    if (mounts[i]["destination"] != destination) continue;
    if (by.is_null()) {
      mounts.erase(i);
    } else {
      mounts[i] = by;
    }
    return;
  }
}

Json Bind(const std::string& path) {
  return {{"destination", path},
          {"type", "bind"},
          {"source", path},
          {"options", {"rbind", "rprivate"}}};
}

void AdaptMounts(const SpecInput& in, Json& mounts) {
  auto own = [&in](absl::string_view destination) {
    return std::any_of(in.mounts.begin(), in.mounts.end(),
                       [&](const client::SpecMount& m) { return m.destination == destination; });
  };
  if (!own("/dev/shm")) {
    int64_t size = in.host->shm_size > 0 ? in.host->shm_size : kDefaultShm;
    Json shm = {
        {"destination", "/dev/shm"},
        {"type", "tmpfs"},
        {"source", "shm"},
        {"options", {"nosuid", "noexec", "nodev", "mode=1777", absl::StrCat("size=", size)}}};
    if (in.host->ipc_mode == "host") shm = Bind("/dev/shm");
    if (in.host->ipc_mode == "none") shm = Json();
    ReplaceMount(mounts, "/dev/shm", shm);
  }
  if (in.host->ipc_mode == "host" && !own("/dev/mqueue")) {
    ReplaceMount(mounts, "/dev/mqueue", Bind("/dev/mqueue"));
  }
}

std::vector<client::SpecMount> AllMounts(const SpecInput& in) {
  std::vector<client::SpecMount> mounts;
  for (const char* file : {"resolv.conf", "hostname", "hosts"}) {
    std::string destination = absl::StrCat("/etc/", file);
    bool own = std::any_of(in.mounts.begin(), in.mounts.end(), [&](const client::SpecMount& m) {
      return m.destination == destination;
    });
    if (own) continue;
    mounts.push_back({"bind", absl::StrCat("{dir}/", file), destination, {"rbind", "rprivate"}});
  }
  mounts.insert(mounts.end(), in.mounts.begin(), in.mounts.end());
  if (in.host->init.value_or(false)) {
    mounts.push_back({"bind", in.init_path, kInitPath, {"bind", "ro"}});
  }
  return mounts;
}

absl::StatusOr<Json> Sysctls(const SpecInput& in) {
  Json sysctls = Json::object();
  const HostConfig& host = *in.host;
  bool own_network = !NetworkIsHost(host) && ContainerOfMode(host.network_mode).empty();
  if (own_network) {
    sysctls["net.ipv4.ip_unprivileged_port_start"] = "0";
    sysctls["net.ipv4.ping_group_range"] = "0 2147483647";
  }
  for (const auto& [key, value] : host.sysctls) {
    if (absl::StartsWith(key, "net.")) {
      if (NetworkIsHost(host)) {
        return Invalid("sysctl '", key, "' not allowed in host network namespace");
      }
    } else if (absl::StartsWith(key, "kernel.shm") || absl::StartsWith(key, "kernel.msg") ||
               absl::StartsWith(key, "fs.mqueue.") || key == "kernel.sem") {
      if (host.ipc_mode == "host") {
        return Invalid("sysctl '", key, "' not allowed in host ipc namespace");
      }
    }
    sysctls[key] = value;
  }
  return sysctls;
}

absl::StatusOr<client::SpecOptions> BaseOptions(const SpecInput& in, const Security& security) {
  const ContainerConfig& config = *in.config;
  const HostConfig& host = *in.host;
  client::SpecOptions o;
  o.id = in.id;
  o.ns = "docker";
  GANTRY_ASSIGN_OR_RETURN(o.args, CommandLine(config));
  if (host.init.value_or(false)) o.args.insert(o.args.begin(), {kInitPath, "--"});
  o.env = Environment(in);
  o.cwd = config.working_dir;
  if (!o.cwd.empty() && o.cwd[0] != '/') {
    return Invalid("the working directory '", o.cwd,
                   "' is invalid, it needs to be an absolute path");
  }
  o.hostname = Hostname(in);
  o.terminal = config.tty;
  o.read_only = host.readonly_rootfs;
  o.privileged = host.privileged;
  o.no_new_privileges = security.no_new_privileges;
  o.cap_add = host.cap_add;
  o.cap_drop = host.cap_drop;
  o.mounts = AllMounts(in);
  o.devices = Devices(host);
  o.cgroup_v2 = IsCgroupV2();
  o.oom_score_adj = static_cast<int>(host.oom_score_adj);
  if (security.seccomp_unconfined) o.seccomp = client::SeccompMode::kUnconfined;
  if (!security.seccomp_profile.empty() && !host.privileged) {
    GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> caps,
                            client::MakeCapabilities(o.cap_add, o.cap_drop));
    GANTRY_ASSIGN_OR_RETURN(o.seccomp_profile, ConvertSeccomp(security.seccomp_profile, caps));
    o.seccomp = client::SeccompMode::kProfile;
  }
  for (const auto& [key, value] : host.annotations) o.annotations.emplace_back(key, value);
  return o;
}

absl::Status AddDevicesOf(const std::vector<WeightDevice>& devices, const char* list,
                          const char* key, Json* block) {
  for (const WeightDevice& device : devices) {
    struct stat info {};
    if (stat(device.path.c_str(), &info) != 0) {
      return base::ErrnoStatus(errno, absl::StrCat("device ", device.path));
    }
    (*block)[list].push_back(
        {{"major", major(info.st_rdev)}, {"minor", minor(info.st_rdev)}, {key, device.value}});
  }
  return absl::OkStatus();
}

absl::StatusOr<Json> BlockIo(const ResourceSettings& r) {
  Json block = Json::object();
  if (r.blkio_weight > 0) block["weight"] = r.blkio_weight;
  GANTRY_RETURN_IF_ERROR(AddDevicesOf(r.blkio_weight_device, "weightDevice", "weight", &block));
  GANTRY_RETURN_IF_ERROR(AddDevicesOf(r.blkio_read_bps, "throttleReadBpsDevice", "rate", &block));
  GANTRY_RETURN_IF_ERROR(AddDevicesOf(r.blkio_write_bps, "throttleWriteBpsDevice", "rate", &block));
  GANTRY_RETURN_IF_ERROR(AddDevicesOf(r.blkio_read_iops, "throttleReadIOPSDevice", "rate", &block));
  GANTRY_RETURN_IF_ERROR(
      AddDevicesOf(r.blkio_write_iops, "throttleWriteIOPSDevice", "rate", &block));
  return block;
}

// Whether an "includes" or "excludes" of Docker's profiles holds here.
bool Holds(const Json& condition, const std::vector<std::string>& capabilities, bool any) {
  for (const Json& cap : base::JsonAt(condition, "caps")) {
    bool has = cap.is_string() && std::find(capabilities.begin(), capabilities.end(),
                                            cap.get<std::string>()) != capabilities.end();
    if (has == any) return any;
  }
  const Json& arches = base::JsonAt(condition, "arches");
  if (arches.is_array() && !arches.empty()) {
    bool here = std::find(arches.begin(), arches.end(), Json(client::MachineArchitecture())) !=
                arches.end();
    if (here == any) return any;
  }
  return !any;
}

}  // namespace

bool IsCgroupV2() {
  struct statfs info {};
  return statfs("/sys/fs/cgroup", &info) == 0 && info.f_type == kCgroup2Magic;
}

std::vector<std::string> DefaultMaskedPaths() {
  return {"/proc/acpi",
          "/proc/asound",
          "/proc/interrupts",
          "/proc/kcore",
          "/proc/keys",
          "/proc/latency_stats",
          "/proc/sched_debug",
          "/proc/scsi",
          "/proc/timer_list",
          "/proc/timer_stats",
          "/sys/devices/virtual/powercap",
          "/sys/firmware"};
}

std::vector<std::string> DefaultReadonlyPaths() {
  return {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
}

absl::StatusOr<StringList> CommandLine(const ContainerConfig& config) {
  StringList args = config.entrypoint.value_or(StringList());
  const StringList& cmd = config.cmd ? *config.cmd : StringList();
  args.insert(args.end(), cmd.begin(), cmd.end());
  if (args.empty() || args[0].empty()) return Invalid("no command specified");
  return args;
}

absl::StatusOr<Json> ResourcesJson(const ResourceSettings& r) {
  Json resources = Json::object();
  Json memory = Json::object();
  if (r.memory > 0) memory["limit"] = r.memory;
  if (r.memory_reservation > 0) memory["reservation"] = r.memory_reservation;
  if (r.memory_swap != 0) memory["swap"] = r.memory_swap;
  if (r.memory > 0 && r.memory_swap == 0) memory["swap"] = r.memory * 2;
  if (r.memory_swappiness.value_or(-1) >= 0 && !IsCgroupV2()) {
    memory["swappiness"] = *r.memory_swappiness;
  }
  if (r.oom_kill_disable.value_or(false)) memory["disableOOMKiller"] = true;
  if (!memory.empty()) resources["memory"] = std::move(memory);
  Json cpu = Json::object();
  if (r.cpu_shares > 0) cpu["shares"] = r.cpu_shares;
  if (r.nano_cpus > 0) {
    cpu["period"] = kCpuPeriod;
    cpu["quota"] = r.nano_cpus * kCpuPeriod / 1'000'000'000;
  }
  if (r.cpu_period > 0) cpu["period"] = r.cpu_period;
  if (r.cpu_quota != 0) cpu["quota"] = r.cpu_quota;
  if (r.cpu_realtime_period > 0) cpu["realtimePeriod"] = r.cpu_realtime_period;
  if (r.cpu_realtime_runtime > 0) cpu["realtimeRuntime"] = r.cpu_realtime_runtime;
  if (!r.cpuset_cpus.empty()) cpu["cpus"] = r.cpuset_cpus;
  if (!r.cpuset_mems.empty()) cpu["mems"] = r.cpuset_mems;
  if (!cpu.empty()) resources["cpu"] = std::move(cpu);
  if (int64_t pids = r.pids_limit.value_or(0); pids != 0) {
    resources["pids"] = {{"limit", pids < 0 ? int64_t{-1} : pids}};
  }
  GANTRY_ASSIGN_OR_RETURN(Json block, BlockIo(r));
  if (!block.empty()) resources["blockIO"] = std::move(block);
  return resources;
}

absl::StatusOr<Json> ConvertSeccomp(const std::string& text,
                                    const std::vector<std::string>& capabilities) {
  auto parsed = base::ParseJson(text);
  if (!parsed.ok() || !parsed->is_object()) {
    return Invalid("Decoding seccomp profile failed: ",
                   parsed.ok() ? "it is no object" : parsed.status().message());
  }
  Json profile = {{"defaultAction", base::JsonString(*parsed, "defaultAction")}};
  if (const Json& code = base::JsonAt(*parsed, "defaultErrnoRet"); code.is_number()) {
    profile["defaultErrnoRet"] = code;
  }
  for (const char* key : {"architectures", "flags", "listenerPath", "listenerMetadata"}) {
    if (const Json& value = base::JsonAt(*parsed, key); !value.is_null()) profile[key] = value;
  }
  const char* native =
      client::MachineArchitecture() == "arm64" ? "SCMP_ARCH_AARCH64" : "SCMP_ARCH_X86_64";
  for (const Json& entry : base::JsonAt(*parsed, "archMap")) {
    if (base::JsonString(entry, "architecture") != native) continue;
    profile["architectures"] = Json::array({native});
    for (const Json& sub : base::JsonAt(entry, "subArchitectures")) {
      profile["architectures"].push_back(sub);
    }
  }
  Json calls = Json::array();
  for (const Json& call : base::JsonAt(*parsed, "syscalls")) {
    if (!Holds(base::JsonAt(call, "includes"), capabilities, /*any=*/false)) continue;
    if (Holds(base::JsonAt(call, "excludes"), capabilities, /*any=*/true)) continue;
    Json rule = {{"action", base::JsonString(call, "action")}};
    rule["names"] = base::JsonAt(call, "names");
    if (std::string name = base::JsonString(call, "name"); !name.empty()) rule["names"] = {name};
    for (const char* key : {"args", "errnoRet"}) {
      if (const Json& value = base::JsonAt(call, key); !value.is_null()) rule[key] = value;
    }
    calls.push_back(std::move(rule));
  }
  profile["syscalls"] = std::move(calls);
  return profile;
}

absl::StatusOr<Json> BuildContainerSpec(const SpecInput& in) {
  const HostConfig& host = *in.host;
  if (!host.resources.device_requests.empty()) {
    return Invalid("could not select device driver \"", host.resources.device_requests[0].driver,
                   "\" with capabilities: [[gpu]]");
  }
  GANTRY_ASSIGN_OR_RETURN(Security security, ParseSecurity(host.security_opt));
  GANTRY_ASSIGN_OR_RETURN(client::SpecOptions options, BaseOptions(in, security));
  GANTRY_ASSIGN_OR_RETURN(Json spec, client::BuildSpec(client::ImageConfig(), in.user, options));
  Json& process = spec["process"];
  GANTRY_ASSIGN_OR_RETURN(process["rlimits"], Rlimits(host.resources.ulimits));
  if (in.config->tty && host.console_size.size() == 2 && host.console_size[0] > 0) {
    process["consoleSize"] = {{"height", host.console_size[0]}, {"width", host.console_size[1]}};
  }
  AdaptMounts(in, spec["mounts"]);
  if (host.uts_mode == "host") spec.erase("hostname");
  if (!in.config->domainname.empty()) spec["domainname"] = in.config->domainname;

  Json& part = spec["linux"];
  std::string parent =
      host.resources.cgroup_parent.empty() ? in.cgroup_parent : host.resources.cgroup_parent;
  part["cgroupsPath"] = absl::StrCat(absl::StartsWith(parent, "/") ? "" : "/", parent, "/", in.id);
  part["namespaces"] = Namespaces(host, *in.config);
  GANTRY_ASSIGN_OR_RETURN(part["sysctl"], Sysctls(in));
  GANTRY_ASSIGN_OR_RETURN(Json resources, ResourcesJson(host.resources));
  resources["devices"] = part["resources"]["devices"];
  GANTRY_RETURN_IF_ERROR(AddDeviceRules(host.resources.device_cgroup_rules, &resources["devices"]));
  part["resources"] = std::move(resources);
  if (!host.privileged) {
    // What a client names takes the place of the defaults; what the client library hides beyond
    // Docker's list stays hidden by default.
    if (host.masked_paths) part["maskedPaths"] = *host.masked_paths;
    if (host.readonly_paths) part["readonlyPaths"] = *host.readonly_paths;
  }
  return spec;
}

}  // namespace gantry::docker
