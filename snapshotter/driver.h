#ifndef GANTRY_SNAPSHOTTER_DRIVER_H_
#define GANTRY_SNAPSHOTTER_DRIVER_H_

// A snapshotter's half that touches the disk. A driver keeps no metadata: names, namespaces,
// parents and labels belong to the caller (services/snapshots), who passes a short numeric id and
// the whole chain of parent ids with every call. So there is one source of truth, and after a crash
// the two are compared by List().
//
// A snapshot is active (writable) or a view (read-only) from Create(); Commit() freezes an active
// one so that it may be a parent. To the disk there is no difference between the two states.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/mount.h"

namespace gantry::snapshotter {

enum class Kind { kActive, kView };

// Blocks and inodes that a snapshot holds beyond its parents, as du counts them: allocated bytes,
// every hard-linked inode once, the root directory included.
struct Usage {
  int64_t size = 0;
  int64_t inodes = 0;
  friend bool operator==(const Usage&, const Usage&) = default;
};

struct Spec {
  std::string id;                    // decimal digits, never used before
  std::vector<std::string> parents;  // committed snapshots, nearest first; may be empty
  Kind kind = Kind::kActive;
  std::map<std::string, std::string> labels;  // containerd.io/snapshot/… ones reach the driver
};

struct DriverConfig {
  std::string root;  // made with mode 0700 if missing; snapshots live in <root>/snapshots/<id>
  // Further options for every overlay mount that has an upper directory ("volatile",
  // "metacopy=on").
  std::vector<std::string> mount_options;
  // Remove() returns when the files are gone, not when they are out of sight.
  bool sync_remove = false;
};

// Thread-safe: calls for different ids run in parallel; the caller orders calls for one id.
class Driver {
 public:
  virtual ~Driver() = default;

  virtual absl::string_view name() const = 0;

  // Makes the directories of `spec`. The root directory of an active snapshot takes owner and mode
  // of its nearest parent's; labels containerd.io/snapshot/uidmapping and …/gidmapping
  // ("container:host:size", comma separated) give it the owner that container id 0 maps to.
  // All or nothing: on failure (and after a crash) nothing is left but, at most, a directory that
  // List() shows. Errors: AlreadyExists (id), NotFound (a parent's directory), InvalidArgument (id
  // or mapping malformed), errno codes of the file system.
  virtual absl::Status Create(const Spec& spec) = 0;

  // How to mount the snapshot. Computed, no system call, never fails for a spec that was created.
  virtual std::vector<base::Mount> Mounts(const Spec& spec) const = 0;

  // Freezes an active snapshot; its id stays. Counts usage by walking unless `known` is given (who
  // unpacked the layer has counted already). NotFound if there is no such id. Idempotent.
  virtual absl::StatusOr<Usage> Commit(const std::string& id, std::optional<Usage> known) = 0;

  // Walks the files of one snapshot. NotFound.
  virtual absl::StatusOr<Usage> GetUsage(const std::string& id) const = 0;

  // Takes the snapshot out of sight by one rename; a worker thread deletes the files later (also
  // after a restart). A missing id is OK. Mounts of it stay usable until they are unmounted.
  // The caller makes sure that no other snapshot has it as a parent.
  virtual absl::Status Remove(const std::string& id) = 0;

  // Ids on disk, in no order, for reconciliation with the records.
  virtual absl::StatusOr<std::vector<std::string>> List() const = 0;

  // The directory that holds exactly the layer's own changes in overlayfs' form (whiteout = char
  // device 0:0, opaque = xattr trusted.overlay.opaque), so that a layer can be unpacked into it
  // without a mount and without its parents. Unimplemented where a snapshot is a full tree.
  virtual absl::StatusOr<std::string> LayerDir(const std::string& id) const = 0;

  // Flushes the file system that holds the snapshots (syncfs). Blocks for as long as that takes.
  virtual absl::Status Sync() = 0;

  // Waits until everything removed so far is deleted.
  virtual void WaitForRemovals() = 0;
};

}  // namespace gantry::snapshotter

#endif  // GANTRY_SNAPSHOTTER_DRIVER_H_
