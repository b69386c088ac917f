#include "shim/oci/spec.h"

#include <sched.h>
#include <sys/personality.h>
#include <sys/resource.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/status.h"
#include "shim/oci/capabilities.h"
#include "shim/oci/json_reader.h"
#include "shim/oci/json_slice.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

namespace gantry::oci {
namespace {

constexpr int64_t kMaxDeviceNumber = 0xffffffff;
constexpr uint32_t kMaxId = UINT32_MAX - 1;  // (uid_t)-1 means "no change" to the kernel

int NamespaceFlag(absl::string_view type) {
  static constexpr std::pair<absl::string_view, int> kTypes[] = {
      {"pid", CLONE_NEWPID},       {"network", CLONE_NEWNET}, {"mount", CLONE_NEWNS},
      {"ipc", CLONE_NEWIPC},       {"uts", CLONE_NEWUTS},     {"user", CLONE_NEWUSER},
      {"cgroup", CLONE_NEWCGROUP}, {"time", CLONE_NEWTIME}};
  for (const auto& [name, flag] : kTypes) {
    if (name == type) return flag;
  }
  return 0;
}

std::optional<int> RlimitByName(absl::string_view name) {
  static constexpr std::pair<absl::string_view, int> kLimits[] = {
      {"RLIMIT_AS", RLIMIT_AS},
      {"RLIMIT_CORE", RLIMIT_CORE},
      {"RLIMIT_CPU", RLIMIT_CPU},
      {"RLIMIT_DATA", RLIMIT_DATA},
      {"RLIMIT_FSIZE", RLIMIT_FSIZE},
      {"RLIMIT_LOCKS", RLIMIT_LOCKS},
      {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK},
      {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE},
      {"RLIMIT_NICE", RLIMIT_NICE},
      {"RLIMIT_NOFILE", RLIMIT_NOFILE},
      {"RLIMIT_NPROC", RLIMIT_NPROC},
      {"RLIMIT_RSS", RLIMIT_RSS},
      {"RLIMIT_RTPRIO", RLIMIT_RTPRIO},
      {"RLIMIT_RTTIME", RLIMIT_RTTIME},
      {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
      {"RLIMIT_STACK", RLIMIT_STACK}};
  for (const auto& [known, number] : kLimits) {
    if (known == name) return number;
  }
  return std::nullopt;
}

uint64_t ReadCapabilitySet(const JsonReader& reader) {
  uint64_t set = 0;
  for (const JsonReader& item : reader.Items()) {
    std::string name = item.AsString();
    if (auto number = CapabilityByName(name)) {
      set |= uint64_t{1} << *number;
    } else if (!name.empty()) {
      // The specification asks for a warning, not an error: newer clients know newer names.
      base::LogWarn("ignoring unknown capability", {{"name", name}});
    }
  }
  return set;
}

void ReadUser(const JsonReader& user, ProcessSpec* out) {
  out->uid = static_cast<uid_t>(user.Uint("uid", kMaxId).value_or(0));
  out->gid = static_cast<gid_t>(user.Uint("gid", kMaxId).value_or(0));
  for (const JsonReader& item : user.At("additionalGids").Items()) {
    out->additional_gids.push_back(static_cast<gid_t>(item.AsUint(kMaxId).value_or(0)));
  }
  if (auto mask = user.Uint("umask", 0777)) out->umask = static_cast<mode_t>(*mask);
}

std::vector<Rlimit> ReadRlimits(const JsonReader& reader) {
  std::vector<Rlimit> limits;
  for (const JsonReader& item : reader.Items()) {
    Rlimit limit;
    limit.name = item.String("type");
    auto number = RlimitByName(limit.name);
    if (!number) item.Fail(absl::StrCat("unknown rlimit \"", limit.name, "\""));
    limit.resource = number.value_or(0);
    limit.soft = item.Uint("soft").value_or(0);
    limit.hard = item.Uint("hard").value_or(0);
    if (limit.soft > limit.hard) item.Fail("soft limit above the hard limit");
    for (const Rlimit& other : limits) {
      if (other.name == limit.name) item.Fail(absl::StrCat("second entry for ", limit.name));
    }
    limits.push_back(std::move(limit));
  }
  return limits;
}

ProcessSpec ReadProcess(const JsonReader& reader) {
  ProcessSpec process;
  process.terminal = reader.Bool("terminal");
  process.console_height = reader.At("consoleSize").Uint("height", UINT16_MAX).value_or(0);
  process.console_width = reader.At("consoleSize").Uint("width", UINT16_MAX).value_or(0);
  ReadUser(reader.At("user"), &process);
  process.args = reader.Strings("args");
  process.env = reader.Strings("env");
  process.cwd = reader.String("cwd");
  if (process.cwd.empty() || process.cwd[0] != '/') {
    reader.At("cwd").Fail(absl::StrCat("must be an absolute path, not \"", process.cwd, "\""));
  }
  JsonReader caps = reader.At("capabilities");
  if (caps.present()) {
    CapabilitySets sets;
    sets.bounding = ReadCapabilitySet(caps.At("bounding"));
    sets.effective = ReadCapabilitySet(caps.At("effective"));
    sets.inheritable = ReadCapabilitySet(caps.At("inheritable"));
    sets.permitted = ReadCapabilitySet(caps.At("permitted"));
    sets.ambient = ReadCapabilitySet(caps.At("ambient"));
    process.capabilities = sets;
  }
  process.rlimits = ReadRlimits(reader.At("rlimits"));
  process.no_new_privileges = reader.Bool("noNewPrivileges");
  process.apparmor_profile = reader.String("apparmorProfile");
  process.selinux_label = reader.String("selinuxLabel");
  if (auto adj = reader.Int("oomScoreAdj", -1000, 1000)) {
    process.oom_score_adj = static_cast<int>(*adj);
  }
  JsonReader scheduler = reader.At("scheduler");
  if (scheduler.present()) process.scheduler = ReadScheduler(scheduler);
  JsonReader io_priority = reader.At("ioPriority");
  if (io_priority.present()) process.io_priority = ReadIoPriority(io_priority);
  process.exec_cpu_affinity = ReadCpuAffinity(reader.At("execCPUAffinity"));
  return process;
}

std::vector<IdMapping> ReadMappings(const JsonReader& reader) {
  std::vector<IdMapping> mappings;
  for (const JsonReader& item : reader.Items()) {
    IdMapping mapping;
    mapping.container_id = item.Uint32("containerID").value_or(0);
    mapping.host_id = item.Uint32("hostID").value_or(0);
    mapping.size = item.Uint32("size").value_or(0);
    mappings.push_back(mapping);
  }
  return mappings;
}

std::vector<MountSpec> ReadMounts(const JsonReader& reader) {
  std::vector<MountSpec> mounts;
  for (const JsonReader& item : reader.Items()) {
    MountSpec mount;
    mount.destination = item.String("destination");
    if (mount.destination.empty()) item.At("destination").Fail("must not be empty");
    // runc accepts relative destinations (against "/") with a warning; so do we.
    if (!absl::StartsWith(mount.destination, "/")) mount.destination.insert(0, 1, '/');
    mount.type = item.String("type");
    mount.source = item.String("source");
    mount.options = item.Strings("options");
    mount.uid_mappings = ReadMappings(item.At("uidMappings"));
    mount.gid_mappings = ReadMappings(item.At("gidMappings"));
    mounts.push_back(std::move(mount));
  }
  return mounts;
}

std::vector<Hook> ReadHookList(const JsonReader& reader) {
  std::vector<Hook> hooks;
  for (const JsonReader& item : reader.Items()) {
    Hook hook;
    hook.path = item.String("path");
    if (!absl::StartsWith(hook.path, "/")) item.At("path").Fail("must be an absolute path");
    hook.args = item.Strings("args");
    hook.env = item.Strings("env");
    if (auto timeout = item.Int("timeout", 1, 1 << 20)) {
      hook.timeout_seconds = static_cast<int>(*timeout);
    }
    hooks.push_back(std::move(hook));
  }
  return hooks;
}

Hooks ReadHooks(const JsonReader& reader) {
  Hooks hooks;
  hooks.prestart = ReadHookList(reader.At("prestart"));
  hooks.create_runtime = ReadHookList(reader.At("createRuntime"));
  hooks.create_container = ReadHookList(reader.At("createContainer"));
  hooks.start_container = ReadHookList(reader.At("startContainer"));
  hooks.poststart = ReadHookList(reader.At("poststart"));
  hooks.poststop = ReadHookList(reader.At("poststop"));
  return hooks;
}

std::vector<Namespace> ReadNamespaces(const JsonReader& reader) {
  std::vector<Namespace> namespaces;
  for (const JsonReader& item : reader.Items()) {
    Namespace ns;
    ns.type = item.String("type");
    ns.path = item.String("path");
    ns.flag = NamespaceFlag(ns.type);
    if (ns.flag == 0) item.At("type").Fail(absl::StrCat("unknown namespace \"", ns.type, "\""));
    if (!ns.path.empty() && ns.path[0] != '/') item.At("path").Fail("must be an absolute path");
    for (const Namespace& other : namespaces) {
      if (other.flag == ns.flag) item.Fail(absl::StrCat("second entry for \"", ns.type, "\""));
    }
    namespaces.push_back(std::move(ns));
  }
  return namespaces;
}

char ReadDeviceType(const JsonReader& item, absl::string_view allowed) {
  std::string type = item.String("type");
  if (type.size() != 1 || !absl::StrContains(allowed, type[0])) {
    item.At("type").Fail(absl::StrCat("must be one of \"", allowed, "\", not \"", type, "\""));
    return allowed[0];
  }
  return type[0];
}

std::vector<Device> ReadDevices(const JsonReader& reader) {
  std::vector<Device> devices;
  for (const JsonReader& item : reader.Items()) {
    Device device;
    device.type = ReadDeviceType(item, "cbup");
    if (device.type == 'u') device.type = 'c';
    device.path = item.String("path");
    if (!absl::StartsWith(device.path, "/")) item.At("path").Fail("must be an absolute path");
    while (device.path.size() > 1 && device.path.back() == '/') device.path.pop_back();
    device.major = item.Int("major", 0, kMaxDeviceNumber).value_or(0);
    device.minor = item.Int("minor", 0, kMaxDeviceNumber).value_or(0);
    device.mode = static_cast<mode_t>(item.Uint("fileMode", UINT32_MAX).value_or(0666)) & 07777;
    device.uid = static_cast<uid_t>(item.Uint("uid", kMaxId).value_or(0));
    device.gid = static_cast<gid_t>(item.Uint("gid", kMaxId).value_or(0));
    devices.push_back(std::move(device));
  }
  return devices;
}

std::vector<DeviceRule> ReadDeviceRules(const JsonReader& reader) {
  std::vector<DeviceRule> rules;
  for (const JsonReader& item : reader.Items()) {
    DeviceRule rule;
    rule.allow = item.Bool("allow");
    if (item.At("type").present() && !item.String("type").empty()) {
      rule.type = ReadDeviceType(item, "acb");
    }
    rule.major = item.Int("major", -1, kMaxDeviceNumber).value_or(-1);
    rule.minor = item.Int("minor", -1, kMaxDeviceNumber).value_or(-1);
    rule.access = item.String("access");
    if (rule.access.empty()) rule.access = "rwm";
    if (rule.access.find_first_not_of("rwm") != std::string::npos || rule.access.size() > 3) {
      item.At("access").Fail(absl::StrCat("must be letters of rwm, not \"", rule.access, "\""));
    }
    rules.push_back(std::move(rule));
  }
  return rules;
}

void ReadMemory(const JsonReader& reader, Resources* out) {
  auto& memory = out->memory;
  memory.limit = reader.Int("limit", -1);
  memory.reservation = reader.Int("reservation", -1);
  memory.swap = reader.Int("swap", -1);
  memory.kernel = reader.Int("kernel", -1);
  memory.kernel_tcp = reader.Int("kernelTCP", -1);
  memory.swappiness = reader.Uint("swappiness");
  // What clients write for "not set" (docker: -1 as uint64) is above every legal value.
  if (memory.swappiness && *memory.swappiness > 200) memory.swappiness.reset();
  memory.disable_oom_killer = reader.Bool("disableOOMKiller");
  memory.check_before_update = reader.Bool("checkBeforeUpdate");
}

void ReadCpu(const JsonReader& reader, Resources* out) {
  auto& cpu = out->cpu;
  cpu.shares = reader.Uint("shares");
  cpu.quota = reader.Int("quota");
  cpu.period = reader.Uint("period");
  cpu.burst = reader.Uint("burst");
  cpu.realtime_runtime = reader.Int("realtimeRuntime");
  cpu.realtime_period = reader.Uint("realtimePeriod");
  cpu.idle = reader.Int("idle", 0, 1);
  cpu.cpus = reader.String("cpus");
  cpu.mems = reader.String("mems");
  for (const char* key : {"cpus", "mems"}) {
    const std::string& list = key[0] == 'c' ? cpu.cpus : cpu.mems;
    if (list.size() > 4096 || list.find_first_not_of("0123456789-, ") != std::string::npos) {
      reader.At(key).Fail("must be a list such as \"0-3,7\"");
    }
  }
}

std::vector<BlockThrottle> ReadThrottles(const JsonReader& reader) {
  std::vector<BlockThrottle> throttles;
  for (const JsonReader& item : reader.Items()) {
    throttles.push_back({item.Int("major", 0, kMaxDeviceNumber).value_or(0),
                         item.Int("minor", 0, kMaxDeviceNumber).value_or(0),
                         item.Uint("rate").value_or(0)});
  }
  return throttles;
}

void ReadBlockIo(const JsonReader& reader, Resources* out) {
  auto& io = out->block_io;
  io.weight = reader.Uint16("weight");
  io.leaf_weight = reader.Uint16("leafWeight");
  for (const JsonReader& item : reader.At("weightDevice").Items()) {
    io.weight_devices.push_back({item.Int("major", 0, kMaxDeviceNumber).value_or(0),
                                 item.Int("minor", 0, kMaxDeviceNumber).value_or(0),
                                 item.Uint16("weight"), item.Uint16("leafWeight")});
  }
  io.read_bps = ReadThrottles(reader.At("throttleReadBpsDevice"));
  io.write_bps = ReadThrottles(reader.At("throttleWriteBpsDevice"));
  io.read_iops = ReadThrottles(reader.At("throttleReadIOPSDevice"));
  io.write_iops = ReadThrottles(reader.At("throttleWriteIOPSDevice"));
}

// A name that becomes part of a file name in a directory of the kernel.
bool IsSafeFileName(absl::string_view name) {
  return !name.empty() && name.size() < 256 && name != "." && name != ".." &&
         !absl::StrContains(name, '/');
}

Resources ReadResources(const JsonReader& reader) {
  Resources resources;
  resources.devices = ReadDeviceRules(reader.At("devices"));
  ReadMemory(reader.At("memory"), &resources);
  ReadCpu(reader.At("cpu"), &resources);
  ReadBlockIo(reader.At("blockIO"), &resources);
  resources.pids_limit = reader.At("pids").Int("limit");
  for (const JsonReader& item : reader.At("hugepageLimits").Items()) {
    std::string size = item.String("pageSize");
    if (!IsSafeFileName(size)) item.At("pageSize").Fail("is no page size");
    resources.hugepage_limits.emplace_back(size, item.Uint("limit").value_or(0));
  }
  JsonReader rdma = reader.At("rdma");
  if (rdma.present() && rdma.json().is_object()) {
    for (const auto& [name, value] : rdma.json().items()) {
      JsonReader entry = rdma.At(name);
      resources.rdma[name] = {entry.Uint32("hcaHandles"), entry.Uint32("hcaObjects")};
    }
  }
  JsonReader network = reader.At("network");
  resources.network.class_id = network.Uint32("classID");
  for (const JsonReader& item : network.At("priorities").Items()) {
    resources.network.priorities.emplace_back(item.String("name"),
                                              item.Uint32("priority").value_or(0));
  }
  resources.unified = reader.StringMap("unified");
  for (const auto& [name, value] : resources.unified) {
    if (!IsSafeFileName(name)) reader.At("unified").Fail(absl::StrCat("bad file name ", name));
  }
  return resources;
}

IntelRdt ReadIntelRdt(const JsonReader& reader) {
  IntelRdt rdt;
  rdt.clos_id = reader.String("closID");
  if (!rdt.clos_id.empty() && !IsSafeFileName(rdt.clos_id)) {
    reader.At("closID").Fail("must be a plain name");
  }
  for (const char* key : {"l3CacheSchema", "memBwSchema"}) {
    std::string line = reader.String(key);
    if (!line.empty()) rdt.schemata.push_back(std::move(line));
  }
  for (std::string& line : reader.Strings("schemata")) rdt.schemata.push_back(std::move(line));
  rdt.enable_monitoring =
      reader.Bool("enableMonitoring") || reader.Bool("enableCMT") || reader.Bool("enableMBM");
  return rdt;
}

// A name that the kernel takes for an interface (dev_valid_name).
bool IsInterfaceName(absl::string_view name) {
  return IsSafeFileName(name) && name.size() < 16 &&
         name.find_first_of(" \t\n\v\f\r:%") == absl::string_view::npos;
}

std::vector<std::pair<std::string, std::string>> ReadNetDevices(const JsonReader& reader) {
  std::vector<std::pair<std::string, std::string>> devices;
  if (!reader.present() || !reader.json().is_object()) return devices;
  for (const auto& [name, value] : reader.json().items()) {
    JsonReader entry = reader.At(name);
    std::string inside = entry.String("name");
    if (!IsInterfaceName(name) || (!inside.empty() && !IsInterfaceName(inside))) {
      entry.Fail("is no name of a network device");
    }
    devices.emplace_back(name, inside.empty() ? name : inside);
  }
  return devices;
}

LinuxSpec ReadLinux(const JsonReader& reader) {
  LinuxSpec out;
  out.uid_mappings = ReadMappings(reader.At("uidMappings"));
  out.gid_mappings = ReadMappings(reader.At("gidMappings"));
  out.namespaces = ReadNamespaces(reader.At("namespaces"));
  out.sysctl = reader.StringMap("sysctl");
  out.devices = ReadDevices(reader.At("devices"));
  out.cgroups_path = reader.String("cgroupsPath");
  out.resources = ReadResources(reader.At("resources"));
  out.rootfs_propagation = reader.String("rootfsPropagation");
  JsonReader seccomp = reader.At("seccomp");
  if (seccomp.present()) out.seccomp_json = base::DumpJson(seccomp.json());
  out.seccomp_listener = seccomp.String("listenerPath");
  out.seccomp_metadata = seccomp.String("listenerMetadata");
  out.masked_paths = reader.Strings("maskedPaths");
  out.readonly_paths = reader.Strings("readonlyPaths");
  out.mount_label = reader.String("mountLabel");
  out.time_offsets = ReadTimeOffsets(reader.At("timeOffsets"));
  JsonReader policy = reader.At("memoryPolicy");
  if (policy.present()) out.memory_policy = ReadMemoryPolicy(policy);
  JsonReader rdt = reader.At("intelRdt");
  if (rdt.present()) out.intel_rdt = ReadIntelRdt(rdt);
  out.net_devices = ReadNetDevices(reader.At("netDevices"));
  JsonReader personality = reader.At("personality");
  if (personality.present()) {
    std::string domain = personality.String("domain");
    if (domain == "LINUX") {
      out.personality = PER_LINUX;
    } else if (domain == "LINUX32") {
      out.personality = PER_LINUX32;
    } else {
      personality.Fail("domain must be LINUX or LINUX32");
    }
    if (!personality.At("flags").Items().empty()) personality.Fail("flags are not supported");
  }
  return out;
}

template <typename T>
absl::StatusOr<T> ParseWith(absl::string_view text, absl::string_view what,
                            T (*read)(const JsonReader&)) {
  auto json = base::ParseJson(text);
  if (!json.ok()) return base::Annotate(json.status(), what);
  if (!json->is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": must be a JSON object"));
  }
  absl::Status status;
  T value = read(JsonReader(*json, "", &status));
  if (!status.ok()) return base::Annotate(status, what);
  return value;
}

Spec ReadSpec(const JsonReader& reader) {
  Spec spec;
  spec.oci_version = reader.String("ociVersion");
  if (reader.At("process").present()) spec.process = ReadProcess(reader.At("process"));
  JsonReader root = reader.At("root");
  spec.root_path = root.String("path");
  spec.root_readonly = root.Bool("readonly");
  spec.hostname = reader.String("hostname");
  spec.domainname = reader.String("domainname");
  spec.mounts = ReadMounts(reader.At("mounts"));
  spec.hooks = ReadHooks(reader.At("hooks"));
  spec.annotations = reader.StringMap("annotations");
  if (reader.At("linux").present()) spec.linux_ = ReadLinux(reader.At("linux"));
  return spec;
}

}  // namespace

