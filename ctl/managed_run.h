#ifndef GANTRY_CTL_MANAGED_RUN_H_
#define GANTRY_CTL_MANAGED_RUN_H_

// `run` and `create` of containers whose life gantryd keeps up: asked for by any of the options
// below.

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/connection.h"
#include "client/container.h"
#include "ctl/args.h"
#include "ctl/managed.h"
#include "ctl/run_options.h"

namespace gantry::ctl {

std::vector<Flag> ManagedFlags();

// Reads --restart, --publish, --network, --health-*. Sets run->managed when one of them, or a
// volume with a name, is there. InvalidArgument.
absl::Status ParseManaged(const Arguments& args, RunOptions* run);

// Single values.
absl::StatusOr<life::RestartPolicy> ParseRestart(absl::string_view text);  // on-failure:3
// [[IP:][PORT]:]PORT[/PROTOCOL], ports also as FIRST-LAST.
absl::StatusOr<std::vector<gantry::services::networks::v1::PortBinding>> ParsePublish(
    absl::string_view text);

// Makes the container that `record` describes, with its volumes.
absl::Status CreateManaged(const client::Connection& connection, const RunOptions& run,
                           const client::ContainerRecord& record, const std::string& parent);
// Makes and starts it in one call, with our standard streams, and waits for its end; returns its
// exit code. One that cannot be started does not stay. Also for containers that are not `managed`,
// without detaching: they leave no log then.
absl::StatusOr<int> RunManaged(const client::Connection& connection, const RunOptions& run,
                               const client::ContainerRecord& record, const std::string& parent);

}  // namespace gantry::ctl

#endif  // GANTRY_CTL_MANAGED_RUN_H_
