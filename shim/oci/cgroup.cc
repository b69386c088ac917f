#include "shim/oci/cgroup.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/status.h"

namespace gantry::oci {
namespace {

// mountinfo(5) writes space, tab, newline and backslash as octal.
std::string Unescape(absl::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                               (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

bool IsController(absl::string_view option) {
  static constexpr absl::string_view kOther[] = {
      "rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "all", "none"};
  return !absl::StartsWith(option, "release_agent=") &&
         std::find(std::begin(kOther), std::end(kOther), option) == std::end(kOther);
}

std::string CleanAbsolute(absl::string_view path) {
  std::vector<absl::string_view> parts;
  for (absl::string_view part : absl::StrSplit(path, '/')) {
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      if (!parts.empty()) parts.pop_back();
    } else {
      parts.push_back(part);
    }
  }
  return absl::StrCat("/", absl::StrJoin(parts, "/"));
}

// "a-b-c.slice" lies in "a.slice/a-b.slice" (systemd.slice(5)).
absl::StatusOr<std::string> ExpandSlice(absl::string_view slice) {
  if (slice.empty() || slice == "-.slice") return std::string("/");
  absl::string_view name = slice;
  if (!absl::ConsumeSuffix(&name, ".slice") || name.empty() || absl::StrContains(name, '/')) {
    return absl::InvalidArgumentError(
        absl::StrCat("linux.cgroupsPath: \"", slice, "\" is no name of a systemd slice"));
  }
  std::string path, prefix;
  for (absl::string_view part : absl::StrSplit(name, '-')) {
    if (part.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("linux.cgroupsPath: invalid slice name \"", slice, "\""));
    }
    absl::StrAppend(&prefix, prefix.empty() ? "" : "-", part);
    absl::StrAppend(&path, "/", prefix, ".slice");
  }
  return path;
}

absl::StatusOr<std::string> SystemdPath(absl::string_view spec_path, const std::string& id) {
  std::vector<std::string> parts = absl::StrSplit(spec_path, ':');
  if (spec_path.empty()) parts = {"system.slice", "gantry", id};
  if (parts.size() != 3 || parts[2].empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "linux.cgroupsPath: expected \"slice:prefix:name\" for systemd cgroups, not \"", spec_path,
        "\""));
  }
  GANTRY_ASSIGN_OR_RETURN(std::string slice, ExpandSlice(parts[0]));
  std::string unit = absl::EndsWith(parts[2], ".slice") ? parts[2]
                     : parts[1].empty()                 ? absl::StrCat(parts[2], ".scope")
                                        : absl::StrCat(parts[1], "-", parts[2], ".scope");
  return CleanAbsolute(absl::StrCat(slice, "/", unit));
}

}  // namespace

bool CgroupHierarchy::Has(absl::string_view controller) const {
  return std::find(controllers.begin(), controllers.end(), controller) != controllers.end();
}

absl::StatusOr<CgroupSystem> ParseCgroupMounts(absl::string_view mountinfo) {
  CgroupSystem system;
  bool unified = false;
  for (absl::string_view line : absl::StrSplit(mountinfo, '\n', absl::SkipEmpty())) {
    std::vector<absl::string_view> halves = absl::StrSplit(line, absl::MaxSplits(" - ", 1));
    if (halves.size() != 2) continue;
    std::vector<absl::string_view> fields = absl::StrSplit(halves[0], ' ');
    std::vector<absl::string_view> tail = absl::StrSplit(halves[1], ' ');
    if (fields.size() < 5 || tail.size() < 3) continue;
    std::string mount_point = Unescape(fields[4]);
    if (tail[0] == "cgroup2" && mount_point == system.root) unified = true;
    if (tail[0] != "cgroup" || !absl::StartsWith(mount_point, "/sys/fs/cgroup/")) continue;
    CgroupHierarchy hierarchy;
    hierarchy.mount_point = mount_point;
    for (absl::string_view option : absl::StrSplit(tail[2], ',')) {
      if (IsController(option)) hierarchy.controllers.emplace_back(option);
    }
    bool known = std::any_of(
        system.hierarchies.begin(), system.hierarchies.end(),
        [&](const CgroupHierarchy& other) { return other.controllers == hierarchy.controllers; });
    if (!hierarchy.controllers.empty() && !known) system.hierarchies.push_back(hierarchy);
  }
  system.v2 = unified && system.hierarchies.empty();
  if (!system.v2 && system.hierarchies.empty()) {
    return absl::FailedPreconditionError(
        "no cgroup file system is mounted below /sys/fs/cgroup: mount cgroup2 there");
  }
  return system;
}

