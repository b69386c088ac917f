#ifndef GANTRY_SERVICES_TRANSFER_IMPORTER_H_
#define GANTRY_SERVICES_TRANSFER_IMPORTER_H_

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "containerd/types/transfer/imagestore.pb.h"
#include "services/registry/image.h"
#include "services/transfer/transfer_deps.h"

namespace gantry::services {

// Reads a tar of images (an OCI layout, or what `docker save` writes; plain, gzip or zstd), pushed
// in pieces, into the content store.
class ArchiveImporter {
 public:
  // `force_compress`: layers that are not compressed are stored as gzip.
  static std::unique_ptr<ArchiveImporter> Create(const TransferJob& job, bool force_compress);
  virtual ~ArchiveImporter() = default;

  virtual absl::Status Write(absl::string_view data) = 0;
  // The archive has ended. Returns its index: the one that it has, or one that is made of what
  // docker's manifest.json says, with the names as annotations. InvalidArgument "unrecognized image
  // format" when it has neither.
  virtual absl::StatusOr<ImageDescriptor> Finish() = 0;
};

// `read` pushes the whole archive into the sink that it is given. Stores all images of the archive
// under the names that `store` asks for, and unpacks them.
absl::Status ImportImages(
    const TransferJob& job, bool force_compress,
    const std::function<absl::Status(std::function<absl::Status(absl::string_view)>)>& read,
    const containerd::types::transfer::ImageStore& store);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_TRANSFER_IMPORTER_H_
