#ifndef GANTRY_CLIENT_IMAGE_EXPORT_H_
#define GANTRY_CLIENT_IMAGE_EXPORT_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/archive/byte_sink.h"
#include "client/connection.h"
#include "client/image.h"

namespace gantry::client {

// Writes a tar to `fd` that is an OCI image layout and a docker archive at once: everything of each
// image that the daemon has (manifests of other machines are left out when their blobs are not
// here). The same images give the same bytes. NotFound when this machine's blobs are incomplete.
absl::Status ExportImages(const Connection& connection, const std::vector<ImageRecord>& images,
                          int fd);

// An image with any number of names (none: only by its digest).
struct ExportedImage {
  Descriptor target;
  std::vector<std::string> names;  // full ones
};
// The same to a sink. `familiar`: in the docker archive's part, names are as Docker shows them.
absl::Status ExportImages(const Connection& connection, const std::vector<ExportedImage>& images,
                          bool familiar, const archive::ByteSink& sink);

}  // namespace gantry::client

#endif  // GANTRY_CLIENT_IMAGE_EXPORT_H_
