#ifndef GANTRY_CTL_WHY_H_
#define GANTRY_CTL_WHY_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/json.h"
#include "ctl/command.h"
#include "gantry/services/exits/v1/exits.pb.h"

namespace gantry::ctl {

using KeptExit = gantry::services::exits::v1::KeptExit;

// `gantryctl why CONTAINER`: explains in sentences why it ended, also when it is removed.
absl::StatusOr<int> Why(const Invocation& call);

// One sentence per element: when and how, by whom, and what else speaks for a cause.
std::vector<std::string> ExplainExit(const KeptExit& exit, absl::Time now);

// What is known of the ends of a container, newest first; an array, empty when nothing is.
base::OrderedJson ExitsJson(const client::Connection& connection, const std::string& container);

}  // namespace gantry::ctl

#endif  // GANTRY_CTL_WHY_H_
