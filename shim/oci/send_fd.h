#ifndef GANTRY_SHIM_OCI_SEND_FD_H_
#define GANTRY_SHIM_OCI_SEND_FD_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace gantry::oci {

// Connects to the unix stream socket at `path` and sends `payload` (not empty) with the descriptor
// `fd`, which stays the caller's. InvalidArgument for a path that is too long.
absl::Status SendFd(const std::string& path, absl::string_view payload, int fd);

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_SEND_FD_H_
