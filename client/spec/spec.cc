#include "client/spec/spec.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "client/spec/capabilities.h"
#include "client/spec/seccomp_table.h"

namespace gantry::client {
namespace {

using base::Json;

constexpr char kDefaultPath[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
// Microseconds; the kernel's default for cgroups.
constexpr int64_t kCpuPeriod = 100000;

Json MountEntry(absl::string_view destination, absl::string_view type, absl::string_view source,
                std::vector<std::string> options) {
  return {{"destination", std::string(destination)},
          {"type", std::string(type)},
          {"source", std::string(source)},
          {"options", std::move(options)}};
}

Json DefaultMounts(const SpecOptions& o) {
  const char* sys = o.privileged ? "rw" : "ro";
  Json mounts = Json::array();
  mounts.push_back(MountEntry("/proc", "proc", "proc", {"nosuid", "noexec", "nodev"}));
  mounts.push_back(
      MountEntry("/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}));
  mounts.push_back(
      MountEntry("/dev/pts", "devpts", "devpts",
                 {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}));
  mounts.push_back(MountEntry("/dev/shm", "tmpfs", "shm",
                              {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}));
  mounts.push_back(MountEntry("/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}));
  mounts.push_back(MountEntry("/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", sys}));
  // Programs size themselves by the limits they find here.
  mounts.push_back(MountEntry("/sys/fs/cgroup", "cgroup", "cgroup",
                              {"nosuid", "noexec", "nodev", "relatime", sys}));
  return mounts;
}

void AddUserMounts(const SpecOptions& o, Json& mounts) {
  if (o.network == NetworkMode::kHost) {
    for (const char* path : {"/etc/resolv.conf", "/etc/hosts"}) {
      struct stat info = {};
      if (stat(path, &info) == 0) {
        mounts.push_back(MountEntry(path, "bind", path, {"rbind", "ro"}));
      }
    }
  }
  for (const SpecMount& mount : o.mounts) {
    // A mount of the caller takes the place of a default one.
    for (size_t i = 0; i < mounts.size(); ++i) {
      if (mounts[i]["destination"] == mount.destination) mounts.erase(i--);
    }
    mounts.push_back(MountEntry(mount.destination, mount.type, mount.source, mount.options));
  }
}

Json Namespaces(const SpecOptions& o) {
  Json list = Json::array();
  for (const char* type : {"pid", "ipc", "uts", "mount"}) list.push_back({{"type", type}});
  if (o.network == NetworkMode::kNone) list.push_back({{"type", "network"}});
  if (o.cgroup_v2 && !o.privileged) list.push_back({{"type", "cgroup"}});
  return list;
}

Json DeviceRule(bool allow, const char* type, int64_t major, int64_t minor,
                const std::string& access) {
  Json rule = {{"allow", allow}, {"access", access}};
  if (type != nullptr) rule["type"] = type;
  if (major >= 0) rule["major"] = major;
  if (minor >= 0) rule["minor"] = minor;
  return rule;
}

// Nothing but the devices that every container has; making others is allowed, using them is not.
Json DefaultDeviceRules() {
  Json rules = Json::array({DeviceRule(false, nullptr, -1, -1, "rwm")});
  rules.push_back(DeviceRule(true, "c", -1, -1, "m"));
  rules.push_back(DeviceRule(true, "b", -1, -1, "m"));
  constexpr std::pair<int, int> kDevices[] = {{1, 3}, {1, 5}, {1, 7}, {1, 8},   {1, 9},
                                              {5, 0}, {5, 1}, {5, 2}, {136, -1}};
  for (auto [major, minor] : kDevices) rules.push_back(DeviceRule(true, "c", major, minor, "rwm"));
  return rules;
}

absl::Status AddDevice(const SpecDevice& device, Json& devices, Json& rules) {
  struct stat info = {};
  if (stat(device.host_path.c_str(), &info) != 0) {
    return base::ErrnoStatus(errno, absl::StrCat("device ", device.host_path));
  }
  if (!S_ISCHR(info.st_mode) && !S_ISBLK(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(device.host_path, " is no device"));
  }
  if (device.access.empty() || device.access.find_first_not_of("rwm") != std::string::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("device access \"", device.access, "\" is not of r, w and m"));
  }
  const char* type = S_ISCHR(info.st_mode) ? "c" : "b";
  int64_t major_number = major(info.st_rdev);
  int64_t minor_number = minor(info.st_rdev);
  devices.push_back({{"path", device.container_path},
                     {"type", type},
                     {"major", major_number},
                     {"minor", minor_number},
                     {"fileMode", info.st_mode & 07777},
                     {"uid", info.st_uid},
                     {"gid", info.st_gid}});
  rules.push_back(DeviceRule(true, type, major_number, minor_number, device.access));
  return absl::OkStatus();
}

Json Resources(const SpecOptions& o, Json device_rules) {
  Json resources = {{"devices", std::move(device_rules)}};
  if (o.memory_bytes > 0) resources["memory"] = {{"limit", o.memory_bytes}};
  if (o.cpus > 0) {
    resources["cpu"] = {{"quota", std::llround(o.cpus * kCpuPeriod)}, {"period", kCpuPeriod}};
  }
  if (o.cpu_shares > 0) resources["cpu"]["shares"] = o.cpu_shares;
  if (o.pids_limit > 0) resources["pids"] = {{"limit", o.pids_limit}};
  return resources;
}

// Files of the kernel that are about the whole machine, for side channels or worse.
Json MaskedPaths() {
  Json paths = {"/proc/acpi",        "/proc/asound",  "/proc/interrupts",
                "/proc/kcore",       "/proc/keys",    "/proc/latency_stats",
                "/proc/sched_debug", "/proc/scsi",    "/proc/timer_list",
                "/proc/timer_stats", "/sys/firmware", "/sys/devices/virtual/powercap"};
  for (int cpu = 0;; ++cpu) {
    std::string path = absl::StrCat("/sys/devices/system/cpu/cpu", cpu, "/thermal_throttle");
    if (access(path.c_str(), F_OK) != 0) return paths;
    paths.push_back(std::move(path));
  }
}

absl::StatusOr<Json> LinuxPart(const SpecOptions& o, const std::vector<std::string>& caps) {
  Json rules =
      o.privileged ? Json::array({DeviceRule(true, nullptr, -1, -1, "rwm")}) : DefaultDeviceRules();
  Json devices = Json::array();
  for (const SpecDevice& device : o.devices) {
    GANTRY_RETURN_IF_ERROR(AddDevice(device, devices, rules));
  }
  Json part = {{"cgroupsPath", absl::StrCat("/", o.ns, "/", o.id)},
               {"namespaces", Namespaces(o)},
               {"resources", Resources(o, std::move(rules))}};
  if (!devices.empty()) part["devices"] = std::move(devices);
  if (o.privileged) return part;
  part["maskedPaths"] = MaskedPaths();
  part["readonlyPaths"] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                           "/proc/sysrq-trigger"};
  if (o.seccomp == SeccompMode::kDefault) part["seccomp"] = DefaultSeccompProfile(caps);
  if (o.seccomp == SeccompMode::kProfile) part["seccomp"] = o.seccomp_profile;
  return part;
}

Json UserJson(const ResolvedUser& user) {
  return {{"uid", user.uid}, {"gid", user.gid}, {"additionalGids", user.additional_gids}};
}

Json CapabilitySets(const std::vector<std::string>& caps) {
  return {{"bounding", caps}, {"effective", caps}, {"permitted", caps}};
}

absl::StatusOr<std::vector<std::string>> Arguments(const ImageConfig& image, const SpecOptions& o) {
  std::vector<std::string> args = o.entrypoint ? *o.entrypoint : image.entrypoint;
  bool own_command = !o.args.empty() || o.entrypoint.has_value();
  const std::vector<std::string>& rest = own_command ? o.args : image.cmd;
  args.insert(args.end(), rest.begin(), rest.end());
  if (args.empty() || args[0].empty()) {
    return absl::InvalidArgumentError(
        "the image names no program to run; give a command after the image's name");
  }
  for (const std::string& arg : args) {
    if (absl::StrContains(arg, absl::string_view("\0", 1))) {
      return absl::InvalidArgumentError("an argument contains a NUL byte");
    }
  }
  return args;
}

absl::StatusOr<Json> ProcessPart(const ImageConfig& image, const ResolvedUser& user,
                                 const SpecOptions& o, const std::vector<std::string>& caps) {
  GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> args, Arguments(image, o));
  std::vector<std::string> env = MergeEnv({kDefaultPath}, image.env);
  if (o.terminal) env = MergeEnv(std::move(env), {"TERM=xterm"});
  std::string cwd = !o.cwd.empty() ? o.cwd : image.working_dir;
  if (cwd.empty()) cwd.assign(1, '/');  // not = "/": GCC 12 warns (PR 105651)
  if (cwd[0] != '/') {
    return absl::InvalidArgumentError(
        absl::StrCat("working directory \"", cwd, "\" is not absolute"));
  }
  Json rlimits = Json::array();
  bool has_nofile = false;
  for (const Rlimit& limit : o.rlimits) {
    has_nofile = has_nofile || limit.type == "RLIMIT_NOFILE";
    rlimits.push_back({{"type", limit.type}, {"soft", limit.soft}, {"hard", limit.hard}});
  }
  if (!has_nofile) rlimits.push_back({{"type", "RLIMIT_NOFILE"}, {"soft", 1024}, {"hard", 1024}});
  Json process = {{"args", args},
                  {"env", MergeEnv(std::move(env), o.env)},
                  {"cwd", cwd},
                  {"user", UserJson(user)},
                  {"terminal", o.terminal},
                  {"noNewPrivileges", o.no_new_privileges && !o.privileged},
                  {"capabilities", CapabilitySets(caps)},
                  {"rlimits", std::move(rlimits)}};
  if (o.oom_score_adj) process["oomScoreAdj"] = *o.oom_score_adj;
  return process;
}

}  // namespace

std::vector<std::string> MergeEnv(std::vector<std::string> defaults,
                                  const std::vector<std::string>& overrides) {
  for (const std::string& entry : overrides) {
    absl::string_view name = absl::string_view(entry).substr(0, entry.find('='));
    auto same = std::find_if(defaults.begin(), defaults.end(), [&](const std::string& old) {
      return absl::string_view(old).substr(0, old.find('=')) == name;
    });
    if (same != defaults.end()) {
      *same = entry;
    } else {
      defaults.push_back(entry);
    }
  }
  return defaults;
}

absl::StatusOr<Json> BuildSpec(const ImageConfig& image, const ResolvedUser& user,
                               const SpecOptions& o) {
  std::vector<std::string> caps = AllCapabilities();
  if (!o.privileged) {
    GANTRY_ASSIGN_OR_RETURN(caps, MakeCapabilities(o.cap_add, o.cap_drop));
  }
  GANTRY_ASSIGN_OR_RETURN(Json process, ProcessPart(image, user, o, caps));
  GANTRY_ASSIGN_OR_RETURN(Json part, LinuxPart(o, caps));
  Json mounts = DefaultMounts(o);
  AddUserMounts(o, mounts);
  Json spec = {
      {"ociVersion", "1.0.2"},
      {"process", std::move(process)},
      {"root", {{"path", o.rootfs.empty() ? "rootfs" : o.rootfs}, {"readonly", o.read_only}}},
      {"mounts", std::move(mounts)},
      {"linux", std::move(part)}};
  spec["hostname"] = o.hostname.empty() ? o.id.substr(0, 12) : o.hostname;
  for (const auto& [key, value] : o.annotations) spec["annotations"][key] = value;
  return spec;
}

absl::StatusOr<Json> BuildExecProcess(const Json& container_spec, const ExecOptions& o) {
  Json process = base::JsonAt(container_spec, "process");
  if (!process.is_object()) {
    return absl::FailedPreconditionError("the container's specification has no process");
  }
  if (o.args.empty()) return absl::InvalidArgumentError("no program to run was given");
  process["args"] = o.args;
  process["terminal"] = o.terminal;
  std::vector<std::string> env;
  for (const Json& item : base::JsonAt(process, "env")) {
    if (item.is_string()) env.push_back(item.get<std::string>());
  }
  if (o.terminal) env = MergeEnv(std::move(env), {"TERM=xterm"});
  process["env"] = MergeEnv(std::move(env), o.env);
  if (!o.cwd.empty()) process["cwd"] = o.cwd;
  if (o.user) process["user"] = UserJson(*o.user);
  if (o.privileged) {
    process["capabilities"] = CapabilitySets(AllCapabilities());
    process["noNewPrivileges"] = false;
  }
  return process;
}

}  // namespace gantry::client
