#ifndef GANTRY_SERVICES_METADATA_GC_H_
#define GANTRY_SERVICES_METADATA_GC_H_

// What a store does to take part in garbage collection. The collector itself is in services/gc.
//
// Semantics are containerd's (docs/garbage-collection.md there): what no root reaches is removed.
// The collector scans the tables of all participants in one consistent state while writers go on,
// then looks again, inside one short transaction, at every record that changed meanwhile, and
// removes in that same transaction what is still unreachable.

#include <compare>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "google/protobuf/map.h"
#include "services/metadata/db.h"

namespace gantry::services {

struct GcNode {
  enum class Type { kContent, kSnapshot, kContainer, kTask, kImage, kLease, kIngest, kSandbox };
  Type type = Type::kContent;
  std::string ns;
  // Digest, "snapshotter/key", container id, image name, lease id, ingest ref, sandbox id.
  std::string key;

  friend auto operator<=>(const GcNode&, const GcNode&) = default;
};

// How far a reference reaches.
enum class GcReach {
  kFull,
  // Only the object and, for snapshots, its parents: not what its labels refer to (gc.flat).
  kFlat,
};

// A condition on when an object was used last.
struct GcUse {
  bool within = true;  // used within `age` before now; else longer ago than that
  absl::Duration age;
};

// What a participant tells of one record.
class GcVisitor {
 public:
  virtual ~GcVisitor() = default;
  // The record's object can be collected when nothing reaches it. (Containers never say so.)
  virtual void Exists(const GcNode& node) = 0;
  // `node` is kept, and all that it refers to. It need not exist.
  virtual void Root(const GcNode& node, GcReach reach = GcReach::kFull) = 0;
  // Who keeps `from` keeps `to`.
  virtual void Edge(const GcNode& from, const GcNode& to) = 0;
  // As Edge(), and also for those who keep `from` only flatly: a snapshot's parent.
  virtual void ParentEdge(const GcNode& from, const GcNode& to) = 0;
  // As Edge() if one of the times that UsedAt() tells of `to`, in whatever order, meets `use`.
  virtual void EdgeIfUsed(const GcNode& from, const GcNode& to, GcUse use) = 0;
  virtual void UsedAt(const GcNode& node, absl::Time when) = 0;
  // The moment that containerd.io/gc.expire is compared with.
  virtual absl::Time now() const = 0;
};

// One record of one of the participant's tables.
struct GcRecord {
  absl::string_view table;
  std::vector<absl::string_view> key;  // the components after the table
  absl::string_view value;
};

// Must stay alive as long as the collector.
class GcParticipant {
 public:
  virtual ~GcParticipant() = default;

  // The tables whose records it understands, for example {"blob", "ing"}; each table has one owner.
  virtual std::vector<std::string> GcTables() const = 0;

  // Tells the visitor about one record: whether it exists, is a root, what it refers to. Pure: the
  // record is all it may look at. A record that cannot be read is an error: then nothing at all is
  // collected.
  virtual absl::Status GcVisit(const GcRecord& record, GcVisitor* visitor) const = 0;

  // Removes the records of `nodes` (all of types that it declared with Exists()) in `tx`, with
  // their events. Memory only; runs under the database's update lock.
  virtual absl::Status GcRemove(Tx& tx, const std::vector<GcNode>& nodes) = 0;

  // After that transaction is committed: frees what the records stood for (rename to trash, then
  // delete in the background). No lock is held. A failure is logged by the participant; what it
  // leaves on disk without a record is found at the next start.
  virtual void GcReclaim(const std::vector<GcNode>& nodes) = 0;
};

// What the services need of the collector.
class GcRunner {
 public:
  virtual ~GcRunner() = default;
  // Soon, in the background; several calls become one collection. Returns at once.
  virtual void Schedule() = 0;
  // Runs a collection that begins after this call and returns when it is done, or its failure.
  virtual absl::Status RunNow() = 0;
};

using LabelMap = google::protobuf::Map<std::string, std::string>;

// Edges for the labels containerd.io/gc.ref.content[./…], containerd.io/gc.ref.snapshot.NAME[/…]
// and containerd.io/gc.ref.image[./…], and the backward ones (containerd.io/gc.bref.…) which keep
// `node` as long as the object that they name is kept. Of content and images also
// containerd.io/gc.cond.snapshot.NAME[/…] = "usedat<24h|KEY" (or ">", several separated by commas:
// one must hold), which refers to a snapshot whose containerd.io/gc.cond.value-usedat meets it.
void GcVisitLabels(const GcNode& node, const LabelMap& labels, GcVisitor* visitor);

// Whether the labels make content or a snapshot a root: containerd.io/gc.root, or a
// containerd.io/gc.expire that is still to come.
bool GcIsRoot(const LabelMap& labels, absl::Time now);

// Whether containerd.io/gc.expire lies before `now`. An unreadable time counts as not expired.
bool GcIsExpired(const LabelMap& labels, absl::Time now);

// "snapshotter/key".
GcNode GcSnapshotNode(absl::string_view ns, absl::string_view snapshotter, absl::string_view key);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_METADATA_GC_H_
