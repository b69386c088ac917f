#include "services/snapshots/records.h"

#include <algorithm>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "containerd/events/snapshot.pb.h"
#include "services/metadata/keys.h"

namespace gantry::services {
namespace {

constexpr absl::string_view kTableChildren = "snpkid";
constexpr absl::string_view kTableReferences = "snpref";
constexpr absl::string_view kTableShared = "snpshr";

using containerd::services::snapshots::v1::Kind;

// Only names that say what the layers contain are the same thing in every namespace: chain ids.
bool IsChainId(absl::string_view name) {
  absl::string_view hex = name;
  if (!absl::ConsumePrefix(&hex, "sha256:") || hex.size() != 64) return false;
  return std::all_of(hex.begin(), hex.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

absl::string_view ParentId(const SnapshotRecord& record) {
  return record.parent_ids().empty() ? absl::string_view() : record.parent_ids(0);
}

bool IsShared(const SnapshotRecord& record) {
  return record.info().kind() == Kind::COMMITTED && IsChainId(record.info().name());
}

std::string ChildKey(const SnapshotKey& key, const SnapshotRecord& record) {
  return Key({kTableChildren, key.ns, key.snapshotter, record.info().parent(), key.key});
}

std::string ReferenceKey(const SnapshotKey& key, const SnapshotRecord& record) {
  return Key({kTableReferences, key.snapshotter, record.backend_id(), key.ns, key.key});
}

std::string SharedKey(const SnapshotKey& key, const SnapshotRecord& record) {
  return Key({kTableShared, key.snapshotter, key.key, ParentId(record), record.backend_id()});
}

}  // namespace

std::string RecordKey(const SnapshotKey& key) {
  return Key({kTableSnapshots, key.ns, key.snapshotter, key.key});
}

absl::StatusOr<SnapshotRecord> GetSnapshotRecord(const ReadView& view, const SnapshotKey& key) {
  // A zero byte in a key would address another record.
  std::optional<SnapshotRecord> record;
  if (!absl::StrContains(key.key, '\0')) {
    GANTRY_ASSIGN_OR_RETURN(record, view.GetProto<SnapshotRecord>(RecordKey(key)));
  }
  if (record.has_value()) return *std::move(record);
  return absl::NotFoundError(absl::StrCat("snapshot ", key.key, " does not exist: not found"));
}

absl::StatusOr<bool> SnapshotExists(const ReadView& view, const SnapshotKey& key) {
  return view.Exists(RecordKey(key));
}

absl::StatusOr<bool> SnapshotHasChildren(const ReadView& view, const SnapshotKey& key) {
  return view.AnyWith(KeyPrefix({kTableChildren, key.ns, key.snapshotter, key.key}));
}

void PutSnapshotRecord(Tx& tx, const SnapshotKey& key, const SnapshotRecord& record) {
  tx.PutProto(RecordKey(key), record);
  if (!record.info().parent().empty()) tx.Put(ChildKey(key, record), "");
  tx.Put(ReferenceKey(key, record), "");
  if (IsShared(record)) tx.Put(SharedKey(key, record), "");
}

absl::StatusOr<bool> DeleteSnapshotRecord(Tx& tx, const SnapshotKey& key,
                                          const SnapshotRecord& record) {
  tx.Delete(RecordKey(key));
  if (!record.info().parent().empty()) tx.Delete(ChildKey(key, record));
  tx.Delete(ReferenceKey(key, record));
  GANTRY_ASSIGN_OR_RETURN(
      bool used, tx.AnyWith(KeyPrefix({kTableReferences, key.snapshotter, record.backend_id()})));
  // Two namespaces may have unpacked the same layer twice; each copy has a row of its own.
  if (!used && IsShared(record)) tx.Delete(SharedKey(key, record));
  return !used;
}

absl::StatusOr<std::optional<std::string>> FindSharedLayer(const ReadView& view,
                                                           absl::string_view snapshotter,
                                                           absl::string_view name,
                                                           absl::string_view parent_id) {
  std::optional<std::string> found;
  if (!IsChainId(name)) return found;
  GANTRY_RETURN_IF_ERROR(view.Scan(KeyPrefix({kTableShared, snapshotter, name, parent_id}),
                                   [&found](absl::string_view id, absl::string_view) {
                                     found = std::string(id);
                                     return false;
                                   }));
  return found;
}

absl::StatusOr<std::optional<SnapshotRecord>> FindRecordOf(const ReadView& view,
                                                           absl::string_view snapshotter,
                                                           absl::string_view backend_id) {
  std::optional<std::string> where;
  GANTRY_RETURN_IF_ERROR(view.Scan(KeyPrefix({kTableReferences, snapshotter, backend_id}),
                                   [&where](absl::string_view rest, absl::string_view) {
                                     where = std::string(rest);
                                     return false;
                                   }));
  if (!where.has_value()) return std::optional<SnapshotRecord>();
  std::vector<absl::string_view> ns_and_key = SplitKey(*where);
  if (ns_and_key.size() != 2)
    return absl::DataLossError(absl::StrCat("snapshot reference row of ", backend_id));
  return view.GetProto<SnapshotRecord>(RecordKey({ns_and_key[0], snapshotter, ns_and_key[1]}));
}

absl::Status ReplaceByCommitted(Tx& tx, const SnapshotKey& key, const SnapshotRecord& committed) {
  GANTRY_ASSIGN_OR_RETURN(SnapshotRecord active, GetSnapshotRecord(tx, key));
  GANTRY_RETURN_IF_ERROR(DeleteSnapshotRecord(tx, key, active).status());
  PutSnapshotRecord(tx, {key.ns, key.snapshotter, committed.info().name()}, committed);
  containerd::events::SnapshotCommit event;
  event.set_key(std::string(key.key));
  event.set_name(committed.info().name());
  event.set_snapshotter(std::string(key.snapshotter));
  tx.AddEvent(key.ns, "/snapshot/commit", event);
  return absl::OkStatus();
}

void AddSnapshotRemoveEvent(Tx& tx, const SnapshotKey& key) {
  containerd::events::SnapshotRemove event;
  event.set_key(std::string(key.key));
  event.set_snapshotter(std::string(key.snapshotter));
  tx.AddEvent(key.ns, "/snapshot/remove", event);
}

std::string SnapshotRemovalKey(absl::string_view snapshotter, absl::string_view id) {
  return Key({kTableSnapshotRemovals, snapshotter, id});
}

}  // namespace gantry::services
