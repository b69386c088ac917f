#include "services/volumes/volume_options.h"

#include <sys/mount.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/mount.h"
#include "base/status.h"

namespace gantry::services {
namespace {

using volumes::v1::Volume;

constexpr size_t kMaxName = 255;  // NAME_MAX
constexpr size_t kMaxOption = 4096;
constexpr size_t kMaxLabels = 64 * 1024;

const std::string* Find(const Volume& volume, const std::string& key) {
  auto found = volume.options().find(key);
  return found == volume.options().end() ? nullptr : &found->second;
}

absl::Status CheckOptions(const Volume& volume) {
  for (const auto& [key, value] : volume.options()) {
    if (key != "type" && key != "device" && key != "o" && key != "size")
      return absl::InvalidArgumentError(absl::StrCat("invalid option: \"", key, "\""));
    if (value.size() > kMaxOption || absl::StrContains(value, '\0'))
      return absl::InvalidArgumentError(absl::StrCat("option ", key, " is too long"));
  }
  if (Find(volume, "size") != nullptr) {
    return absl::InvalidArgumentError(
        "quota size requested but no quota support (for a limit use the options type=tmpfs, "
        "device=tmpfs and o=size=…)");
  }
  for (const auto& [key, needed] : std::initializer_list<std::pair<const char*, const char*>>{
           {"device", "type"}, {"type", "device"}, {"o", "device"}, {"o", "type"}}) {
    if (Find(volume, key) != nullptr && Find(volume, needed) == nullptr)
      return absl::InvalidArgumentError(absl::StrCat("missing required option: \"", needed, "\""));
  }
  if (HasMount(volume)) return ParseVolumeMount(volume).status();
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckVolumeName(absl::string_view name) {
  auto good = [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == '-';
  };
  if (name.size() == 1)
    return absl::InvalidArgumentError(
        "volume name is too short, names should be at least two alphanumeric characters");
  if (name.empty() || !absl::ascii_isalnum(static_cast<unsigned char>(name[0])) ||
      !std::all_of(name.begin(), name.end(), good))
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", name,
        "\" includes invalid characters for a local volume name, only "
        "\"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use "
        "absolute path"));
  if (name.size() > kMaxName)
    return absl::InvalidArgumentError("the name is longer than 255 characters");
  return absl::OkStatus();
}

absl::Status CheckVolume(const volumes::v1::Volume& volume) {
  const std::string operation = absl::StrCat("create ", volume.name());
  GANTRY_RETURN_IF_ERROR(base::Annotate(CheckVolumeName(volume.name()), operation));
  if (!volume.driver().empty() && volume.driver() != "local")
    return absl::NotFoundError(absl::StrCat(operation, ": error looking up volume plugin ",
                                            volume.driver(), ": plugin \"", volume.driver(),
                                            "\" not found"));
  size_t labels = 0;
  for (const auto& [key, value] : volume.labels()) {
    if (key.empty())
      return absl::InvalidArgumentError(absl::StrCat(operation, ": a label has no name"));
    labels += key.size() + value.size();
  }
  if (labels > kMaxLabels)
    return absl::InvalidArgumentError(
        absl::StrCat(operation, ": the labels are longer than 64 KiB"));
  return base::Annotate(CheckOptions(volume), operation);
}

bool HasMount(const volumes::v1::Volume& volume) {
  const std::string* type = Find(volume, "type");
  const std::string* device = Find(volume, "device");
  return (type != nullptr && !type->empty()) || (device != nullptr && !device->empty());
}

absl::StatusOr<VolumeMount> ParseVolumeMount(const volumes::v1::Volume& volume) {
  VolumeMount mount;
  auto get = [&volume](const char* key) {
    const std::string* value = Find(volume, key);
    return value == nullptr ? std::string() : *value;
  };
  mount.type = get("type");
  mount.device = get("device");
  base::MountOptions options =
      base::ParseMountOptions(absl::StrSplit(get("o"), ',', absl::SkipEmpty()));
  mount.bind = (options.flags & MS_BIND) != 0 || mount.type == "bind";
  mount.recursive = (options.flags & MS_REC) != 0;
  mount.flags = options.flags & ~static_cast<unsigned long>(MS_BIND | MS_REC);
  mount.propagation = options.propagation;
  mount.data = std::move(options.data);
  if (mount.flags & MS_REMOUNT)
    return absl::InvalidArgumentError("option o: remount is not possible for a volume");
  if (!mount.bind && (mount.type.empty() || mount.type == "none"))
    return absl::InvalidArgumentError("option type names no file system, and o is not bind");
  if (mount.bind && !absl::StartsWith(mount.device, "/"))
    return absl::InvalidArgumentError(absl::StrCat("option device: \"", mount.device,
                                                   "\" is no absolute path, as a bind needs one"));
  if (mount.bind && !mount.data.empty())
    return absl::InvalidArgumentError(
        absl::StrCat("option o: a bind has no option ", mount.data[0]));
  return mount;
}

}  // namespace gantry::services
