// What happens to snapshots without a request: reconciliation at start, garbage collection,
// flushing.
#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "services/metadata/intents.h"
#include "services/metadata/keys.h"
#include "services/snapshots/snapshots.h"

namespace gantry::services {
namespace {

std::string BootId() {
  absl::StatusOr<std::string> id = base::ReadFile("/proc/sys/kernel/random/boot_id", 128);
  return id.ok() ? std::string(absl::StripAsciiWhitespace(*id)) : "unknown";
}

}  // namespace

Snapshots::Snapshots(Db* db, Backends backends)
    : db_(db), backends_(std::move(backends)), boot_id_(BootId()) {}

Snapshots::~Snapshots() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  if (syncer_.joinable()) syncer_.join();
}

absl::StatusOr<std::unique_ptr<Snapshots>> Snapshots::Open(Db* db, Backends backends) {
  std::unique_ptr<Snapshots> snapshots(new Snapshots(db, std::move(backends)));
  GANTRY_RETURN_IF_ERROR(snapshots->ReplayPrepares());
  GANTRY_RETURN_IF_ERROR(snapshots->ReplayCommits());
  for (const auto& [name, backend] : snapshots->backends_) {
    GANTRY_RETURN_IF_ERROR(base::Annotate(snapshots->Reconcile(name, backend.get()),
                                          absl::StrCat("snapshotter ", name)));
  }
  snapshots->sync_wanted_ = true;  // for what the process before committed
  snapshots->syncer_ = std::thread([s = snapshots.get()] { s->SyncLoop(); });
  return snapshots;
}

// The snapshot has no record: the intent ends with it. The backend may not be there yet, so what
// is to be removed is written down for it.
absl::Status Snapshots::ReplayPrepares() {
  return ReplayIntents<SnapshotIntent>(
      db_, kSnapshotPrepareIntent, [this](const SnapshotIntent& begun) {
        base::LogInfo("undoing the preparation of a snapshot that was cut off",
                      {{"namespace", begun.namespace_()},
                       {"snapshotter", begun.snapshotter()},
                       {"key", begun.key()}});
        return db_->Update(Durability::kNone, [&begun](Tx& tx) {
          tx.Put(SnapshotRemovalKey(begun.snapshotter(), begun.backend_id()), "");
          return absl::OkStatus();
        });
      });
}

absl::Status Snapshots::ReplayCommits() {
  return ReplayIntents<SnapshotIntent>(
      db_, kSnapshotCommitIntent,
      [this](const SnapshotIntent& begun) { return FinishCommit(begun); });
}

// The backend tells whether it had done its part.
absl::Status Snapshots::FinishCommit(const SnapshotIntent& begun) {
  auto it = backends_.find(begun.snapshotter());
  if (it == backends_.end()) {
    return absl::FailedPreconditionError(
        absl::StrCat("snapshotter ", begun.snapshotter(), " is not configured any more"));
  }
  absl::Status there = it->second->Labels(begun.committed().backend_id()).status();
  if (!there.ok() && !absl::IsNotFound(there)) return there;
  base::LogInfo(there.ok() ? "finishing the commit of a snapshot that was cut off"
                           : "undoing the commit of a snapshot that was cut off",
                {{"namespace", begun.namespace_()},
                 {"snapshotter", begun.snapshotter()},
                 {"key", begun.key()},
                 {"name", begun.committed().info().name()}});
  if (!there.ok()) return absl::OkStatus();
  const SnapshotKey key{begun.namespace_(), begun.snapshotter(), begun.key()};
  return db_->Update(Durability::kSync, [&](Tx& tx) -> absl::Status {
    absl::StatusOr<SnapshotRecord> active = GetSnapshotRecord(tx, key);
    if (active.ok() && active->backend_id() == begun.backend_id())
      return ReplaceByCommitted(tx, key, begun.committed());
    // Somebody removed it meanwhile.
    tx.Put(SnapshotRemovalKey(begun.snapshotter(), begun.committed().backend_id()), "");
    return absl::OkStatus();
  });
}

