// Prepare, commit, remove and relabel. Each is: an intent where something outside of the database
// changes in more than one step, the backend's part, one transaction with the result.
#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/crash_point.h"
#include "base/log.h"
#include "base/status.h"
#include "containerd/events/snapshot.pb.h"
#include "services/metadata/intents.h"
#include "services/metadata/keys.h"
#include "services/metadata/labels.h"
#include "services/metadata/lease_store.h"
#include "services/snapshots/convert.h"
#include "services/snapshots/snapshots.h"

namespace gantry::services {
namespace {

using containerd::services::snapshots::v1::Info;
using containerd::services::snapshots::v1::Kind;

absl::Status AlreadyExists(absl::string_view what, absl::string_view name) {
  return absl::AlreadyExistsError(absl::StrCat(what, " \"", name, "\": already exists"));
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

SnapshotIntent CommitIntent(const SnapshotKey& key, const std::string& old_id,
                            const SnapshotRecord& result) {
  SnapshotIntent intent;
  intent.set_namespace_(std::string(key.ns));
  intent.set_snapshotter(std::string(key.snapshotter));
  intent.set_key(std::string(key.key));
  intent.set_backend_id(old_id);
  *intent.mutable_committed() = result;
  return intent;
}

}  // namespace

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
        backend->UpdateLabels(record.backend_id(), InheritedLabels(updated.labels), fieldpaths));
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
  if (auto it = what.labels.find(kSnapshotTargetLabel); it != what.labels.end()) {
    what.target = it->second;
    if (!what.target.empty())
      GANTRY_RETURN_IF_ERROR(CheckKeyComponent("label containerd.io/snapshot.ref", what.target));
  }
  if (!what.target.empty()) {
    GANTRY_ASSIGN_OR_RETURN(bool shared, ShareTarget(what));
    if (shared) return AlreadyExists("target snapshot from another namespace", what.target);
  }
  SnapshotRecord draft;
  GANTRY_ASSIGN_OR_RETURN(IntentScope intent, BeginCreate(what, &draft));
  base::CrashPoint("snapshot.prepare.begun");
  Backend::Spec spec = ToSpec(draft);
  spec.labels = InheritedLabels(what.labels);
  absl::StatusOr<std::vector<base::Mount>> mounts = what.backend->Create(spec);
  base::CrashPoint("snapshot.prepare.made");
  if (absl::IsAlreadyExists(mounts.status()) && !what.target.empty()) {
    absl::string_view below = spec.parents.empty() ? "" : absl::string_view(spec.parents[0]);
    GANTRY_ASSIGN_OR_RETURN(Backend::Target found, what.backend->FindTarget(what.target, below));
    GANTRY_RETURN_IF_ERROR(AdoptTarget(what, found));
    return AlreadyExists("target snapshot from snapshotter", what.target);
  }
  absl::Status recorded = mounts.status();
  if (recorded.ok()) recorded = RecordCreated(what, draft, intent);
  if (!recorded.ok()) {
    UndoCreate(what, spec.id, std::move(intent));
    return recorded;
  }
  intent.Leave();
  base::CrashPoint("snapshot.prepare.recorded");
  return mounts;
}

// The intent, and what is to be made.
absl::StatusOr<IntentScope> Snapshots::BeginCreate(const NewSnapshot& what, SnapshotRecord* draft) {
  // What another process keeps outlives a power loss, and only the intent knows of it.
  Durability durability = what.backend->local() ? Durability::kNone : Durability::kSync;
  uint64_t id = 0;
  GANTRY_RETURN_IF_ERROR(db_->Update(durability, [&](Tx& tx) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(*draft, CheckNew(tx, what));
    draft->set_backend_id(what.backend->NewId(what.ctx.ns, what.key));
    SnapshotIntent intent;
    intent.set_namespace_(what.ctx.ns);
    intent.set_snapshotter(what.snapshotter);
    intent.set_key(what.key);
    intent.set_backend_id(draft->backend_id());
    GANTRY_ASSIGN_OR_RETURN(id, BeginIntent(tx, kSnapshotPrepareIntent, intent));
    return absl::OkStatus();
  }));
  return IntentScope(db_, kSnapshotPrepareIntent, id);
}

absl::Status Snapshots::RecordCreated(const NewSnapshot& what, const SnapshotRecord& draft,
                                      const IntentScope& intent) {
  return db_->Update(Durability::kNone, [&](Tx& tx) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(SnapshotRecord record, CheckNew(tx, what));
    record.set_backend_id(draft.backend_id());
    if (!std::equal(record.parent_ids().begin(), record.parent_ids().end(),
                    draft.parent_ids().begin(), draft.parent_ids().end())) {
      return absl::AbortedError(
          absl::StrCat("parent snapshot ", what.parent, " was replaced meanwhile; try again"));
    }
    GANTRY_RETURN_IF_ERROR(LinkToLease(tx, what.ctx, LeaseSnapshots(what.snapshotter), what.key));
    PutSnapshotRecord(tx, {what.ctx.ns, what.snapshotter, what.key}, record);
    GANTRY_RETURN_IF_ERROR(intent.EndIn(tx));
    if (what.kind == Kind::VIEW) return absl::OkStatus();
    containerd::events::SnapshotPrepare event;
    event.set_key(what.key);
    event.set_parent(what.parent);
    event.set_snapshotter(what.snapshotter);
    tx.AddEvent(what.ctx.ns, "/snapshot/prepare", event);
    return absl::OkStatus();
  });
}

