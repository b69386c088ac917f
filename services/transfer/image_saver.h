#ifndef GANTRY_SERVICES_TRANSFER_IMAGE_SAVER_H_
#define GANTRY_SERVICES_TRANSFER_IMAGE_SAVER_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "containerd/types/transfer/imagestore.pb.h"
#include "services/registry/image.h"
#include "services/transfer/transfer_deps.h"

namespace gantry::services {

// The mark on descriptors that come from an archive: they are named by their annotations
// (io.containerd.image.name, org.opencontainers.image.ref.name), not by the request.
inline constexpr char kRefSourceAnnotation[] = "io.containerd.import.ref-source";

// The names under which `target` is to be stored, by containerd's rules. Empty: none fits.
absl::StatusOr<std::vector<std::string>> ImageNames(
    const containerd::types::transfer::ImageStore& store, const ImageDescriptor& target);

// Creates or updates the images; returns their names. NotFound "no image name found" when there is
// no name for `target`.
absl::StatusOr<std::vector<std::string>> SaveImage(
    const TransferJob& job, const containerd::types::transfer::ImageStore& store,
    ImageDescriptor target);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_TRANSFER_IMAGE_SAVER_H_
