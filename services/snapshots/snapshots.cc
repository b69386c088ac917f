#include "services/snapshots/snapshots.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "containerd/events/snapshot.pb.h"
#include "services/metadata/filters.h"
#include "services/metadata/keys.h"
#include "services/metadata/labels.h"
#include "services/metadata/lease_store.h"

namespace gantry::services {
namespace {

using containerd::services::snapshots::v1::Info;
using containerd::services::snapshots::v1::Kind;

constexpr char kTargetLabel[] = "containerd.io/snapshot.ref";
constexpr absl::string_view kInheritedPrefix = "containerd.io/snapshot/";

absl::Status AlreadyExists(absl::string_view what, absl::string_view name) {
  return absl::AlreadyExistsError(absl::StrCat(what, " \"", name, "\": already exists"));
}

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

void SetLabels(const SnapshotLabels& labels, Info* info) {
  info->clear_labels();
  // containerd keeps none without a value; so a field mask removes labels.
  for (const auto& [key, value] : labels) {
    if (!value.empty()) (*info->mutable_labels())[key] = value;
  }
}

absl::Status CheckLabels(const SnapshotLabels& labels) {
  for (const auto& [key, value] : labels)
    GANTRY_RETURN_IF_ERROR(base::Annotate(ValidateLabel(key, value), "info.Labels"));
  return absl::OkStatus();
}

// Those that decide what is kept.
SnapshotLabels GcLabels(const SnapshotLabels& labels) {
  SnapshotLabels out;
  for (const auto& [key, value] : labels) {
    if (absl::StartsWith(key, "containerd.io/gc.") && !value.empty()) out.emplace(key, value);
  }
  return out;
}

// Only these are for the snapshotter itself.
SnapshotLabels Inherited(const SnapshotLabels& labels) {
  SnapshotLabels out;
  for (const auto& [key, value] : labels) {
    if (absl::StartsWith(key, kInheritedPrefix) || key == kTargetLabel) out.emplace(key, value);
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

void SetParent(const SnapshotRecord& parent, SnapshotRecord* record) {
  record->mutable_info()->set_parent(parent.info().name());
  record->clear_parent_ids();
  record->add_parent_ids(parent.backend_id());
  for (const std::string& id : parent.parent_ids()) record->add_parent_ids(id);
}

void SetTimes(Info* info) {
  absl::Time now = absl::Now();
  base::SetTimestamp(info->mutable_created_at(), now);
  base::SetTimestamp(info->mutable_updated_at(), now);
}

absl::StatusOr<SnapshotRecord> GetParent(const ReadView& view, const SnapshotKey& key) {
  absl::StatusOr<SnapshotRecord> parent = GetSnapshotRecord(view, key);
  if (absl::IsNotFound(parent.status()))
    return absl::NotFoundError(
        absl::StrCat("parent snapshot ", key.key, " does not exist: not found"));
  if (parent.ok() && parent->info().kind() != Kind::COMMITTED) {
    return absl::InvalidArgumentError(
        absl::StrCat("failed to create snapshot: parent \"", key.key,
                     "\" is not committed snapshot: invalid argument"));
  }
  return parent;
}

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

absl::StatusOr<SnapshotInfo> Snapshots::Update(const Context& ctx, const std::string& snapshotter,
                                               const SnapshotInfo& info,
                                               const std::vector<std::string>& fieldpaths) {
  GANTRY_ASSIGN_OR_RETURN(Backend * backend, Find(ctx, snapshotter));
  if (info.name.empty()) return absl::InvalidArgumentError("invalid argument");
  SnapshotRecord record;
  auto change = [&](Tx& tx) -> absl::Status {
    SnapshotKey key{ctx.ns, snapshotter, info.name};
    GANTRY_ASSIGN_OR_RETURN(record, GetSnapshotRecord(tx, key));
    SnapshotLabels labels = ToInfo(record).labels;
    for (const std::string& path : fieldpaths) {
      absl::string_view name = path;
      if (absl::ConsumePrefix(&name, "labels.")) {
        auto value = info.labels.find(std::string(name));
        labels[std::string(name)] = value == info.labels.end() ? "" : value->second;
      } else if (path == "labels") {
        labels = info.labels;
      } else {
        return absl::InvalidArgumentError(absl::StrCat("cannot update \"", path,
                                                       "\" field on snapshot \"", info.name,
                                                       "\": invalid argument"));
      }
    }
    if (fieldpaths.empty()) labels = info.labels;
    GANTRY_RETURN_IF_ERROR(CheckLabels(labels));
    if (GcLabels(labels) != GcLabels(ToInfo(record).labels)) tx.MarkDirty();
    SetLabels(labels, record.mutable_info());
    base::SetTimestamp(record.mutable_info()->mutable_updated_at(), absl::Now());
    PutSnapshotRecord(tx, key, record);
    return absl::OkStatus();
  };
  GANTRY_RETURN_IF_ERROR(db_->Update(Durability::kSync, change));
  SnapshotInfo updated = ToInfo(record);
  if (!backend->local()) {
    GANTRY_RETURN_IF_ERROR(
        backend->UpdateLabels(record.backend_id(), Inherited(updated.labels), fieldpaths));
  }
  return updated;
}

struct Snapshots::NewSnapshot {
  const Context& ctx;
  const std::string& snapshotter;
  const std::string& key;
  const std::string& parent;
  const SnapshotLabels& labels;
  Kind kind;
  Backend* backend = nullptr;
  std::string target;
};

absl::StatusOr<std::vector<base::Mount>> Snapshots::Prepare(const Context& ctx,
                                                            const std::string& snapshotter,
                                                            const std::string& key,
                                                            const std::string& parent,
                                                            const SnapshotLabels& labels) {
  return Create({ctx, snapshotter, key, parent, labels, Kind::ACTIVE});
}

absl::StatusOr<std::vector<base::Mount>> Snapshots::View(const Context& ctx,
                                                         const std::string& snapshotter,
                                                         const std::string& key,
                                                         const std::string& parent,
                                                         const SnapshotLabels& labels) {
  return Create({ctx, snapshotter, key, parent, labels, Kind::VIEW});
}

// What the record will be but for its backend id, if it may be made.
absl::StatusOr<SnapshotRecord> Snapshots::CheckNew(const ReadView& view,
                                                   const NewSnapshot& what) const {
  const std::string& ns = what.ctx.ns;
  if (!what.target.empty()) {
    GANTRY_ASSIGN_OR_RETURN(bool exists, SnapshotExists(view, {ns, what.snapshotter, what.target}));
    if (exists) return AlreadyExists("target snapshot", what.target);
  }
  GANTRY_ASSIGN_OR_RETURN(bool exists, SnapshotExists(view, {ns, what.snapshotter, what.key}));
  if (exists) return AlreadyExists("snapshot", what.key);
  SnapshotRecord record;
  if (!what.parent.empty()) {
    GANTRY_ASSIGN_OR_RETURN(SnapshotRecord parent,
                            GetParent(view, {ns, what.snapshotter, what.parent}));
    SetParent(parent, &record);
  }
  record.mutable_info()->set_name(what.key);
  record.mutable_info()->set_kind(what.kind);
  SetLabels(what.labels, record.mutable_info());
  SetTimes(record.mutable_info());
  return record;
}

absl::StatusOr<std::vector<base::Mount>> Snapshots::Create(const NewSnapshot& request) {
  NewSnapshot what = request;
  GANTRY_ASSIGN_OR_RETURN(what.backend, Find(what.ctx, what.snapshotter));
  GANTRY_RETURN_IF_ERROR(CheckKeyComponent("snapshot key", what.key));
  GANTRY_RETURN_IF_ERROR(CheckLabels(what.labels));
  if (auto it = what.labels.find(kTargetLabel); it != what.labels.end()) {
    what.target = it->second;
    if (!what.target.empty())
      GANTRY_RETURN_IF_ERROR(CheckKeyComponent("label containerd.io/snapshot.ref", what.target));
  }
  SnapshotRecord draft;
  std::optional<std::string> shared;
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(draft, CheckNew(view, what));
    if (what.target.empty()) return absl::OkStatus();
    absl::string_view below = draft.parent_ids().empty() ? "" : draft.parent_ids(0);
    GANTRY_ASSIGN_OR_RETURN(shared, FindSharedLayer(view, what.snapshotter, what.target, below));
    return absl::OkStatus();
  }));
  if (shared.has_value()) {
    GANTRY_ASSIGN_OR_RETURN(bool done, ShareTarget(what, *shared));
    if (done) return AlreadyExists("target snapshot from another namespace", what.target);
  }

