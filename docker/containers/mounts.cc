#include "docker/containers/mounts.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/status.h"

namespace gantry::docker {
namespace {

constexpr char kDefaultPropagation[] = "rprivate";
constexpr mode_t kSourceMode = 0755;

template <typename... Text>
absl::Status Invalid(Text... text) {
  return absl::InvalidArgumentError(absl::StrCat(text...));
}

bool IsPropagation(absl::string_view word) {
  for (absl::string_view known : {"private", "rprivate", "shared", "rshared", "slave", "rslave"}) {
    if (word == known) return true;
  }
  return false;
}

// "/a//b/../c/" → "/a/c".
std::string CleanPath(absl::string_view path) {
  std::vector<absl::string_view> parts;
  for (absl::string_view part : absl::StrSplit(path, '/', absl::SkipEmpty())) {
    if (part == ".") continue;
    if (part == "..") {
      if (!parts.empty()) parts.pop_back();
    } else {
      parts.push_back(part);
    }
  }
  return absl::StrCat("/", absl::StrJoin(parts, "/"));
}

absl::Status CheckDestination(const std::string& type, const std::string& destination) {
  if (destination.empty()) {
    return Invalid("invalid mount config for type \"", type, "\": field Target must not be empty");
  }
  if (destination[0] != '/') {
    return Invalid("invalid mount config for type \"", type, "\": invalid mount path: '",
                   destination, "' mount path must be absolute");
  }
  if (CleanPath(destination) == "/") {
    return Invalid("invalid mount config for type \"", type,
                   "\": invalid specification: destination can't be '/'");
  }
  return absl::OkStatus();
}

bool IsVolumeName(absl::string_view name) {
  if (name.size() < 2 || !absl::ascii_isalnum(static_cast<unsigned char>(name[0]))) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == '-';
  });
}

absl::Status CheckVolumeName(const std::string& name) {
  if (IsVolumeName(name)) return absl::OkStatus();
  return Invalid("create ", name, ": \"", name,
                 "\" includes invalid characters for a local volume name, only "
                 "\"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host "
                 "directory, use absolute path");
}

absl::Status ApplyMode(absl::string_view mode, PlannedMount* mount) {
  for (absl::string_view word : absl::StrSplit(mode, ',', absl::SkipEmpty())) {
    if (word == "ro") {
      mount->point.rw = false;
    } else if (word == "nocopy") {
      mount->copy = false;
    } else if (IsPropagation(word)) {
      mount->point.propagation = std::string(word);
    } else if (word != "rw" && word != "z" && word != "Z" && word != "cached" &&
               word != "delegated" && word != "consistent") {
      return Invalid("invalid mode: ", mode);
    }
  }
  mount->point.mode = std::string(mode);
  return absl::OkStatus();
}

absl::Status AddTmpfs(const StringMap& tmpfs, std::vector<PlannedMount>* mounts) {
  for (const auto& [destination, options] : tmpfs) {
    GANTRY_RETURN_IF_ERROR(CheckDestination("tmpfs", destination));
    PlannedMount mount;
    mount.point.type = "tmpfs";
    mount.point.destination = CleanPath(destination);
    mount.tmpfs_options = absl::StrSplit(options, ',', absl::SkipEmpty());
    mounts->push_back(std::move(mount));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<PlannedMount>> FromOthers(const StringList& volumes_from,
                                                     const MountsOf& mounts_of) {
  std::vector<PlannedMount> mounts;
  for (const std::string& text : volumes_from) {
    std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits(':', 1));
    if (parts.first.empty()) return Invalid("volumes from: invalid specification: ", text);
    PlannedMount defaults;
    GANTRY_RETURN_IF_ERROR(ApplyMode(parts.second, &defaults));
    GANTRY_ASSIGN_OR_RETURN(std::vector<MountPoint> theirs, mounts_of(parts.first));
    for (MountPoint& point : theirs) {
      PlannedMount mount;
      mount.point = std::move(point);
      mount.point.rw = mount.point.rw && defaults.point.rw;
      mount.point.anonymous = false;  // theirs to remove
      mount.copy = false;
      mounts.push_back(std::move(mount));
    }
  }
  return mounts;
}

// tmpfs of the shape that Docker gives it, changed by what the client wants.
std::vector<std::string> TmpfsOptions(const PlannedMount& mount) {
  std::vector<std::string> options = {"nosuid", "nodev", "noexec"};
  for (const std::string& wanted : mount.tmpfs_options) {
    // "exec" takes "noexec" away, and so on.
    std::string opposite = absl::StartsWith(wanted, "no") ? wanted.substr(2) : "no" + wanted;
    std::erase(options, opposite);
    if (std::find(options.begin(), options.end(), wanted) == options.end()) {
      options.push_back(wanted);
    }
  }
  if (!mount.point.rw) options.push_back("ro");
  return options;
}

}  // namespace

