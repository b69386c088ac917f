#include "services/supervisor/idle_memory.h"

#include <malloc.h>
#include <time.h>

#include "base/log.h"
#include "base/memory.h"

namespace gantry::services {
namespace {

// A few probes a second are still quiet; a release costs about a millisecond of faults.
constexpr absl::Duration kQuiet = absl::Milliseconds(15);
constexpr absl::Duration kWorthIt = absl::Milliseconds(50);

}  // namespace

bool IdleMemory::Due(absl::Duration used) {
  absl::Duration lately = used - last_;
  last_ = used;
  if (lately > kQuiet || used - released_ < kWorthIt) return false;
  released_ = used;
  return true;
}

absl::Duration ProcessorTime() {
  timespec used{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return absl::DurationFromTimespec(used);
}

void ReleaseIdleMemory() {
  malloc_trim(0);
  if (absl::Status released = base::ReleaseProgramText(); !released.ok()) {
    base::LogDebug("program text stays in memory", {{"error", released.message()}});
  }
}

}  // namespace gantry::services
