#ifndef GANTRY_SERVICES_SNAPSHOTS_SNAPSHOTS_H_
#define GANTRY_SERVICES_SNAPSHOTS_SNAPSHOTS_H_

// Namespaced snapshots over any number of snapshotters. Records live in the Db; what touches the
// disk (or another process) is a Backend, one for each snapshotter name. Codes and messages are
// containerd's (metadata/snapshot.go and snapshots/storage are the reference).
//
// Thread-safe. Calls block on the backend (directories, a copy, or an RPC), never on each other's
// backend work: no lock is held over it.

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/mount.h"
#include "services/metadata/context.h"
#include "services/metadata/db.h"
#include "services/metadata/gc.h"
#include "services/metadata/intents.h"
#include "services/snapshots/backend.h"
#include "services/snapshots/records.h"

namespace gantry::services {

// Numbers as on the wire (containerd.services.snapshots.v1.Kind).
enum class SnapshotKind { kUnknown = 0, kView = 1, kActive = 2, kCommitted = 3 };

struct SnapshotInfo {
  std::string name;
  std::string parent;
  SnapshotKind kind = SnapshotKind::kUnknown;
  absl::Time created;
  absl::Time updated;
  SnapshotLabels labels;
};

struct CommitOptions {
  SnapshotLabels labels;
  // From who wrote the files and counted; walked otherwise.
  std::optional<SnapshotUsage> usage;
  // Sets the parent at commit, for an active snapshot prepared without one: the layers of an image
  // unpack in parallel, each into its own directory, and are chained when they are committed (in
  // order). Only where capabilities() has "rebase"; Unimplemented otherwise. FailedPrecondition if
  // the snapshot has a parent already.
  std::optional<std::string> parent;
};

// All methods: FailedPrecondition without a namespace; InvalidArgument "snapshotter argument
// missing" or "snapshotter not loaded: X"; NotFound `snapshot KEY does not exist: not found`.
class Snapshots : public GcParticipant {
 public:
  // Takes the backends by name, undoes or finishes what a crash cut off, and reconciles each with
  // its records: directories without a record
  // go to the trash; records whose files are missing, or may have been lost with power (see
  // SyncCommitted), are dropped together with all that stands on them, and logged: their images are
  // unpacked again when they are used. `db` outlives this.
  static absl::StatusOr<std::unique_ptr<Snapshots>> Open(
      Db* db, std::map<std::string, std::unique_ptr<Backend>> backends);

  // Ends the flushing thread; the backends finish what they do.
  ~Snapshots() override;

  std::vector<std::string> snapshotters() const;
  bool Has(absl::string_view snapshotter) const;
  // "rebase" (CommitOptions::parent), "layerdir" (LayerDir()).
  absl::StatusOr<std::set<std::string>> capabilities(const std::string& snapshotter) const;

  absl::StatusOr<SnapshotInfo> Stat(const Context& ctx, const std::string& snapshotter,
                                    const std::string& key) const;
  // `fieldpaths`: "labels" or "labels.NAME"; empty means all labels; others are InvalidArgument. An
  // empty value of "labels.NAME" removes that label.
  absl::StatusOr<SnapshotInfo> Update(const Context& ctx, const std::string& snapshotter,
                                      const SnapshotInfo& info,
                                      const std::vector<std::string>& fieldpaths);
  // Committed ones: as counted at commit. Others: walked.
  absl::StatusOr<SnapshotUsage> Usage(const Context& ctx, const std::string& snapshotter,
                                      const std::string& key) const;
  // FailedPrecondition for a committed one.
  absl::StatusOr<std::vector<base::Mount>> Mounts(const Context& ctx,
                                                  const std::string& snapshotter,
                                                  const std::string& key) const;

  // `parent` is empty or a committed snapshot (NotFound, InvalidArgument). AlreadyExists if `key`
  // exists. The label containerd.io/snapshot.ref=TARGET names what this will be committed as:
  // AlreadyExists if TARGET exists here, and also if another namespace has a committed snapshot
  // TARGET on the same chain of layers: then this namespace gets TARGET too, sharing the files, and
  // nothing has to be unpacked again.
  absl::StatusOr<std::vector<base::Mount>> Prepare(const Context& ctx,
                                                   const std::string& snapshotter,
                                                   const std::string& key,
                                                   const std::string& parent,
                                                   const SnapshotLabels& labels);
  absl::StatusOr<std::vector<base::Mount>> View(const Context& ctx, const std::string& snapshotter,
                                                const std::string& key, const std::string& parent,
                                                const SnapshotLabels& labels);