absl::StatusOr<PlannedMount> ParseBind(absl::string_view text, const std::string& volume_driver) {
  std::vector<std::string> parts = absl::StrSplit(text, ':');
  if (parts.size() > 3 || parts[0].empty())
    return Invalid("invalid volume specification: '", text, "'");
  PlannedMount mount;
  MountPoint& point = mount.point;
  if (parts.size() == 1) {
    point.type = "volume";
    point.destination = parts[0];
  } else {
    point.source = parts[0];
    point.destination = parts[1];
    point.type = point.source[0] == '/' ? "bind" : "volume";
    if (point.destination.empty()) return Invalid("invalid volume specification: '", text, "'");
  }
  if (parts.size() == 3) GANTRY_RETURN_IF_ERROR(ApplyMode(parts[2], &mount));
  GANTRY_RETURN_IF_ERROR(CheckDestination(point.type, point.destination));
  point.destination = CleanPath(point.destination);
  if (point.type == "bind") {
    point.source = CleanPath(point.source);
    if (point.propagation.empty()) point.propagation = kDefaultPropagation;
    mount.create_source = true;
    return mount;
  }
  point.name = std::exchange(point.source, "");
  point.driver = volume_driver.empty() ? "local" : volume_driver;
  point.anonymous = point.name.empty();
  if (!point.anonymous) GANTRY_RETURN_IF_ERROR(CheckVolumeName(point.name));
  if (point.mode.empty()) point.mode = "z";
  return mount;
}

absl::StatusOr<PlannedMount> PlanMount(const MountRequest& request) {
  const std::string& type = request.type;
  GANTRY_RETURN_IF_ERROR(CheckDestination(type, request.target));
  PlannedMount mount;
  MountPoint& point = mount.point;
  point.type = type;
  point.destination = CleanPath(request.target);
  point.rw = !request.read_only;
  mount.recursive = !request.non_recursive;
  if (type == "bind") {
    if (request.source.empty()) {
      return Invalid("invalid mount config for type \"bind\": field Source must not be empty");
    }
    if (request.source[0] != '/') {
      return Invalid("invalid mount config for type \"bind\": invalid mount path: '",
                     request.source, "' mount path must be absolute");
    }
    if (!request.propagation.empty() && !IsPropagation(request.propagation)) {
      return Invalid("invalid mount config for type \"bind\": invalid propagation mode: ",
                     request.propagation);
    }
    point.source = CleanPath(request.source);
    point.propagation = request.propagation.empty() ? kDefaultPropagation : request.propagation;
    mount.create_source = request.create_mountpoint;
  } else if (type == "volume") {
    if (!request.subpath.empty()) {
      return absl::UnimplementedError("mounting a part of a volume is not supported");
    }
    point.name = request.source;
    point.anonymous = point.name.empty();
    if (!point.anonymous) GANTRY_RETURN_IF_ERROR(CheckVolumeName(point.name));
    point.driver = request.driver.empty() ? "local" : request.driver;
    point.mode = "z";
    mount.copy = !request.no_copy;
    mount.labels = request.labels;
    mount.driver_options = request.driver_options;
  } else if (type == "tmpfs") {
    if (!request.source.empty()) {
      return Invalid("invalid mount config for type \"tmpfs\": field Source must not be specified");
    }
    if (request.tmpfs_size > 0) {
      mount.tmpfs_options.push_back(absl::StrCat("size=", request.tmpfs_size));
    }
    if (request.tmpfs_mode > 0) {
      mount.tmpfs_options.push_back(absl::StrFormat("mode=%o", request.tmpfs_mode));
    }
    for (const StringList& option : request.tmpfs_options) {
      mount.tmpfs_options.push_back(absl::StrJoin(option, "="));
    }
  } else if (type == "image") {
    return absl::UnimplementedError("mounts of images are not supported");
  } else {
    return Invalid("invalid mount config for type \"", type, "\": mount type unknown");
  }
  return mount;
}

