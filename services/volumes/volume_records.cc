#include "services/volumes/volume_records.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "gantry/types/object_event.pb.h"
#include "services/metadata/keys.h"

namespace gantry::services {
namespace {

constexpr absl::string_view kMounted = "m";

}  // namespace

std::string VolumeKey(absl::string_view ns, absl::string_view name) {
  return Key({kTableVolumes, ns, name});
}

absl::Status NoSuchVolume(absl::string_view operation, absl::string_view name) {
  return absl::NotFoundError(absl::StrCat(operation, " ", name, ": no such volume"));
}

absl::StatusOr<std::optional<VolumeRecord>> FindVolume(const ReadView& view, absl::string_view ns,
                                                       absl::string_view name) {
  return view.GetProto<VolumeRecord>(VolumeKey(ns, name));
}

absl::StatusOr<std::vector<VolumeUse>> UsesOfContainer(const ReadView& view, absl::string_view ns,
                                                       absl::string_view container) {
  std::vector<VolumeUse> uses;
  GANTRY_RETURN_IF_ERROR(view.Scan(KeyPrefix({kTableVolumesOfContainer, ns, container}),
                                   [&](absl::string_view rest, absl::string_view value) {
                                     uses.push_back({std::string(ns), std::string(container),
                                                     std::string(rest), value == kMounted});
                                     return true;
                                   }));
  return uses;
}

absl::StatusOr<std::vector<VolumeUse>> UsesOfVolume(const ReadView& view, absl::string_view ns,
                                                    absl::string_view name) {
  std::vector<VolumeUse> uses;
  GANTRY_RETURN_IF_ERROR(view.Scan(
      KeyPrefix({kTableVolumeUsers, ns, name}),
      [&](absl::string_view rest, absl::string_view value) {
        uses.push_back({std::string(ns), std::string(rest), std::string(name), value == kMounted});
        return true;
      }));
  return uses;
}

absl::StatusOr<std::vector<VolumeUse>> AllUses(const ReadView& view) {
  std::vector<VolumeUse> uses;
  GANTRY_RETURN_IF_ERROR(view.Scan(KeyPrefix({kTableVolumesOfContainer}),
                                   [&](absl::string_view rest, absl::string_view value) {
                                     std::vector<absl::string_view> parts = SplitKey(rest);
                                     if (parts.size() != 3) return true;
                                     uses.push_back({std::string(parts[0]), std::string(parts[1]),
                                                     std::string(parts[2]), value == kMounted});
                                     return true;
                                   }));
  return uses;
}

void PutUse(Tx& tx, const VolumeUse& use) {
  absl::string_view value = use.mounted ? kMounted : "";
  tx.Put(Key({kTableVolumesOfContainer, use.ns, use.container, use.name}), value);
  tx.Put(Key({kTableVolumeUsers, use.ns, use.name, use.container}), value);
}

void DeleteUse(Tx& tx, const VolumeUse& use) {
  tx.Delete(Key({kTableVolumesOfContainer, use.ns, use.container, use.name}));
  tx.Delete(Key({kTableVolumeUsers, use.ns, use.name, use.container}));
}

void AddVolumeEvent(Tx& tx, absl::string_view ns, absl::string_view action, const std::string& name,
                    std::map<std::string, std::string> attributes) {
  gantry::types::ObjectEvent event;
  event.set_kind("volume");
  event.set_action(std::string(action));
  event.set_id(name);
  for (auto& [key, value] : attributes) (*event.mutable_attributes())[key] = std::move(value);
  tx.AddEvent(ns, absl::StrCat("/volume/", action), event);
}

}  // namespace gantry::services
