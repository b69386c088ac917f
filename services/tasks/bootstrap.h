#ifndef GANTRY_SERVICES_TASKS_BOOTSTRAP_H_
#define GANTRY_SERVICES_TASKS_BOOTSTRAP_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/tasks/bundle.h"
#include "services/tasks/shim.h"

namespace gantry::services {

// What a shim printed on `start`: {"version":3,"address":"unix:///…","protocol":"ttrpc"}, or, from
// shims for containerd 1.6, the bare address (version 2, ttrpc). FailedPrecondition for something
// that is neither, Unimplemented for versions above 3 and for protocols other than ttrpc. Addresses
// must be paths of unix sockets.
absl::StatusOr<ShimBootstrap> ParseBootstrap(absl::string_view output);

// bootstrap.json in the bundle. Written before the shim is asked for anything: of one that a crash
// left half written the shim holds no task.
absl::Status WriteBootstrap(const Bundle& bundle, const ShimBootstrap& bootstrap);
// The same; falls back to the file `address` of shims for containerd 1.6. NotFound without either.
absl::StatusOr<ShimBootstrap> ReadBootstrap(const Bundle& bundle);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_TASKS_BOOTSTRAP_H_
