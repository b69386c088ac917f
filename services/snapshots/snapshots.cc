#include "services/snapshots/snapshots.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "services/metadata/filters.h"
#include "services/metadata/keys.h"
#include "services/snapshots/convert.h"

namespace gantry::services {
namespace {

using containerd::services::snapshots::v1::Kind;

std::optional<std::string> LookupField(const SnapshotInfo& info,
                                       absl::Span<const std::string> path) {
  if (path.empty()) return std::nullopt;
  if (path[0] == "name") return info.name;
  if (path[0] == "parent") return info.parent;
  if (path[0] == "kind") {
    switch (info.kind) {
      case SnapshotKind::kActive:
        return "active";
      case SnapshotKind::kView:
        return "view";
      case SnapshotKind::kCommitted:
        return "committed";
      default:
        return std::nullopt;
    }
  }
  if (path[0] != "labels") return std::nullopt;
  std::string name;
  for (size_t i = 1; i < path.size(); ++i) absl::StrAppend(&name, i > 1 ? "." : "", path[i]);
  auto label = info.labels.find(name);
  if (label == info.labels.end()) return std::nullopt;
  return label->second;
}

}  // namespace

std::vector<std::string> Snapshots::snapshotters() const {
  std::vector<std::string> names;
  for (const auto& [name, backend] : backends_) names.push_back(name);
  return names;
}

bool Snapshots::Has(absl::string_view snapshotter) const {
  return backends_.contains(std::string(snapshotter));
}

absl::StatusOr<Backend*> Snapshots::Find(const Context& ctx, const std::string& snapshotter) const {
  if (snapshotter.empty())
    return absl::InvalidArgumentError("snapshotter argument missing: invalid argument");
  auto it = backends_.find(snapshotter);
  if (it == backends_.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("snapshotter not loaded: ", snapshotter, ": invalid argument"));
  }
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  return it->second.get();
}

absl::StatusOr<std::set<std::string>> Snapshots::capabilities(
    const std::string& snapshotter) const {
  auto it = backends_.find(snapshotter);
  if (it == backends_.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("snapshotter not loaded: ", snapshotter, ": invalid argument"));
  }
  return it->second->capabilities();
}

absl::StatusOr<SnapshotRecord> Snapshots::Get(const Context& ctx, const std::string& snapshotter,
                                              const std::string& key) const {
  std::optional<SnapshotRecord> record;
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(record, GetSnapshotRecord(view, {ctx.ns, snapshotter, key}));
    return absl::OkStatus();
  }));
  return *std::move(record);
}

absl::StatusOr<SnapshotInfo> Snapshots::Stat(const Context& ctx, const std::string& snapshotter,
                                             const std::string& key) const {
  GANTRY_ASSIGN_OR_RETURN(Backend * backend, Find(ctx, snapshotter));
  GANTRY_ASSIGN_OR_RETURN(SnapshotRecord record, Get(ctx, snapshotter, key));
  SnapshotInfo info = ToInfo(record);
  if (backend->local()) return info;
  GANTRY_ASSIGN_OR_RETURN(SnapshotLabels labels, backend->Labels(record.backend_id()));
  info.labels.merge(labels);
  return info;
}

absl::StatusOr<SnapshotUsage> Snapshots::Usage(const Context& ctx, const std::string& snapshotter,
                                               const std::string& key) const {
  GANTRY_ASSIGN_OR_RETURN(Backend * backend, Find(ctx, snapshotter));
  GANTRY_ASSIGN_OR_RETURN(SnapshotRecord record, Get(ctx, snapshotter, key));
  if (!backend->local() || record.info().kind() == Kind::ACTIVE)
    return backend->GetUsage(record.backend_id());
  return SnapshotUsage{record.usage_size(), record.usage_inodes()};
}

absl::StatusOr<std::vector<base::Mount>> Snapshots::Mounts(const Context& ctx,
                                                           const std::string& snapshotter,
                                                           const std::string& key) const {
  GANTRY_ASSIGN_OR_RETURN(Backend * backend, Find(ctx, snapshotter));
  GANTRY_ASSIGN_OR_RETURN(SnapshotRecord record, Get(ctx, snapshotter, key));
  if (record.info().kind() == Kind::COMMITTED) {
    return absl::FailedPreconditionError(
        absl::StrCat("failed to get active mount: requested snapshot ", key,
                     " not active or view: failed precondition"));
  }
  return backend->Mounts(ToSpec(record));
}

absl::StatusOr<std::string> Snapshots::LayerDir(const Context& ctx, const std::string& snapshotter,
                                                const std::string& key) const {
  GANTRY_ASSIGN_OR_RETURN(Backend * backend, Find(ctx, snapshotter));
  GANTRY_ASSIGN_OR_RETURN(SnapshotRecord record, Get(ctx, snapshotter, key));
  if (record.info().kind() != Kind::ACTIVE) {
    return absl::FailedPreconditionError(
        absl::StrCat("snapshot ", key, " is not active: failed precondition"));
  }
  return backend->LayerDir(record.backend_id());
}

absl::Status Snapshots::Walk(const Context& ctx, const std::string& snapshotter,
                             const std::vector<std::string>& filters,
                             const std::function<bool(const SnapshotInfo&)>& fn) const {
  GANTRY_ASSIGN_OR_RETURN(Backend * backend, Find(ctx, snapshotter));
  GANTRY_ASSIGN_OR_RETURN(Filter filter, Filter::Parse(filters));
  // `fn` may wait for a slow client and must not hold up the database's snapshot meanwhile.
  std::vector<std::pair<std::string, SnapshotInfo>> found;
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) {
    return view.ScanProto<SnapshotRecord>(KeyPrefix({kTableSnapshots, ctx.ns, snapshotter}),
                                          [&](absl::string_view, const SnapshotRecord& record) {
                                            found.emplace_back(record.backend_id(), ToInfo(record));
                                            return true;
                                          });
  }));
  for (auto& [id, info] : found) {
    if (!backend->local()) {
      absl::StatusOr<SnapshotLabels> labels = backend->Labels(id);
      if (absl::IsNotFound(labels.status())) continue;
      GANTRY_RETURN_IF_ERROR(labels.status());
      info.labels.merge(*labels);
    }
    auto lookup = [&info = info](absl::Span<const std::string> path) {
      return LookupField(info, path);
    };
    if (filter.Match(lookup) && !fn(info)) break;
  }
  return absl::OkStatus();
}

absl::Status Snapshots::Cleanup(const Context& ctx, const std::string& snapshotter) {
  GANTRY_ASSIGN_OR_RETURN(Backend * backend, Find(ctx, snapshotter));
  GANTRY_RETURN_IF_ERROR(FinishRemovals(snapshotter, backend));
  return backend->Cleanup();
}

}  // namespace gantry::services
