#ifndef GANTRY_SERVICES_SNAPSHOTS_BACKEND_H_
#define GANTRY_SERVICES_SNAPSHOTS_BACKEND_H_

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/mount.h"
#include "snapshotter/driver.h"

namespace gantry::services {

using SnapshotUsage = snapshotter::Usage;
using SnapshotLabels = std::map<std::string, std::string>;

// What stands behind one snapshotter name: a driver in this process, or a snapshots service in
// another one. Knows no namespaces: its ids are unique over all of them. Thread-safe; calls may
// block.
class Backend {
 public:
  using Spec = snapshotter::Spec;

  struct Committed {
    std::string id;  // from now on; the same as before unless the backend names by key
    SnapshotUsage usage;
  };

  // A committed snapshot that the backend offers for a label containerd.io/snapshot.ref.
  struct Target {
    std::string id;
    SnapshotLabels labels;
  };

  virtual ~Backend() = default;

  // "rebase", "layerdir"; see Snapshots::capabilities().
  virtual std::set<std::string> capabilities() const = 0;

  // Called once before all others with every id that records (or removals not yet done) know.
  // Returns those of `known` that the backend does not have. What it has beyond them is garbage of
  // a crash: removed here where this process is the only user of the store.
  virtual absl::StatusOr<std::set<std::string>> Reconcile(const std::set<std::string>& known) = 0;

  // A new id, for a snapshot that will be called `key` in namespace `ns`.
  virtual std::string NewId(absl::string_view ns, absl::string_view key) = 0;

  // Makes the snapshot. AlreadyExists if the labels have a containerd.io/snapshot.ref which the
  // backend has committed already: FindTarget() tells which.
  virtual absl::StatusOr<std::vector<base::Mount>> Create(const Spec& spec) = 0;
  virtual absl::StatusOr<Target> FindTarget(absl::string_view target,
                                            absl::string_view parent_id) const = 0;
  virtual absl::StatusOr<std::vector<base::Mount>> Mounts(const Spec& spec) const = 0;

  // `new_id` comes from NewId() and is for backends that name by key.
  virtual absl::StatusOr<Committed> Commit(const std::string& id, const std::string& new_id,
                                           const SnapshotLabels& labels,
                                           std::optional<SnapshotUsage> known) = 0;
  virtual absl::StatusOr<SnapshotUsage> GetUsage(const std::string& id) const = 0;

  // OK if there is no such id. FailedPrecondition while others have it as a parent.
  virtual absl::Status Remove(const std::string& id) = 0;
  // Whether the store belongs to this process alone. Then Reconcile() finds after a crash what was
  // not removed, and Sync() says when files are safe; otherwise removals are remembered until they
  // succeed, and the other side looks after its files.
  virtual bool local() const = 0;

  // Labels that the backend itself adds to a snapshot; empty for local ones.
  virtual absl::StatusOr<SnapshotLabels> Labels(const std::string& id) const = 0;
  // Passes on changed labels (the inherited ones, "containerd.io/snapshot/…").
  virtual absl::Status UpdateLabels(const std::string& id, const SnapshotLabels& labels,
                                    const std::vector<std::string>& fieldpaths) = 0;

  virtual absl::StatusOr<std::string> LayerDir(const std::string& id) const = 0;
  // Flushes what was committed to the disk.
  virtual absl::Status Sync() = 0;
  virtual absl::Status Cleanup() = 0;
};

// A driver of this process.
std::unique_ptr<Backend> MakeLocalBackend(std::unique_ptr<snapshotter::Driver> driver);

// The snapshotter `name` of the snapshots service that listens on the unix socket `address` (a
// path, or "unix://…"). Connects lazily and again after a failure; Unavailable names the address.
std::unique_ptr<Backend> MakeProxyBackend(const std::string& address, const std::string& name);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_SNAPSHOTS_BACKEND_H_
