#ifndef GANTRY_SHIM_SHA256_H_
#define GANTRY_SHIM_SHA256_H_

#include <string>

#include "absl/strings/string_view.h"

namespace gantry::shim {

// The sha256 of `data` as 64 lower-case hex digits (FIPS 180-4). For the name of a socket: a static
// libcrypto would triple the shim.
std::string Sha256Hex(absl::string_view data);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_SHA256_H_
