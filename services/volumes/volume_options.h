#ifndef GANTRY_SERVICES_VOLUMES_VOLUME_OPTIONS_H_
#define GANTRY_SERVICES_VOLUMES_VOLUME_OPTIONS_H_

// What clients may ask of a volume, checked. Pure functions.

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "gantry/services/volumes/v1/volumes.pb.h"

namespace gantry::services {

// InvalidArgument with Docker's text unless `name` is [a-zA-Z0-9][a-zA-Z0-9_.-]+, at most 255 long.
absl::Status CheckVolumeName(absl::string_view name);

// Driver, options and labels as the local driver takes them. NotFound for another driver,
// InvalidArgument for options that are unknown, incomplete or not possible (size). The text begins
// with "create NAME: ".
absl::Status CheckVolume(const gantry::services::volumes::v1::Volume& volume);

// What the options type, device and o say: a mount.
struct VolumeMount {
  std::string type;
  std::string device;
  bool bind = false;
  bool recursive = false;         // rbind
  unsigned long flags = 0;        // MS_*, those of single mounts
  unsigned long propagation = 0;  // MS_SHARED, …
  std::vector<std::string> data;  // for the file system
};
// Whether the volume is mounted at all while it is used.
bool HasMount(const gantry::services::volumes::v1::Volume& volume);
// InvalidArgument when the device of a bind is no absolute path.
absl::StatusOr<VolumeMount> ParseVolumeMount(const gantry::services::volumes::v1::Volume& volume);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_VOLUMES_VOLUME_OPTIONS_H_