  draft.set_backend_id(what.backend->NewId(what.ctx.ns, what.key));
  Backend::Spec spec = ToSpec(draft);
  spec.labels = Inherited(what.labels);
  absl::StatusOr<std::vector<base::Mount>> mounts = what.backend->Create(spec);
  if (absl::IsAlreadyExists(mounts.status()) && !what.target.empty()) {
    absl::string_view below = spec.parents.empty() ? "" : absl::string_view(spec.parents[0]);
    GANTRY_ASSIGN_OR_RETURN(Backend::Target found, what.backend->FindTarget(what.target, below));
    GANTRY_RETURN_IF_ERROR(AdoptTarget(what, found));
    return AlreadyExists("target snapshot from snapshotter", what.target);
  }
  GANTRY_RETURN_IF_ERROR(mounts.status());

  absl::Status recorded = db_->Update(Durability::kNone, [&](Tx& tx) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(SnapshotRecord record, CheckNew(tx, what));
    record.set_backend_id(draft.backend_id());
    if (!std::equal(record.parent_ids().begin(), record.parent_ids().end(), spec.parents.begin(),
                    spec.parents.end())) {
      return absl::AbortedError(
          absl::StrCat("parent snapshot ", what.parent, " was replaced meanwhile; try again"));
    }
    GANTRY_RETURN_IF_ERROR(LinkToLease(tx, what.ctx, LeaseSnapshots(what.snapshotter), what.key));
    PutSnapshotRecord(tx, {what.ctx.ns, what.snapshotter, what.key}, record);
    if (what.kind == Kind::VIEW) return absl::OkStatus();
    containerd::events::SnapshotPrepare event;
    event.set_key(what.key);
    event.set_parent(what.parent);
    event.set_snapshotter(what.snapshotter);
    tx.AddEvent(what.ctx.ns, "/snapshot/prepare", event);
    return absl::OkStatus();
  });
  if (!recorded.ok()) {
    absl::Status removed = what.backend->Remove(draft.backend_id());
    if (!removed.ok())
      base::LogWarn("cannot remove a snapshot that could not be recorded",
                    {{"snapshotter", what.snapshotter}, {"error", removed.message()}});
    return recorded;
  }
  return mounts;
}

