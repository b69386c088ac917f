#ifndef GANTRY_BASE_MEMORY_H_
#define GANTRY_BASE_MEMORY_H_

#include "absl/status/status.h"

namespace gantry::base {

// Gives back the pages of program text that only starting up needed: what is used again is mapped
// again from the page cache, which costs a minor fault. Touches executable mappings of files only,
// whose pages are never modified. Any thread; call it once when a long-lived program is up.
absl::Status ReleaseProgramText();

}  // namespace gantry::base

#endif  // GANTRY_BASE_MEMORY_H_
