#ifndef GANTRY_SERVICES_VOLUMES_VOLUME_RECORDS_H_
#define GANTRY_SERVICES_VOLUMES_VOLUME_RECORDS_H_

// What the database holds of volumes. Tables:
//
//   vol    ns, name               gantry.services.volumes.v1.Volume, without its mountpoint
//   vlc    ns, container, name    a use: empty, or "m" while the container runs
//   vlu    ns, name, container    the same, by volume
//   int    volume.delete          Volume{name = "NS/NAME"}: its directory is to be thrown away
//
// A directory ROOT/volumes/NS/NAME without a record and without that intent is never removed: it
// may be all that is left of somebody's data.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "gantry/services/volumes/v1/volumes.pb.h"
#include "services/metadata/db.h"

namespace gantry::services {

using VolumeRecord = gantry::services::volumes::v1::Volume;

inline constexpr absl::string_view kTableVolumes = "vol";
inline constexpr absl::string_view kTableVolumesOfContainer = "vlc";
inline constexpr absl::string_view kTableVolumeUsers = "vlu";
inline constexpr absl::string_view kVolumeDeleteIntent = "volume.delete";

std::string VolumeKey(absl::string_view ns, absl::string_view name);

// `get NAME: no such volume`, NotFound.
absl::Status NoSuchVolume(absl::string_view operation, absl::string_view name);

absl::StatusOr<std::optional<VolumeRecord>> FindVolume(const ReadView& view, absl::string_view ns,
                                                       absl::string_view name);

struct VolumeUse {
  std::string ns, container, name;
  bool mounted = false;
};
// By container, or by volume, in the order of the names; of all namespaces when `ns` is empty.
absl::StatusOr<std::vector<VolumeUse>> UsesOfContainer(const ReadView& view, absl::string_view ns,
                                                       absl::string_view container);
absl::StatusOr<std::vector<VolumeUse>> UsesOfVolume(const ReadView& view, absl::string_view ns,
                                                    absl::string_view name);
absl::StatusOr<std::vector<VolumeUse>> AllUses(const ReadView& view);
void PutUse(Tx& tx, const VolumeUse& use);
void DeleteUse(Tx& tx, const VolumeUse& use);

// Event /volume/ACTION of `name`.
void AddVolumeEvent(Tx& tx, absl::string_view ns, absl::string_view action, const std::string& name,
                    std::map<std::string, std::string> attributes);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_VOLUMES_VOLUME_RECORDS_H_
