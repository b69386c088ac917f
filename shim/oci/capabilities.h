#ifndef GANTRY_SHIM_OCI_CAPABILITIES_H_
#define GANTRY_SHIM_OCI_CAPABILITIES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace gantry::oci {

// The number of "CAP_CHOWN" (upper case, with prefix, as the specification writes them).
std::optional<int> CapabilityByName(absl::string_view name);
std::vector<std::string> CapabilityNames();

// The capabilities that this process may hand on: its permitted set (capget(2)).
uint64_t PermittedCapabilities();

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_CAPABILITIES_H_
