#include "services/snapshots/convert.h"

#include "absl/strings/match.h"
#include "base/clock.h"

namespace gantry::services {
namespace {

using containerd::services::snapshots::v1::Info;
using containerd::services::snapshots::v1::Kind;

constexpr absl::string_view kInheritedPrefix = "containerd.io/snapshot/";

}  // namespace

SnapshotInfo ToInfo(const SnapshotRecord& record) {
  const Info& info = record.info();
  SnapshotInfo out;
  out.name = info.name();
  out.parent = info.parent();
  out.kind = static_cast<SnapshotKind>(info.kind());
  out.created = base::GetTimestamp(info.created_at());
  out.updated = base::GetTimestamp(info.updated_at());
  out.labels.insert(info.labels().begin(), info.labels().end());
  return out;
}

SnapshotLabels InheritedLabels(const SnapshotLabels& labels) {
  SnapshotLabels out;
  for (const auto& [key, value] : labels) {
    if (absl::StartsWith(key, kInheritedPrefix) || key == kSnapshotTargetLabel)
      out.emplace(key, value);
  }
  return out;
}

Backend::Spec ToSpec(const SnapshotRecord& record) {
  Backend::Spec spec;
  spec.id = record.backend_id();
  spec.parents.assign(record.parent_ids().begin(), record.parent_ids().end());
  spec.kind =
      record.info().kind() == Kind::VIEW ? snapshotter::Kind::kView : snapshotter::Kind::kActive;
  return spec;
}

}  // namespace gantry::services
