#ifndef GANTRY_SERVICES_SNAPSHOTS_WIRE_H_
#define GANTRY_SERVICES_SNAPSHOTS_WIRE_H_

// Between the messages of the snapshots API and our own types; for the service and the proxy.

#include <vector>

#include "base/clock.h"
#include "base/mount.h"
#include "containerd/services/snapshots/v1/snapshots.pb.h"
#include "services/snapshots/snapshots.h"

namespace gantry::services {

inline void MountsToWire(const std::vector<base::Mount>& mounts,
                         google::protobuf::RepeatedPtrField<containerd::types::Mount>* out) {
  for (const base::Mount& mount : mounts) {
    containerd::types::Mount* wire = out->Add();
    wire->set_type(mount.type);
    wire->set_source(mount.source);
    wire->set_target(mount.target);
    wire->mutable_options()->Add(mount.options.begin(), mount.options.end());
  }
}

inline std::vector<base::Mount> MountsFromWire(
    const google::protobuf::RepeatedPtrField<containerd::types::Mount>& wire) {
  std::vector<base::Mount> mounts;
  for (const containerd::types::Mount& mount : wire) {
    mounts.push_back({mount.type(),
                      mount.source(),
                      mount.target(),
                      {mount.options().begin(), mount.options().end()}});
  }
  return mounts;
}

inline SnapshotInfo InfoFromWire(const containerd::services::snapshots::v1::Info& wire) {
  SnapshotInfo info;
  info.name = wire.name();
  info.parent = wire.parent();
  info.kind = static_cast<SnapshotKind>(wire.kind());
  info.created = base::GetTimestamp(wire.created_at());
  info.updated = base::GetTimestamp(wire.updated_at());
  info.labels.insert(wire.labels().begin(), wire.labels().end());
  return info;
}

inline void InfoToWire(const SnapshotInfo& info, containerd::services::snapshots::v1::Info* wire) {
  wire->set_name(info.name);
  wire->set_parent(info.parent);
  wire->set_kind(static_cast<containerd::services::snapshots::v1::Kind>(info.kind));
  base::SetTimestamp(wire->mutable_created_at(), info.created);
  base::SetTimestamp(wire->mutable_updated_at(), info.updated);
  wire->mutable_labels()->insert(info.labels.begin(), info.labels.end());
}

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_SNAPSHOTS_WIRE_H_
