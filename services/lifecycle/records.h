#ifndef GANTRY_SERVICES_LIFECYCLE_RECORDS_H_
#define GANTRY_SERVICES_LIFECYCLE_RECORDS_H_

// Rows of the database that belong to the life cycle of containers:
//
//   ctr    ns, id      the container's record; its extension kExtension is the policy
//   lif    ns, id      gantry.metadata.v1.LifecycleRecord
//   lfn    ns, name    the id of the container that has the name

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "containerd/services/containers/v1/containers.pb.h"
#include "gantry/metadata/v1/lifecycle.pb.h"
#include "gantry/services/lifecycle/v1/lifecycle.pb.h"
#include "gantry/types/object_event.pb.h"
#include "services/metadata/db.h"

namespace gantry::services::lifecycle {

using ContainerRecord = containerd::services::containers::v1::Container;
using Record = gantry::metadata::v1::LifecycleRecord;
using Intent = gantry::metadata::v1::LifecycleIntent;

inline constexpr char kExtension[] = "gantry.lifecycle";
inline constexpr char kCreateIntent[] = "lifecycle.create";
inline constexpr char kRemoveIntent[] = "lifecycle.remove";

std::string RecordKey(absl::string_view ns, absl::string_view id);
std::string NameKey(absl::string_view ns, absl::string_view name);

// The policy as an extension's value, and back: NotFound without one, DataLoss for another type.
google::protobuf::Any PackPolicy(const v1::Policy& policy);
absl::StatusOr<v1::Policy> PolicyOf(const ContainerRecord& record);

// Takes `name` for `id`; an empty one is none. AlreadyExists with Docker's text when another
// container has it.
absl::Status TakeName(Tx& tx, absl::string_view ns, absl::string_view name, absl::string_view id);
absl::Status NameConflict(absl::string_view name, absl::string_view id);

// A row of each container that takes part, in any namespace.
struct Stored {
  std::string ns;
  ContainerRecord container;
  Record record;
};
absl::StatusOr<std::vector<Stored>> ReadAll(const Db& db);

// `KIND "container"` event "/container/ACTION" with name, image and labels of the container, and
// `more` attributes, as Docker tells of it.
gantry::types::ObjectEvent ContainerEvent(
    const v1::Container& container, absl::string_view action,
    const std::vector<std::pair<std::string, std::string>>& more = {});
// Adds it under its topic.
void AddObjectEvent(Tx& tx, absl::string_view ns, const gantry::types::ObjectEvent& event);

// The boot of the machine: changes when nothing of before can be running any more.
std::string BootId();

}  // namespace gantry::services::lifecycle

#endif  // GANTRY_SERVICES_LIFECYCLE_RECORDS_H_
