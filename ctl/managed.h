#ifndef GANTRY_CTL_MANAGED_H_
#define GANTRY_CTL_MANAGED_H_

// Containers whose life gantryd keeps up (its Lifecycle service): what the commands do with them.

#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/json.h"
#include "client/connection.h"
#include "client/container.h"
#include "gantry/services/lifecycle/v1/lifecycle.pb.h"

namespace gantry::ctl {

namespace life = ::gantry::services::lifecycle::v1;

// Whether the container takes part.
bool IsManaged(const client::ContainerRecord& record);

absl::StatusOr<life::Container> GetManaged(const client::Connection& connection,
                                           const std::string& id);
// All of the namespace, by id. Empty where the daemon has no such service.
std::map<std::string, life::Container> ListManaged(const client::Connection& connection);
// By id, name or prefix; NotFound.
absl::StatusOr<client::ContainerRecord> FindManaged(const client::Connection& connection,
                                                    const std::string& typed);

absl::Status StopManaged(const client::Connection& connection, const std::string& id,
                         std::optional<int64_t> seconds, const std::string& signal);
absl::Status KillManaged(const client::Connection& connection, const std::string& id,
                         uint32_t signal);
absl::Status RemoveManaged(const client::Connection& connection, const std::string& id, bool force);
absl::Status PauseManaged(const client::Connection& connection, const std::string& id);
absl::Status ResumeManaged(const client::Connection& connection, const std::string& id);
absl::Status StartManaged(const client::Connection& connection, const std::string& id);

// For `inspect`: policy and state.
base::OrderedJson ManagedJson(const life::Container& container);
// "running (healthy)", "exited (3)", "restarting (1)", "created".
std::string ManagedStatus(const life::State& state);

}  // namespace gantry::ctl

#endif  // GANTRY_CTL_MANAGED_H_
