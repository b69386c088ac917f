#ifndef GANTRY_DOCKER_CONTAINERS_USER_CACHE_H_
#define GANTRY_DOCKER_CONTAINERS_USER_CACHE_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/spec/user.h"
#include "docker/engine/context.h"

namespace gantry::docker {

// Who `user` ("", "name", "1000:mail") is in the image whose layers unpack to `chain_id`, by its
// own passwd and group files; what was found once is remembered, as layers do not change. NotFound
// with Docker's words for a name that is not there.
absl::StatusOr<client::ResolvedUser> ResolveImageUser(const Context& context,
                                                      const std::string& chain_id,
                                                      const std::string& user);

// The same in the root file system of a container as it is now.
absl::StatusOr<client::ResolvedUser> ResolveSnapshotUser(const Context& context,
                                                         const std::string& snapshotter,
                                                         const std::string& key,
                                                         const std::string& user);

// Adds the groups of --group-add, by name or number. InvalidArgument "Unable to find group x".
absl::Status AddGroups(
    const std::vector<std::string>& groups,
    const std::function<absl::StatusOr<client::ResolvedUser>(const std::string& user)>& resolve,
    client::ResolvedUser* user);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_CONTAINERS_USER_CACHE_H_
