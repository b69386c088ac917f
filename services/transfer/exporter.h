#ifndef GANTRY_SERVICES_TRANSFER_EXPORTER_H_
#define GANTRY_SERVICES_TRANSFER_EXPORTER_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "containerd/types/transfer/importexport.pb.h"
#include "services/transfer/transfer_deps.h"

namespace gantry::services {

// Writes the named images as one tar that is an OCI layout and, unless the request says otherwise,
// also what `docker load` reads (manifest.json). Blobs are verified while they are copied
// (DataLoss). Without platforms in the request: those that run here. The same images give the same
// bytes.
absl::Status ExportImages(const TransferJob& job, const std::vector<std::string>& names,
                          const containerd::types::transfer::ImageExportStream& request,
                          const std::function<absl::Status(absl::string_view)>& sink);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_TRANSFER_EXPORTER_H_