const Namespace* Spec::FindNamespace(int flag) const {
  auto found = std::find_if(linux_.namespaces.begin(), linux_.namespaces.end(),
                            [flag](const Namespace& ns) { return ns.flag == flag; });
  return found == linux_.namespaces.end() ? nullptr : &*found;
}

// A seccomp profile is most of a specification's text and is wanted as text: that of a program
// which was compiled before is not parsed again. What names a listener (or could, with escapes) is.
absl::StatusOr<Spec> ParseSpec(absl::string_view json) {
  absl::string_view seccomp = SliceJson(json, {"linux", "seccomp"});
  if (!absl::StartsWith(seccomp, "{") || absl::StrContains(seccomp, "listener") ||
      absl::StrContains(seccomp, '\\')) {
    return ParseWith<Spec>(json, "config.json", ReadSpec);
  }
  size_t begin = static_cast<size_t>(seccomp.data() - json.data());
  std::string rest =
      absl::StrCat(json.substr(0, begin), "null", json.substr(begin + seccomp.size()));
  GANTRY_ASSIGN_OR_RETURN(Spec spec, ParseWith<Spec>(rest, "config.json", ReadSpec));
  // Of two members of the same name the last counts.
  if (spec.linux_.seccomp_json.empty()) spec.linux_.seccomp_json = std::string(seccomp);
  return spec;
}

absl::StatusOr<ProcessSpec> ParseProcess(absl::string_view json) {
  return ParseWith<ProcessSpec>(json, "process", ReadProcess);
}

absl::StatusOr<Resources> ParseResources(absl::string_view json) {
  return ParseWith<Resources>(json, "resources", ReadResources);
}

absl::StatusOr<Spec> LoadSpec(const std::string& bundle) {
  GANTRY_ASSIGN_OR_RETURN(std::string text, base::ReadFile(absl::StrCat(bundle, "/config.json")));
  return ParseSpec(text);
}

}  // namespace gantry::oci
