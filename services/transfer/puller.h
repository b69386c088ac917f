#ifndef GANTRY_SERVICES_TRANSFER_PULLER_H_
#define GANTRY_SERVICES_TRANSFER_PULLER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "containerd/types/transfer/imagestore.pb.h"
#include "services/registry/client.h"
#include "services/transfer/image_tree.h"
#include "services/transfer/image_unpacker.h"
#include "services/transfer/transfer_deps.h"

namespace gantry::services {

// What an ImageStore request says about the parts of an image that are wanted.
TreeOptions TreeOptionsOf(const containerd::types::transfer::ImageStore& store);

// One unpacker, started, for each image and each unpack configuration that goes together by
// platform. Configurations for snapshotters that do not exist are left out with a warning, as
// containerd does.
absl::StatusOr<std::vector<std::unique_ptr<ImageUnpacker>>> StartUnpackers(
    const TransferJob& job, const containerd::types::transfer::ImageStore& store,
    const std::vector<TreeImage>& images);

// From a registry into the content store, the snapshotters and the image store, in one pass over
// the bytes: while a layer comes in it is stored, hashed, inflated and unpacked. Uploads that an
// earlier pull left unfinished are continued. Blocks.
absl::Status PullImage(const TransferJob& job, RegistryClient* registry,
                       const containerd::types::transfer::ImageStore& store);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_TRANSFER_PULLER_H_