absl::Status Snapshots::Reconcile(const std::string& snapshotter, Backend* backend) {
  std::set<std::string> known, lost, removals;
  absl::Status scanned = db_->View([&](const ReadView& view) -> absl::Status {
    GANTRY_RETURN_IF_ERROR(view.ScanProto<SnapshotRecord>(
        KeyPrefix({kTableSnapshots}), [&](absl::string_view rest, const SnapshotRecord& record) {
          if (SplitKey(rest)[1] != snapshotter) return true;
          known.insert(record.backend_id());
          if (!record.unsynced_boot().empty() && record.unsynced_boot() != boot_id_)
            lost.insert(record.backend_id());
          return true;
        }));
    // What could not be finished yet keeps its id.
    GANTRY_ASSIGN_OR_RETURN(std::vector<Intent> commits,
                            PendingIntents(view, kSnapshotCommitIntent));
    for (const Intent& intent : commits) {
      SnapshotIntent begun;
      if (intent.payload().UnpackTo(&begun) && begun.snapshotter() == snapshotter)
        removals.insert(begun.committed().backend_id());
    }
    return view.Scan(KeyPrefix({kTableSnapshotRemovals, snapshotter}),
                     [&](absl::string_view id, absl::string_view) {
                       removals.insert(std::string(id));
                       return true;
                     });
  });
  GANTRY_RETURN_IF_ERROR(scanned);
  std::set<std::string> all = known;
  all.insert(removals.begin(), removals.end());
  GANTRY_ASSIGN_OR_RETURN(std::set<std::string> missing, backend->Reconcile(all));
  for (const std::string& id : missing) {
    if (known.contains(id)) lost.insert(id);
  }
  if (!lost.empty()) GANTRY_RETURN_IF_ERROR(DropRecords(snapshotter, lost));
  return FinishRemovals(snapshotter, backend);
}

absl::Status Snapshots::DropRecords(const std::string& snapshotter,
                                    const std::set<std::string>& lost) {
  return db_->Update(Durability::kSync, [&](Tx& tx) -> absl::Status {
    std::vector<std::pair<std::string, SnapshotRecord>> dropped;
    GANTRY_RETURN_IF_ERROR(tx.ScanProto<SnapshotRecord>(
        KeyPrefix({kTableSnapshots}), [&](absl::string_view rest, const SnapshotRecord& record) {
          bool gone = lost.contains(record.backend_id()) ||
                      std::any_of(record.parent_ids().begin(), record.parent_ids().end(),
                                  [&lost](const std::string& id) { return lost.contains(id); });
          if (gone && SplitKey(rest)[1] == snapshotter) dropped.emplace_back(rest, record);
          return true;
        }));
    for (const auto& [rest, record] : dropped) {
      SnapshotKey key{SplitKey(rest)[0], snapshotter, record.info().name()};
      base::LogWarn("dropping a snapshot whose files, or its parents', were lost in a crash",
                    {{"namespace", key.ns}, {"snapshotter", snapshotter}, {"key", key.key}});
      GANTRY_ASSIGN_OR_RETURN(bool last, DeleteSnapshotRecord(tx, key, record));
      if (last) tx.Put(SnapshotRemovalKey(snapshotter, record.backend_id()), "");
      AddSnapshotRemoveEvent(tx, key);
    }
    return absl::OkStatus();
  });
}

absl::Status Snapshots::FinishRemovals(const std::string& snapshotter, Backend* backend) {
  std::vector<std::string> ids;
  // The deletion of the records must reach the disk before that of the files does.
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) {
    return view.Scan(KeyPrefix({kTableSnapshotRemovals, snapshotter}),
                     [&ids](absl::string_view id, absl::string_view) {
                       ids.emplace_back(id);
                       return true;
                     });
  }));
  if (ids.empty()) return absl::OkStatus();
  GANTRY_RETURN_IF_ERROR(db_->Update(Durability::kSync, [&](Tx& tx) {
    tx.Put(SnapshotRemovalKey(snapshotter, ids.front()), "");
    return absl::OkStatus();
  }));
  absl::Status last_failure;
  // Children go first; the order of ids does not say which those are.
  for (bool progress = true; progress && !ids.empty();) {
    std::vector<std::string> left, done;
    for (const std::string& id : ids) {
      absl::Status removed = backend->Remove(id);
      if (!removed.ok()) last_failure = base::Annotate(removed, absl::StrCat("remove ", id));
      (removed.ok() ? done : left).push_back(id);
    }
    progress = !done.empty();
    ids = std::move(left);
    GANTRY_RETURN_IF_ERROR(db_->Update(Durability::kNone, [&](Tx& tx) {
      for (const std::string& id : done) tx.Delete(SnapshotRemovalKey(snapshotter, id));
      return absl::OkStatus();
    }));
  }
  if (!ids.empty()) {
    base::LogWarn("snapshots could not be removed; Cleanup or the next start tries again",
                  {{"snapshotter", snapshotter},
                   {"count", absl::StrCat(ids.size())},
                   {"error", last_failure.message()}});
  }
  return absl::OkStatus();
}

std::vector<std::string> Snapshots::GcTables() const { return {std::string(kTableSnapshots)}; }

