#ifndef GANTRY_CTL_FSCK_H_
#define GANTRY_CTL_FSCK_H_

#include "absl/status/statusor.h"
#include "ctl/command.h"

namespace gantry::ctl {

// `gantryctl fsck [--repair] [--verify] [--young]`: prints what the daemon's check counted and
// found. 0: all in order or mended; 1: something is left.
absl::StatusOr<int> Fsck(const Invocation& call);

}  // namespace gantry::ctl

#endif  // GANTRY_CTL_FSCK_H_