// A backend that cannot be reached may have made it all the same: then the next start removes it.
void Snapshots::UndoCreate(const NewSnapshot& what, const std::string& id, IntentScope intent) {
  absl::Status removed = what.backend->Remove(id);
  if (removed.ok()) return;
  intent.Leave();
  base::LogWarn("cannot remove a snapshot that could not be made; the next start does",
                {{"snapshotter", what.snapshotter}, {"error", removed.message()}});
}

// Whether another namespace has the target on the same layers; then this one has it as well.
absl::StatusOr<bool> Snapshots::ShareTarget(const NewSnapshot& what) {
  std::optional<std::string> id;
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(SnapshotRecord draft, CheckNew(view, what));
    absl::string_view below = draft.parent_ids().empty() ? "" : draft.parent_ids(0);
    GANTRY_ASSIGN_OR_RETURN(id, FindSharedLayer(view, what.snapshotter, what.target, below));
    return absl::OkStatus();
  }));
  if (!id.has_value()) return false;
  bool done = false;
  absl::Status shared = db_->Update(Durability::kNone, [&](Tx& tx) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(SnapshotRecord record, CheckNew(tx, what));
    GANTRY_ASSIGN_OR_RETURN(std::optional<SnapshotRecord> source,
                            FindRecordOf(tx, what.snapshotter, *id));
    if (!source.has_value() ||
        !std::equal(source->parent_ids().begin(), source->parent_ids().end(),
                    record.parent_ids().begin(), record.parent_ids().end())) {
      return absl::OkStatus();
    }
    record.mutable_info()->set_name(what.target);
    record.mutable_info()->set_kind(Kind::COMMITTED);
    record.set_backend_id(*id);
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
  const std::string old_id = active.backend_id();
  SnapshotRecord result = std::move(active);
  result.mutable_info()->set_name(name);
  result.mutable_info()->set_kind(Kind::COMMITTED);
  SetLabels(options.labels, result.mutable_info());
  SetTimes(result.mutable_info());
  IntentScope intent;
  // To a local backend the record alone makes the difference between active and committed.
  if (!backend->local()) {
    result.set_backend_id(backend->NewId(ctx.ns, name));
    GANTRY_ASSIGN_OR_RETURN(
        intent, IntentScope::Begin(db_, kSnapshotCommitIntent, CommitIntent(from, old_id, result),
                                   Durability::kSync));
    base::CrashPoint("snapshot.commit.begun");
  }
  absl::StatusOr<Backend::Committed> committed =
      backend->Commit(old_id, result.backend_id(), InheritedLabels(options.labels), options.usage);
  base::CrashPoint("snapshot.commit.done");
  if (!committed.ok()) {
    // Nobody knows whether it was done: the next start finds out.
    if (absl::IsUnavailable(committed.status())) intent.Leave();
    return committed.status();
  }
  result.set_backend_id(committed->id);
  result.set_usage_size(committed->usage.size);
  result.set_usage_inodes(committed->usage.inodes);
  if (backend->local()) result.set_unsynced_boot(boot_id_);
  GANTRY_RETURN_IF_ERROR(db_->Update(Durability::kSync, [&](Tx& tx) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(SnapshotRecord checked, CheckCommit(tx, to, from, options));
    if (checked.backend_id() != old_id)
      return absl::AbortedError(absl::StrCat("snapshot ", key, " was replaced meanwhile"));
    *result.mutable_info()->mutable_parent() = checked.info().parent();
    *result.mutable_parent_ids() = checked.parent_ids();
    GANTRY_RETURN_IF_ERROR(UnlinkFromLease(tx, ctx, LeaseSnapshots(snapshotter), key));
    GANTRY_RETURN_IF_ERROR(LinkToLease(tx, ctx, LeaseSnapshots(snapshotter), name));
    GANTRY_RETURN_IF_ERROR(intent.EndIn(tx));
    return ReplaceByCommitted(tx, from, result);
  }));
  intent.Leave();
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
  base::CrashPoint("snapshot.remove.recorded");
  if (unused.empty()) return absl::OkStatus();
  if (!backend->local()) return FinishRemovals(snapshotter, backend);
  return backend->Remove(unused);
}

absl::Status Snapshots::RemoveUnfinished(const Context& ctx, absl::string_view prefix) {
  std::vector<std::pair<std::string, std::string>> found;  // snapshotter, key
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) {
    return view.ScanProto<SnapshotRecord>(
        KeyPrefix({kTableSnapshots, ctx.ns}),
        [&](absl::string_view rest, const SnapshotRecord& record) {
          if (record.info().kind() == Kind::ACTIVE &&
              absl::StartsWith(record.info().name(), prefix))
            found.emplace_back(SplitKey(rest)[0], record.info().name());
          return true;
        });
  }));
  for (const auto& [snapshotter, key] : found) {
    GANTRY_RETURN_IF_ERROR(Remove(ctx, snapshotter, key));
  }
  return absl::OkStatus();
}

}  // namespace gantry::services