absl::Status Snapshots::GcVisit(const GcRecord& gc_record, GcVisitor* visitor) const {
  SnapshotRecord record;
  if (gc_record.key.size() != 3 ||
      !record.ParseFromArray(gc_record.value.data(), static_cast<int>(gc_record.value.size()))) {
    return absl::DataLossError("a snapshot record cannot be read");
  }
  absl::string_view ns = gc_record.key[0], snapshotter = gc_record.key[1];
  GcNode node = GcSnapshotNode(ns, snapshotter, gc_record.key[2]);
  const LabelMap& labels = record.info().labels();
  visitor->Exists(node);
  if (GcIsRoot(labels, visitor->now())) visitor->Root(node);
  GcVisitLabels(node, labels, visitor);
  if (!record.info().parent().empty())
    visitor->ParentEdge(node, GcSnapshotNode(ns, snapshotter, record.info().parent()));
  return absl::OkStatus();
}

absl::Status Snapshots::GcRemove(Tx& tx, const std::vector<GcNode>& nodes) {
  for (const GcNode& node : nodes) {
    size_t slash = node.key.find('/');
    if (node.type != GcNode::Type::kSnapshot || slash == std::string::npos)
      return absl::InternalError(absl::StrCat("not a snapshot: ", node.key));
    std::string snapshotter = node.key.substr(0, slash), name = node.key.substr(slash + 1);
    const SnapshotKey key{node.ns, snapshotter, name};
    absl::StatusOr<SnapshotRecord> record = GetSnapshotRecord(tx, key);
    if (absl::IsNotFound(record.status())) continue;
    GANTRY_RETURN_IF_ERROR(record.status());
    GANTRY_ASSIGN_OR_RETURN(bool last, DeleteSnapshotRecord(tx, key, *record));
    if (last) tx.Put(SnapshotRemovalKey(snapshotter, record->backend_id()), "");
    AddSnapshotRemoveEvent(tx, key);
  }
  return absl::OkStatus();
}

void Snapshots::GcReclaim(const std::vector<GcNode>& nodes) {
  std::set<std::string> snapshotters;
  for (const GcNode& node : nodes) snapshotters.insert(node.key.substr(0, node.key.find('/')));
  for (const std::string& snapshotter : snapshotters) {
    auto it = backends_.find(snapshotter);
    if (it == backends_.end()) continue;
    absl::Status done = FinishRemovals(snapshotter, it->second.get());
    if (!done.ok())
      base::LogWarn("cannot remove collected snapshots",
                    {{"snapshotter", snapshotter}, {"error", done.message()}});
  }
}

absl::Status Snapshots::SyncCommitted() {
  struct Unsynced {
    std::string ns, snapshotter, key, id;
  };
  std::vector<Unsynced> unsynced;
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) {
    return view.ScanProto<SnapshotRecord>(
        KeyPrefix({kTableSnapshots}), [&](absl::string_view rest, const SnapshotRecord& record) {
          std::vector<absl::string_view> parts = SplitKey(rest);
          if (!record.unsynced_boot().empty() && parts.size() == 3)
            unsynced.push_back({std::string(parts[0]), std::string(parts[1]), std::string(parts[2]),
                                record.backend_id()});
          return true;
        });
  }));
  std::set<std::string> synced;
  for (const Unsynced& one : unsynced) {
    auto it = backends_.find(one.snapshotter);
    if (it == backends_.end() || synced.contains(one.snapshotter)) continue;
    GANTRY_RETURN_IF_ERROR(it->second->Sync());
    synced.insert(one.snapshotter);
  }
  if (synced.empty()) return absl::OkStatus();
  return db_->Update(Durability::kNone, [&](Tx& tx) -> absl::Status {
    for (const Unsynced& one : unsynced) {
      const SnapshotKey key{one.ns, one.snapshotter, one.key};
      absl::StatusOr<SnapshotRecord> record = GetSnapshotRecord(tx, key);
      if (absl::IsNotFound(record.status())) continue;
      GANTRY_RETURN_IF_ERROR(record.status());
      if (record->backend_id() != one.id || !synced.contains(one.snapshotter)) continue;
      record->clear_unsynced_boot();
      PutSnapshotRecord(tx, key, *record);
    }
    return absl::OkStatus();
  });
}

void Snapshots::SyncLoop() {
  // One flush for the layers of a pull, not one for each.
  constexpr auto kGather = std::chrono::seconds(2);
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stop_ || sync_wanted_; });
    if (wake_.wait_for(lock, kGather, [this] { return stop_; })) return;
    sync_wanted_ = false;
    lock.unlock();
    absl::Status synced = SyncCommitted();
    if (!synced.ok())
      base::LogWarn("cannot flush committed snapshots; they are not safe from power loss yet",
                    {{"error", synced.message()}});
    lock.lock();
  }
}

}  // namespace gantry::services
