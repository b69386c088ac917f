#ifndef GANTRY_SERVICES_SNAPSHOTS_RECORDS_H_
#define GANTRY_SERVICES_SNAPSHOTS_RECORDS_H_

// The rows that snapshots have in the database, and the indexes that follow from them:
//
//   snp     ns, snapshotter, key               SnapshotRecord
//   snpkid  ns, snapshotter, parent, key       empty: a child of a snapshot
//   snpref  snapshotter, backend id, ns, key   empty: a record that uses a backend's snapshot
//   snpshr  snapshotter, name, parent's backend id, backend id
//                                              empty: a committed layer that all namespaces may use
//   snpdel  snapshotter, backend id            empty: no record uses it any more; to be removed

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "gantry/metadata/v1/records.pb.h"
#include "services/metadata/db.h"

namespace gantry::services {

using SnapshotRecord = gantry::metadata::v1::SnapshotRecord;
using SnapshotIntent = gantry::metadata::v1::SnapshotIntent;

// Kinds of intents.
inline constexpr absl::string_view kSnapshotPrepareIntent = "snapshot.prepare";
inline constexpr absl::string_view kSnapshotCommitIntent = "snapshot.commit";

inline constexpr absl::string_view kTableSnapshotRemovals = "snpdel";

// Names one record.
struct SnapshotKey {
  absl::string_view ns;
  absl::string_view snapshotter;
  absl::string_view key;
};

std::string RecordKey(const SnapshotKey& key);

// NotFound `snapshot KEY does not exist: not found`.
absl::StatusOr<SnapshotRecord> GetSnapshotRecord(const ReadView& view, const SnapshotKey& key);
absl::StatusOr<bool> SnapshotExists(const ReadView& view, const SnapshotKey& key);
absl::StatusOr<bool> SnapshotHasChildren(const ReadView& view, const SnapshotKey& key);

// Writes the record with its index rows. Replaces a record of that key only if backend id, parent
// and kind stay the same (labels, times).
void PutSnapshotRecord(Tx& tx, const SnapshotKey& key, const SnapshotRecord& record);

// Deletes both, and tells whether this was the last record that uses its backend id.
absl::StatusOr<bool> DeleteSnapshotRecord(Tx& tx, const SnapshotKey& key,
                                          const SnapshotRecord& record);

// The backend id of a layer that some namespace has committed as `name` on the same parent.
absl::StatusOr<std::optional<std::string>> FindSharedLayer(const ReadView& view,
                                                           absl::string_view snapshotter,
                                                           absl::string_view name,
                                                           absl::string_view parent_id);

// Any record that uses `backend_id`.
absl::StatusOr<std::optional<SnapshotRecord>> FindRecordOf(const ReadView& view,
                                                           absl::string_view snapshotter,
                                                           absl::string_view backend_id);

// The row of kTableSnapshotRemovals.
std::string SnapshotRemovalKey(absl::string_view snapshotter, absl::string_view backend_id);

// The active snapshot `key` becomes the committed one that `committed` describes. Memory only.
// NotFound if there is no such active snapshot.
absl::Status ReplaceByCommitted(Tx& tx, const SnapshotKey& key, const SnapshotRecord& committed);

// "/snapshot/remove"
void AddSnapshotRemoveEvent(Tx& tx, const SnapshotKey& key);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_SNAPSHOTS_RECORDS_H_
