#ifndef GANTRY_CTL_DOCTOR_H_
#define GANTRY_CTL_DOCTOR_H_

#include "ctl/command.h"

namespace gantry::ctl {

// Looks at the machine and the daemon; exit code 1 when something must be done.
absl::StatusOr<int> Doctor(const Invocation& call);

}  // namespace gantry::ctl

#endif  // GANTRY_CTL_DOCTOR_H_