absl::StatusOr<CgroupSystem> DetectCgroups() {
  GANTRY_ASSIGN_OR_RETURN(std::string text, base::ReadFile("/proc/self/mountinfo"));
  return ParseCgroupMounts(text);
}

std::string OwnCgroup(absl::string_view proc_self_cgroup, absl::string_view controller) {
  for (absl::string_view line : absl::StrSplit(proc_self_cgroup, '\n', absl::SkipEmpty())) {
    std::vector<absl::string_view> fields = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (fields.size() != 3) continue;
    std::vector<absl::string_view> controllers = absl::StrSplit(fields[1], ',');
    if (std::find(controllers.begin(), controllers.end(), controller) != controllers.end()) {
      return CleanAbsolute(fields[2]);
    }
  }
  return "/";
}

absl::StatusOr<std::string> CgroupPath(absl::string_view spec_path, const std::string& ns,
                                       const std::string& id, bool systemd, absl::string_view own) {
  std::string path;
  if (systemd) {
    GANTRY_ASSIGN_OR_RETURN(path, SystemdPath(spec_path, id));
  } else if (spec_path.empty()) {
    path = CleanAbsolute(absl::StrCat(ns, "/", id));
  } else if (spec_path[0] == '/') {
    path = CleanAbsolute(spec_path);
  } else {
    path = CleanAbsolute(absl::StrCat(own, CleanAbsolute(spec_path)));
  }
  if (path == "/") {
    return absl::InvalidArgumentError("linux.cgroupsPath: a container cannot use the root cgroup");
  }
  return path;
}

absl::StatusOr<std::unique_ptr<Cgroup>> Cgroup::Make(const CgroupSystem& system,
                                                     absl::string_view spec_path,
                                                     const std::string& ns, const std::string& id,
                                                     bool systemd) {
  GANTRY_ASSIGN_OR_RETURN(std::unique_ptr<Cgroup> files,
                          MakeFiles(system, spec_path, ns, id, systemd));
  if (!systemd) return files;
  GANTRY_ASSIGN_OR_RETURN(std::string path, SystemdPath(spec_path, id));
  std::vector<std::string> parts = absl::StrSplit(path, '/');  // "", slices…, unit
  if (absl::EndsWith(parts.back(), ".slice")) {
    return absl::UnimplementedError(
        absl::StrCat("linux.cgroupsPath: a container cannot be a slice (", parts.back(), ")"));
  }
  std::string slice = parts.size() > 2 ? parts[parts.size() - 2] : "-.slice";
  return MakeSystemdCgroup(std::move(files), std::move(slice), parts.back());
}

absl::StatusOr<std::unique_ptr<Cgroup>> Cgroup::MakeFiles(const CgroupSystem& system,
                                                          absl::string_view spec_path,
                                                          const std::string& ns,
                                                          const std::string& id, bool systemd) {
  std::string own;
  if (!spec_path.empty() && spec_path[0] != '/' && !systemd) {
    GANTRY_ASSIGN_OR_RETURN(own, base::ReadFile("/proc/self/cgroup"));
  }
  if (system.v2) {
    GANTRY_ASSIGN_OR_RETURN(std::string path,
                            CgroupPath(spec_path, ns, id, systemd, OwnCgroup(own, "")));
    return MakeCgroupV2(system, path);
  }
  std::vector<std::string> directories;
  for (const CgroupHierarchy& hierarchy : system.hierarchies) {
    GANTRY_ASSIGN_OR_RETURN(std::string path, CgroupPath(spec_path, ns, id, systemd,
                                                         OwnCgroup(own, hierarchy.controllers[0])));
    directories.push_back(path);
  }
  return MakeCgroupV1(system, std::move(directories));
}