  // Turns the active snapshot `key` into the committed one `name`. AlreadyExists,
  // FailedPrecondition (not active). The record is on disk when this returns.
  absl::Status Commit(const Context& ctx, const std::string& snapshotter, const std::string& name,
                      const std::string& key, const CommitOptions& options);

  // FailedPrecondition "cannot remove snapshot with child". The files are deleted in the background
  // once no namespace refers to them.
  absl::Status Remove(const Context& ctx, const std::string& snapshotter, const std::string& key);

  // Removes every active snapshot of the namespace, of any snapshotter, whose key begins with
  // `prefix`.
  absl::Status RemoveUnfinished(const Context& ctx, absl::string_view prefix);

  // In the order of names, on a consistent view. `filters` as containerd's (kind, name, parent,
  // labels); any match counts. `fn` returns false to stop.
  absl::Status Walk(const Context& ctx, const std::string& snapshotter,
                    const std::vector<std::string>& filters,
                    const std::function<bool(const SnapshotInfo&)>& fn) const;

  // Retries removals that the backend could not do and waits for those in the background.
  absl::Status Cleanup(const Context& ctx, const std::string& snapshotter);

  // The directory in which a layer can be unpacked directly, see snapshotter::Driver::LayerDir.
  // Only for active snapshots (FailedPrecondition); Unimplemented where the backend has none.
  absl::StatusOr<std::string> LayerDir(const Context& ctx, const std::string& snapshotter,
                                       const std::string& key) const;

  // For the garbage collector: every snapshot exists and keeps its parent; labels give roots and
  // edges.
  std::vector<std::string> GcTables() const override;
  absl::Status GcVisit(const GcRecord& record, GcVisitor* visitor) const override;
  absl::Status GcRemove(Tx& tx, const std::vector<GcNode>& nodes) override;
  void GcReclaim(const std::vector<GcNode>& nodes) override;

  // Flushes the files of what was committed, then marks those records as safe: until then a power
  // loss makes the next Open() drop them, and their images are unpacked again. Commit() asks a
  // thread for it; call it to wait.
  absl::Status SyncCommitted();

 private:
  using Backends = std::map<std::string, std::unique_ptr<Backend>>;

  Snapshots(Db* db, Backends backends);

  absl::Status ReplayPrepares();
  absl::Status ReplayCommits();
  absl::Status FinishCommit(const SnapshotIntent& begun);
  absl::Status Reconcile(const std::string& snapshotter, Backend* backend);
  absl::Status DropRecords(const std::string& snapshotter, const std::set<std::string>& lost);
  absl::StatusOr<Backend*> Find(const Context& ctx, const std::string& snapshotter) const;
  absl::StatusOr<SnapshotRecord> Get(const Context& ctx, const std::string& snapshotter,
                                     const std::string& key) const;

  struct NewSnapshot;
  absl::StatusOr<std::vector<base::Mount>> Create(const NewSnapshot& what);
  absl::StatusOr<SnapshotRecord> CheckNew(const ReadView& view, const NewSnapshot& what) const;
  absl::StatusOr<IntentScope> BeginCreate(const NewSnapshot& what, SnapshotRecord* draft);
  absl::Status RecordCreated(const NewSnapshot& what, const SnapshotRecord& draft,
                             const IntentScope& intent);
  void UndoCreate(const NewSnapshot& what, const std::string& id, IntentScope intent);
  absl::StatusOr<bool> ShareTarget(const NewSnapshot& what);
  absl::Status AdoptTarget(const NewSnapshot& what, const Backend::Target& target);
  absl::StatusOr<SnapshotRecord> CheckCommit(const ReadView& view, const SnapshotKey& name,
                                             const SnapshotKey& key,
                                             const CommitOptions& options) const;
  absl::Status FinishRemovals(const std::string& snapshotter, Backend* backend);
  void SyncLoop();

  Db* const db_;
  const Backends backends_;
  const std::string boot_id_;

  std::mutex mutex_;
  std::condition_variable wake_;
  bool sync_wanted_ = false;  // guarded by mutex_
  bool stop_ = false;         // guarded by mutex_
  std::thread syncer_;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_SNAPSHOTS_SNAPSHOTS_H_