// False if the layer was removed meanwhile.
absl::StatusOr<bool> Snapshots::ShareTarget(const NewSnapshot& what, const std::string& id) {
  bool done = false;
  absl::Status shared = db_->Update(Durability::kNone, [&](Tx& tx) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(SnapshotRecord record, CheckNew(tx, what));
    GANTRY_ASSIGN_OR_RETURN(std::optional<SnapshotRecord> source,
                            FindRecordOf(tx, what.snapshotter, id));
    if (!source.has_value() ||
        !std::equal(source->parent_ids().begin(), source->parent_ids().end(),
                    record.parent_ids().begin(), record.parent_ids().end())) {
      return absl::OkStatus();
    }
    record.mutable_info()->set_name(what.target);
    record.mutable_info()->set_kind(Kind::COMMITTED);
    record.set_backend_id(id);
    record.set_usage_size(source->usage_size());
    record.set_usage_inodes(source->usage_inodes());
    record.set_unsynced_boot(source->unsynced_boot());
    GANTRY_RETURN_IF_ERROR(
        LinkToLease(tx, what.ctx, LeaseSnapshots(what.snapshotter), what.target));
    PutSnapshotRecord(tx, {what.ctx.ns, what.snapshotter, what.target}, record);
    done = true;
    return absl::OkStatus();
  });
  GANTRY_RETURN_IF_ERROR(shared);
  return done;
}