absl::Status WriteCgroupFile(const std::string& dir, absl::string_view file,
                             absl::string_view value) {
  std::string path = absl::StrCat(dir, "/", file);
  base::UniqueFd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC | O_TRUNC));
  if (!fd.valid() || write(fd.get(), value.data(), value.size()) < 0) {
    int error = errno;
    return base::ErrnoStatus(error, absl::StrCat("write \"", value, "\" to ", path));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadCgroupFile(const std::string& dir, absl::string_view file) {
  std::string path = absl::StrCat(dir, "/", file);
  base::UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return base::ErrnoStatus(errno, absl::StrCat("open ", path));
  return base::ReadFd(fd.get());
}

uint64_t ReadCgroupNumber(const std::string& dir, absl::string_view file) {
  auto text = ReadCgroupFile(dir, file);
  if (!text.ok()) return 0;
  absl::string_view trimmed = absl::StripAsciiWhitespace(*text);
  if (trimmed == "max") return UINT64_MAX;
  uint64_t number = 0;
  return absl::SimpleAtoi(trimmed, &number) ? number : 0;
}

std::map<std::string, uint64_t> ReadCgroupKeys(const std::string& dir, absl::string_view file) {
  std::map<std::string, uint64_t> keys;
  auto text = ReadCgroupFile(dir, file);
  if (!text.ok()) return keys;
  for (absl::string_view line : absl::StrSplit(*text, '\n', absl::SkipEmpty())) {
    std::pair<absl::string_view, absl::string_view> pair = absl::StrSplit(line, ' ');
    uint64_t number = 0;
    if (absl::SimpleAtoi(pair.second, &number)) keys[std::string(pair.first)] = number;
  }
  return keys;
}

absl::Status MakeCgroupDirs(const std::string& root, const std::string& path, bool* existed) {
  std::string full = root + path;
  *existed = false;
  for (int attempt = 0; attempt < 16; ++attempt) {
    if (mkdir(full.c_str(), 0755) == 0) return absl::OkStatus();
    if (errno == EEXIST) {
      *existed = true;
      return absl::OkStatus();
    }
    if (errno != ENOENT) return base::ErrnoStatus(errno, absl::StrCat("mkdir ", full));
    // Parents are missing, or were removed by somebody at this moment: make them and try again.
    for (size_t i = 1; i < path.size(); ++i) {
      if (path[i] == '/') mkdir((root + path.substr(0, i)).c_str(), 0755);
    }
  }
  return base::ErrnoStatus(ENOENT, absl::StrCat("mkdir ", full));
}

absl::Status CheckCgroupIsFree(const std::string& dir, pid_t tenant) {
  GANTRY_ASSIGN_OR_RETURN(std::string pids, ReadCgroupFile(dir, "cgroup.procs"));
  if (pids.empty() || pids == absl::StrCat(tenant, "\n")) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("cgroup ", dir, " already has processes in it"));
}

