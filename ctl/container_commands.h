#ifndef GANTRY_CTL_CONTAINER_COMMANDS_H_
#define GANTRY_CTL_CONTAINER_COMMANDS_H_

#include <vector>

#include "absl/status/status.h"
#include "client/container.h"
#include "ctl/command.h"

namespace gantry::ctl {

// The rest of the table's containers group.
std::vector<Command> ProcessCommands();
std::vector<Command> LogCommands();
std::vector<Command> StatsCommands();

// Task, record, snapshot, fifos and log. FailedPrecondition with what to do for a running one
// unless `force`, which kills it first.
absl::Status RemoveContainer(const client::Connection& connection,
                             const client::ContainerRecord& record, bool force);

}  // namespace gantry::ctl

#endif  // GANTRY_CTL_CONTAINER_COMMANDS_H_