absl::Status Snapshots::AdoptTarget(const NewSnapshot& what, const Backend::Target& target) {
  return db_->Update(Durability::kNone, [&](Tx& tx) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(SnapshotRecord record, CheckNew(tx, what));
    record.mutable_info()->set_name(what.target);
    record.mutable_info()->set_kind(Kind::COMMITTED);
    record.set_backend_id(target.id);
    record.mutable_info()->mutable_labels()->insert(target.labels.begin(), target.labels.end());
    GANTRY_RETURN_IF_ERROR(
        LinkToLease(tx, what.ctx, LeaseSnapshots(what.snapshotter), what.target));
    PutSnapshotRecord(tx, {what.ctx.ns, what.snapshotter, what.target}, record);
    return absl::OkStatus();
  });
}

// The active record, already with the parent that it will have.
absl::StatusOr<SnapshotRecord> Snapshots::CheckCommit(const ReadView& view, const SnapshotKey& name,
                                                      const SnapshotKey& key,
                                                      const CommitOptions& options) const {
  GANTRY_ASSIGN_OR_RETURN(bool exists, SnapshotExists(view, name));
  if (exists) return AlreadyExists("snapshot", name.key);
  GANTRY_ASSIGN_OR_RETURN(SnapshotRecord record, GetSnapshotRecord(view, key));
  if (record.info().kind() != Kind::ACTIVE) {
    return absl::FailedPreconditionError(absl::StrCat("failed to commit snapshot: snapshot \"",
                                                      key.key,
                                                      "\" is not active: failed precondition"));
  }
  if (!options.parent.has_value() || *options.parent == record.info().parent()) return record;
  if (!record.info().parent().empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("snapshot \"", key.key, "\" has a parent: failed precondition"));
  }
  GANTRY_ASSIGN_OR_RETURN(SnapshotRecord parent,
                          GetParent(view, {key.ns, key.snapshotter, *options.parent}));
  SetParent(parent, &record);
  return record;
}

