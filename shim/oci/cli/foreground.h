#ifndef GANTRY_SHIM_OCI_CLI_FOREGROUND_H_
#define GANTRY_SHIM_OCI_CLI_FOREGROUND_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "shim/oci/container.h"

namespace gantry::oci {

// Blocks the signals that Attend forwards; call it before the process is made.
absl::Status BlockSignals();

// Stays until the process has ended and returns its status (128 + signal). Passes signals on to it;
// with a console, copies between it and our own terminal in raw mode.
absl::StatusOr<int> Attend(CreatedProcess process);

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_CLI_FOREGROUND_H_
