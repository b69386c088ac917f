#ifndef GANTRY_DOCKER_VOLUMES_VOLUME_JSON_H_
#define GANTRY_DOCKER_VOLUMES_VOLUME_JSON_H_

#include "absl/status/statusor.h"
#include "base/json.h"
#include "docker/system/filters.h"
#include "gantry/services/volumes/v1/volumes.pb.h"

namespace gantry::docker {

// A volume as the API shows it. `with_usage`: UsageData, as `docker system df` wants it.
base::OrderedJson VolumeJson(const gantry::services::volumes::v1::VolumeInfo& info,
                             bool with_usage);

// Whether GET /volumes lists it: by name (any part of it), driver, label, dangling.
// InvalidArgument for a bad value.
absl::StatusOr<bool> VolumeMatches(const gantry::services::volumes::v1::VolumeInfo& info,
                                   const Filters& filters);

// The body of POST /volumes/create. InvalidArgument for wrong types and drivers that are not here.
absl::StatusOr<gantry::services::volumes::v1::Volume> VolumeFromJson(const base::Json& body);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_VOLUMES_VOLUME_JSON_H_