absl::Status Snapshots::Commit(const Context& ctx, const std::string& snapshotter,
                               const std::string& name, const std::string& key,
                               const CommitOptions& options) {
  GANTRY_ASSIGN_OR_RETURN(Backend * backend, Find(ctx, snapshotter));
  GANTRY_RETURN_IF_ERROR(CheckKeyComponent("snapshot name", name));
  GANTRY_RETURN_IF_ERROR(CheckLabels(options.labels));
  if (options.parent.has_value() && !backend->capabilities().contains("rebase")) {
    return absl::UnimplementedError(absl::StrCat(
        "snapshotter ", snapshotter, " cannot set the parent at commit; prepare on the parent"));
  }
  const SnapshotKey from{ctx.ns, snapshotter, key}, to{ctx.ns, snapshotter, name};
  SnapshotRecord active;
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(active, CheckCommit(view, to, from, options));
    return absl::OkStatus();
  }));
  GANTRY_ASSIGN_OR_RETURN(
      Backend::Committed committed,
      backend->Commit(active.backend_id(), backend->local() ? "" : backend->NewId(ctx.ns, name),
                      Inherited(options.labels), options.usage));
  GANTRY_RETURN_IF_ERROR(db_->Update(Durability::kSync, [&](Tx& tx) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(SnapshotRecord record, CheckCommit(tx, to, from, options));
    GANTRY_ASSIGN_OR_RETURN(SnapshotRecord before, GetSnapshotRecord(tx, from));
    if (before.backend_id() != active.backend_id())
      return absl::AbortedError(absl::StrCat("snapshot ", key, " was replaced meanwhile"));
    GANTRY_RETURN_IF_ERROR(DeleteSnapshotRecord(tx, from, before).status());
    record.mutable_info()->set_name(name);
    record.mutable_info()->set_kind(Kind::COMMITTED);
    SetLabels(options.labels, record.mutable_info());
    SetTimes(record.mutable_info());
    record.set_backend_id(committed.id);
    record.set_usage_size(committed.usage.size);
    record.set_usage_inodes(committed.usage.inodes);
    if (backend->local()) record.set_unsynced_boot(boot_id_);
    GANTRY_RETURN_IF_ERROR(UnlinkFromLease(tx, ctx, LeaseSnapshots(snapshotter), key));
    GANTRY_RETURN_IF_ERROR(LinkToLease(tx, ctx, LeaseSnapshots(snapshotter), name));
    PutSnapshotRecord(tx, to, record);
    containerd::events::SnapshotCommit event;
    event.set_key(key);
    event.set_name(name);
    event.set_snapshotter(snapshotter);
    tx.AddEvent(ctx.ns, "/snapshot/commit", event);
    return absl::OkStatus();
  }));
  {
    std::lock_guard<std::mutex> lock(mutex_);
    sync_wanted_ = true;
  }
  wake_.notify_all();
  return absl::OkStatus();
}

absl::Status Snapshots::Remove(const Context& ctx, const std::string& snapshotter,
                               const std::string& key) {
  GANTRY_ASSIGN_OR_RETURN(Backend * backend, Find(ctx, snapshotter));
  GANTRY_ASSIGN_OR_RETURN(SnapshotRecord seen, Get(ctx, snapshotter, key));
  std::string unused;
  auto remove = [&](Tx& tx) -> absl::Status {
    const SnapshotKey which{ctx.ns, snapshotter, key};
    GANTRY_ASSIGN_OR_RETURN(SnapshotRecord record, GetSnapshotRecord(tx, which));
    GANTRY_ASSIGN_OR_RETURN(bool has_children, SnapshotHasChildren(tx, which));
    if (has_children) {
      return absl::FailedPreconditionError(
          "cannot remove snapshot with child: failed precondition");
    }
    GANTRY_ASSIGN_OR_RETURN(bool last, DeleteSnapshotRecord(tx, which, record));
    if (last) unused = record.backend_id();
    if (last && !backend->local()) tx.Put(SnapshotRemovalKey(snapshotter, unused), "");
    GANTRY_RETURN_IF_ERROR(UnlinkFromLease(tx, ctx, LeaseSnapshots(snapshotter), key));
    AddSnapshotRemoveEvent(tx, which);
    tx.MarkDirty();
    return absl::OkStatus();
  };
  // A committed record that came back after a power loss would name files that are gone; an active
  // one is dropped then.
  Durability durability =
      seen.info().kind() == Kind::COMMITTED ? Durability::kSync : Durability::kNone;
  GANTRY_RETURN_IF_ERROR(db_->Update(durability, remove));
  if (unused.empty()) return absl::OkStatus();
  if (!backend->local()) return FinishRemovals(snapshotter, backend);
  return backend->Remove(unused);
}

absl::Status Snapshots::Cleanup(const Context& ctx, const std::string& snapshotter) {
  GANTRY_ASSIGN_OR_RETURN(Backend * backend, Find(ctx, snapshotter));
  GANTRY_RETURN_IF_ERROR(FinishRemovals(snapshotter, backend));
  return backend->Cleanup();
}

}  // namespace gantry::services
