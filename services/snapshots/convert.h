#ifndef GANTRY_SERVICES_SNAPSHOTS_CONVERT_H_
#define GANTRY_SERVICES_SNAPSHOTS_CONVERT_H_

// What a record is to those who ask for a snapshot, and to the backend that has it.

#include "services/snapshots/backend.h"
#include "services/snapshots/records.h"
#include "services/snapshots/snapshots.h"

namespace gantry::services {

// With this label a client says what it will commit a snapshot as.
inline constexpr char kSnapshotTargetLabel[] = "containerd.io/snapshot.ref";

SnapshotInfo ToInfo(const SnapshotRecord& record);
// Without labels.
Backend::Spec ToSpec(const SnapshotRecord& record);
// Those of `labels` that are for the snapshotter itself.
SnapshotLabels InheritedLabels(const SnapshotLabels& labels);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_SNAPSHOTS_CONVERT_H_
