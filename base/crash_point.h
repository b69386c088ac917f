#ifndef GANTRY_BASE_CRASH_POINT_H_
#define GANTRY_BASE_CRASH_POINT_H_

#include "absl/strings/string_view.h"

namespace gantry::base {

// For the tests of recovery: a place between two steps of an operation. The process is killed there
// with SIGKILL when the environment variable GANTRY_CRASH_POINT has this name at its start;
// "NAME:N" waits for the N-th time. Costs one comparison otherwise. Names: OPERATION.STEP-DONE.
void CrashPoint(absl::string_view name);

}  // namespace gantry::base

#endif  // GANTRY_BASE_CRASH_POINT_H_