absl::StatusOr<std::vector<PlannedMount>> PlanMounts(const ContainerConfig& config,
                                                     const HostConfig& host,
                                                     const MountsOf& mounts_of) {
  std::vector<PlannedMount> own;
  for (const std::string& bind : host.binds) {
    GANTRY_ASSIGN_OR_RETURN(own.emplace_back(), ParseBind(bind, host.volume_driver));
  }
  for (const MountRequest& request : host.mounts) {
    GANTRY_ASSIGN_OR_RETURN(own.emplace_back(), PlanMount(request));
  }
  GANTRY_RETURN_IF_ERROR(AddTmpfs(host.tmpfs, &own));
  std::set<std::string> taken;
  for (const PlannedMount& mount : own) {
    if (!taken.insert(mount.point.destination).second) {
      return Invalid("Duplicate mount point: ", mount.point.destination);
    }
  }
  // What the container says itself counts more than what it takes from others, and that more than
  // what its image declares.
  GANTRY_ASSIGN_OR_RETURN(std::vector<PlannedMount> others,
                          FromOthers(host.volumes_from, mounts_of));
  for (PlannedMount& mount : others) {
    if (taken.insert(mount.point.destination).second) own.push_back(std::move(mount));
  }
  for (const std::string& destination : config.volumes) {
    GANTRY_ASSIGN_OR_RETURN(PlannedMount mount, ParseBind(destination, host.volume_driver));
    mount.point.mode = "";
    if (taken.insert(mount.point.destination).second) own.push_back(std::move(mount));
  }
  std::stable_sort(own.begin(), own.end(), [](const PlannedMount& a, const PlannedMount& b) {
    auto depth = [](const PlannedMount& mount) {
      return std::count(mount.point.destination.begin(), mount.point.destination.end(), '/');
    };
    return depth(a) < depth(b);
  });
  return own;
}

absl::Status PrepareSources(const std::vector<PlannedMount>& mounts) {
  for (const PlannedMount& mount : mounts) {
    if (mount.point.type != "bind") continue;
    struct stat info {};
    // The host's directories are the client's to choose: whoever may ask for them is root.
    if (stat(mount.point.source.c_str(), &info) == 0) continue;
    if (errno != ENOENT) {
      return base::ErrnoStatus(errno, absl::StrCat("stat ", mount.point.source));
    }
    if (!mount.create_source) {
      return Invalid("invalid mount config for type \"bind\": bind source path does not exist: ",
                     mount.point.source);
    }
    GANTRY_RETURN_IF_ERROR(base::Annotate(
        base::MakeDirs(mount.point.source, kSourceMode),
        absl::StrCat("error while creating mount source path '", mount.point.source, "'")));
  }
  return absl::OkStatus();
}

std::vector<client::SpecMount> SpecMounts(const std::vector<PlannedMount>& mounts) {
  std::vector<client::SpecMount> list;
  for (const PlannedMount& mount : mounts) {
    const MountPoint& point = mount.point;
    client::SpecMount entry;
    entry.destination = point.destination;
    if (point.type == "tmpfs") {
      entry.type = entry.source = "tmpfs";
      entry.options = TmpfsOptions(mount);
    } else {
      entry.type = "bind";
      entry.source = point.source;
      entry.options = {mount.recursive ? "rbind" : "bind",
                       point.propagation.empty() ? kDefaultPropagation : point.propagation};
      if (!point.rw) entry.options.push_back("ro");
    }
    list.push_back(std::move(entry));
  }
  return list;
}

}  // namespace gantry::docker
