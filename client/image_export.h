#ifndef GANTRY_CLIENT_IMAGE_EXPORT_H_
#define GANTRY_CLIENT_IMAGE_EXPORT_H_

#include <vector>

#include "absl/status/status.h"
#include "client/connection.h"
#include "client/image.h"

namespace gantry::client {

// Writes a tar to `fd` that is an OCI image layout and a docker archive at once: everything of each
// image that the daemon has (manifests of other machines are left out when their blobs are not
// here). The same images give the same bytes. NotFound when this machine's blobs are incomplete.
absl::Status ExportImages(const Connection& connection, const std::vector<ImageRecord>& images,
                          int fd);

}  // namespace gantry::client

#endif  // GANTRY_CLIENT_IMAGE_EXPORT_H_
