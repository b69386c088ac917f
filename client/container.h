#ifndef GANTRY_CLIENT_CONTAINER_H_
#define GANTRY_CLIENT_CONTAINER_H_

// Containers: records, their root snapshots, and the names people give them.

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/json.h"
#include "base/mount.h"
#include "client/connection.h"
#include "client/spec/user.h"
#include "containerd/services/containers/v1/containers.pb.h"
#include "containerd/types/mount.pb.h"
#include "google/protobuf/repeated_field.h"

namespace gantry::client {

using ContainerRecord = ::containerd::services::containers::v1::Container;
using MountList = google::protobuf::RepeatedPtrField<::containerd::types::Mount>;

// A container's name as given by --name.
inline constexpr char kNameLabel[] = "gantry/name";
// Where its output goes when nobody is attached (a URI for the shim).
inline constexpr char kLogLabel[] = "gantry/log";

// Makes the record and its writable snapshot, both at the same time. On failure neither is left.
// The mounts of the root file system go to `mounts`. With an empty `parent` the snapshot starts
// empty.
absl::Status CreateContainer(const Connection& connection, const ContainerRecord& record,
                             const std::string& parent, MountList* mounts);

// Removes record and snapshot, at the same time. What is gone already is no error.
absl::Status DeleteContainer(const Connection& connection, const ContainerRecord& record);

// By id, unique prefix of an id, or name. NotFound; FailedPrecondition when several match.
absl::StatusOr<ContainerRecord> FindContainer(const Connection& connection,
                                              absl::string_view typed);
// Those that match one of `filters` (of the containers service); all without filters.
absl::StatusOr<std::vector<ContainerRecord>> ListContainers(
    const Connection& connection, const std::vector<std::string>& filters = {});
// Those whose id or name is exactly `name`.
absl::StatusOr<std::vector<ContainerRecord>> ContainersNamed(const Connection& connection,
                                                             absl::string_view name);

// The specification in a record.
absl::StatusOr<base::Json> ContainerSpec(const ContainerRecord& record);
std::string ContainerName(const ContainerRecord& record);  // empty when it has none

// The user as the files in a root file system define it, which is mounted read-only for the moment
// where need be. The mounts must be of this machine.
absl::StatusOr<ResolvedUser> ResolveUserInMounts(const MountList& mounts, const UserRequest& user);

}  // namespace gantry::client

#endif  // GANTRY_CLIENT_CONTAINER_H_
