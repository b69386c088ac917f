#ifndef GANTRY_BASE_IDS_H_
#define GANTRY_BASE_IDS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include "absl/strings/string_view.h"

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace gantry::base {

// `bytes` random bytes of the kernel's generator as 2*`bytes` lower-case hex digits.
std::string RandomHex(size_t bytes);

// containerd's rule for identifiers (namespaces, containers, leases, snapshots' owners, exec ids):
// 1 to 76 characters, [A-Za-z0-9]+ joined by single '.', '-' or '_'. InvalidArgument with the text
// containerd gives otherwise.
absl::Status ValidateIdentifier(absl::string_view id);

// An unsigned decimal number and nothing else: no sign, no space, no prefix, no overflow beyond
// `max`. For uids, gids and everything else an attacker may shape (CVE-2026-30892, CVE-2024-40635).
absl::StatusOr<uint64_t> ParseDecimal(absl::string_view text, uint64_t max);

}  // namespace gantry::base

#endif  // GANTRY_BASE_IDS_H_