absl::Status RemoveCgroupDir(const std::string& dir, bool killed) {
  absl::Duration wait = absl::Milliseconds(1);
  // A cgroup stays busy for a moment after its last process.
  absl::Time deadline = absl::Now() + (killed ? absl::Seconds(10) : absl::Seconds(1));
  for (int attempt = 0; absl::Now() < deadline; ++attempt) {
    if (rmdir(dir.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
    if (errno != EBUSY) return base::ErrnoStatus(errno, absl::StrCat("rmdir ", dir));
    auto names = base::ListDir(dir);
    bool had_child = false;
    for (const std::string& name : names.ok() ? *names : std::vector<std::string>()) {
      std::string child = absl::StrCat(dir, "/", name);
      struct stat st;
      if (lstat(child.c_str(), &st) != 0 || !S_ISDIR(st.st_mode)) continue;
      had_child = true;
      GANTRY_RETURN_IF_ERROR(RemoveCgroupDir(child, killed));
    }
    if (had_child) continue;
    if (!killed && attempt >= 1 &&
        !base::ReadFile(absl::StrCat(dir, "/cgroup.procs")).value_or("").empty()) {
      break;  // live processes do not go away by waiting
    }
    absl::SleepFor(wait);
    wait = std::min(wait * 2, absl::Milliseconds(128));
  }
  return base::ErrnoStatus(EBUSY, absl::StrCat("rmdir ", dir));
}

void CollectPids(const std::string& dir, std::vector<pid_t>* pids) {
  auto text = ReadCgroupFile(dir, "cgroup.procs");
  if (!text.ok()) return;
  for (absl::string_view line : absl::StrSplit(*text, '\n', absl::SkipEmpty())) {
    pid_t pid = 0;
    if (absl::SimpleAtoi(line, &pid) && pid > 0) pids->push_back(pid);
  }
  auto names = base::ListDir(dir);
  for (const std::string& name : names.ok() ? *names : std::vector<std::string>()) {
    if (absl::StrContains(name, '.')) {
      // Kernel files all have a dot; a sub-cgroup may have one too (systemd units).
      struct stat st;
      if (lstat(absl::StrCat(dir, "/", name).c_str(), &st) != 0 || !S_ISDIR(st.st_mode)) continue;
    } else if (name == "tasks" || name == "notify_on_release") {
      continue;
    }
    CollectPids(absl::StrCat(dir, "/", name), pids);
  }
}

std::vector<RdmaEntry> ReadRdma(const std::string& dir, absl::string_view file) {
  std::vector<RdmaEntry> entries;
  auto text = ReadCgroupFile(dir, file);
  if (!text.ok()) return entries;
  auto value = [](absl::string_view field, absl::string_view key) -> uint32_t {
    if (!absl::ConsumePrefix(&field, key)) return 0;
    uint32_t number = UINT32_MAX;
    return absl::SimpleAtoi(field, &number) ? number : UINT32_MAX;
  };
  for (absl::string_view line : absl::StrSplit(*text, '\n', absl::SkipEmpty())) {
    std::vector<absl::string_view> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (fields.size() < 3) continue;
    entries.push_back(
        {std::string(fields[0]), value(fields[1], "hca_handle="), value(fields[2], "hca_object=")});
  }
  return entries;
}

const std::vector<Device>& DefaultDevices() {
  static const auto* devices =
      new std::vector<Device>{{'c', "/dev/null", 1, 3, 0666}, {'c', "/dev/random", 1, 8, 0666},
                              {'c', "/dev/full", 1, 7, 0666}, {'c', "/dev/tty", 5, 0, 0666},
                              {'c', "/dev/zero", 1, 5, 0666}, {'c', "/dev/urandom", 1, 9, 0666}};
  return *devices;
}

std::vector<DeviceRule> CompleteDeviceRules(const std::vector<DeviceRule>& rules) {
  std::vector<DeviceRule> all;
  all.push_back({false, 'a', -1, -1, "rwm"});
  all.insert(all.end(), rules.begin(), rules.end());
  all.push_back({true, 'c', -1, -1, "m"});
  all.push_back({true, 'b', -1, -1, "m"});
  for (const Device& device : DefaultDevices()) {
    all.push_back({true, device.type, device.major, device.minor, "rwm"});
  }
  all.push_back({true, 'c', 136, -1, "rwm"});  // /dev/pts/*
  all.push_back({true, 'c', 5, 2, "rwm"});     // /dev/ptmx
  return all;
}

}  // namespace gantry::oci
