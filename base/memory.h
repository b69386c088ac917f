#ifndef GANTRY_BASE_MEMORY_H_
#define GANTRY_BASE_MEMORY_H_

#include "absl/status/status.h"

namespace gantry::base {

// Gives back the pages of program text and constants: what is used again is mapped again from the
// page cache, which costs a minor fault. Touches read-only mappings of files only, and none in
// which a page was ever modified (relocations). Any thread; meant for a long-lived program that is
// up, or quiet again.
absl::Status ReleaseProgramText();

}  // namespace gantry::base

#endif  // GANTRY_BASE_MEMORY_H_
