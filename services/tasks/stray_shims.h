#ifndef GANTRY_SERVICES_TASKS_STRAY_SHIMS_H_
#define GANTRY_SERVICES_TASKS_STRAY_SHIMS_H_

#include <set>
#include <string>

#include "absl/time/time.h"

namespace gantry::services {

// Asks every shim that listens in `dir` (of sockets, ours alone; it need not exist) to end, but for
// those whose socket's path is in `known`, and removes sockets that nobody listens on. A crash
// between the start of a shim and the note of its address leaves such a shim. One that holds a
// task refuses and is kept, with a warning. Waits `timeout` for each at most.
void EndStrayShims(const std::string& dir, const std::set<std::string>& known,
                   absl::Duration timeout);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_TASKS_STRAY_SHIMS_H_
