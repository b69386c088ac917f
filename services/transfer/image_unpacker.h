#ifndef GANTRY_SERVICES_TRANSFER_IMAGE_UNPACKER_H_
#define GANTRY_SERVICES_TRANSFER_IMAGE_UNPACKER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/diff/layer_applier.h"
#include "services/transfer/image_tree.h"
#include "services/transfer/transfer_deps.h"

namespace gantry::services {

// Unpacks the layers of one image into the chain of snapshots that containerd makes of them: one
// committed snapshot per layer, named by chain id, with the label containerd.io/snapshot.ref.
//
// Where the snapshotter can chain layers at commit ("rebase"), every missing layer is prepared at
// once in its own directory: layers unpack in parallel, in any order, straight from the network.
// Elsewhere (native, proxies) layers are applied one after the other from the content store.
//
// Start() and Finish() by one thread; between them different layers by different threads.
class ImageUnpacker {
 public:
  // `image` must be runnable and outlive the unpacker.
  ImageUnpacker(const TransferJob& job, const TreeImage& image, std::string snapshotter);
  // Removes what was prepared and not committed.
  ~ImageUnpacker();
  ImageUnpacker(const ImageUnpacker&) = delete;
  ImageUnpacker& operator=(const ImageUnpacker&) = delete;

  const TreeImage& image() const { return image_; }

  // Finds out which layers are there and prepares the others. InvalidArgument when manifest and
  // config disagree on the number of layers.
  absl::Status Start();

  // Whether layer `i` is to be unpacked as it comes in.
  bool WantsStream(size_t i) const;
  absl::StatusOr<std::unique_ptr<LayerApplier>> OpenLayer(size_t i);
  // The layer is unpacked; FailedPrecondition when it is not the one that the config names.
  absl::Status LayerDone(size_t i, const LayerResult& result);
  // Unpacks it from the content store instead.
  absl::Status ApplyStored(size_t i);

  // Unpacks what is left from the store, commits all in order, and labels layers
  // (containerd.io/uncompressed) and config (containerd.io/gc.ref.snapshot.NAME).
  absl::Status Finish();

 private:
  struct Layer {
    base::Digest diff_id;
    base::Digest chain_id;
    std::string key;       // of the active snapshot; empty: none
    std::string dir;       // LayerDir() of the active snapshot, when parallel
    bool present = false;  // committed snapshot was there
    bool unpacked = false;
    bool rebase = false;  // prepared without its parent
    LayerResult result;
  };
  absl::StatusOr<bool> Claim(size_t i);
  absl::Status Prepare(size_t i, bool with_parent);
  absl::Status ApplyInOrder(size_t i);
  absl::Status Feed(size_t i, LayerApplier* applier);
  absl::Status Inherit(size_t i);
  absl::StatusOr<std::string> LayerDir(size_t i) const;
  absl::Status Commit(size_t i);
  std::string Parent(size_t i) const { return i == 0 ? "" : layers_[i - 1].chain_id.str(); }
  BlobLabels SnapshotLabels(size_t i) const;

  const TransferJob& job_;
  const TreeImage& image_;
  const std::string snapshotter_;
  bool parallel_ = false;
  // Directories of the layers that were there before, nearest first.
  std::vector<std::string> base_dirs_;
  std::vector<Layer> layers_;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_TRANSFER_IMAGE_UNPACKER_H_
