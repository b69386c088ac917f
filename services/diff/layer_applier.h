#ifndef GANTRY_SERVICES_DIFF_LAYER_APPLIER_H_
#define GANTRY_SERVICES_DIFF_LAYER_APPLIER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/digest.h"
#include "base/unique_fd.h"

namespace gantry::services {

enum class Whiteouts {
  // The directory is an overlayfs upper directory: ".wh.x" becomes the character device 0:0 "x",
  // an opaque mark the xattr trusted.overlay.opaque.
  kOverlay,
  // The directory is a whole tree: ".wh.x" removes "x", an opaque mark removes what lower layers
  // put
  // into the directory.
  kRemove,
};

struct LayerApplierOptions {
  Whiteouts whiteouts = Whiteouts::kOverlay;
  // Hash the compressed bytes too (LayerResult::blob_digest). Without it they are only counted.
  bool hash_blob = true;
  // Unpack on a thread of its own, so that inflating and hashing overlap with writing. Decided by
  // size when kAuto: the thread starts with the fifth MiB of the tar.
  enum class Threads { kAuto, kOne, kTwo };
  Threads threads = Threads::kAuto;
  // What a layer may hold at most; ResourceExhausted beyond.
  int64_t max_bytes = int64_t{1} << 40;
  int64_t max_entries = 5'000'000;
  // Directories of lower layers, nearest first, for kOverlay: a parent directory that the layer
  // uses without an entry of its own gets owner, mode and xattrs of the one below. Paths of ours.
  std::vector<std::string> lower_dirs;
};

struct LayerResult {
  base::Digest diff_id;      // sha256 of the tar
  int64_t size = 0;          // bytes of the tar
  base::Digest blob_digest;  // sha256 of what was written, empty without hash_blob
  int64_t blob_size = 0;
  // What the tree takes on disk after this layer, counted while unpacking so that the commit of the
  // snapshot need not walk it. Exact for an upper directory that was empty before, with kOverlay.
  int64_t usage_bytes = 0;
  int64_t usage_inodes = 0;
  // Directories that had to be made although the layer has no entry for them, parents first: when
  // the lower layers were not known, InheritDirectories() makes good for it.
  std::vector<std::string> implicit_dirs;
};

// Unpacks one layer (tar; gzip, zstd or plain, found out from the bytes) into a directory in a
// single pass over the pushed bytes: hash, inflate, hash, write. Restores owner, mode, mtimes to
// the nanosecond (of directories at the end), hard and symbolic links, devices, fifos, xattrs
// (security.capability included), holes. Later entries replace earlier ones.
//
// Nothing outside the directory is touched, whatever the layer says: parents are resolved inside it
// (openat2 RESOLVE_IN_ROOT, so absolute and ".." links stay in), the last component is never
// followed, hard links must lead to something inside and are refused to leave it. Names that climb
// ("../x") are clamped to the root as containerd does. trusted.overlay.* xattrs and names beginning
// with ".wh..wh." other than the opaque mark are dropped. InvalidArgument for malformed layers; in
// every case of failure the directory is left half filled and should be thrown away.
// Not thread-safe. Destroying it without Finish() stops its thread.
class LayerApplier {
 public:
  virtual ~LayerApplier() = default;

  // `root` must be opened O_RDONLY|O_DIRECTORY (or O_PATH); needs CAP_SYS_ADMIN for devices and
  // trusted xattrs. The process umask does not matter.
  static absl::StatusOr<std::unique_ptr<LayerApplier>> Create(
      base::UniqueFd root, const LayerApplierOptions& options = {});

  // The next compressed bytes. Blocks while the disk is slower than the source. An error is final.
  virtual absl::Status Write(absl::string_view data) = 0;
  // The blob has ended: waits for everything to be written (not synced) and sums up. Call once.
  virtual absl::StatusOr<LayerResult> Finish() = 0;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_DIFF_LAYER_APPLIER_H_
