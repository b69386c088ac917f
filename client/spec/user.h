#ifndef GANTRY_CLIENT_SPEC_USER_H_
#define GANTRY_CLIENT_SPEC_USER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry::client {

struct ResolvedUser {
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::vector<uint32_t> additional_gids;  // the primary group first
};

// "", user, uid, user:group, uid:gid, … of an image's configuration or of --user.
struct UserRequest {
  std::string user;   // name, or empty when by number
  std::string group;  // name, or empty when by number or absent
  uint32_t uid = 0;
  uint32_t gid = 0;
  bool has_group = false;
};

// InvalidArgument for anything that looks like a number and is none from 0 to 2^31-1: such text is
// never taken for a name, which an image could define (CVE-2024-40635, CVE-2026-46680).
absl::StatusOr<UserRequest> ParseUser(absl::string_view text);

// Looks `request` up in the /etc/passwd and /etc/group beneath `root_fd`, both opened inside the
// root, regular files only, and at most 1 MiB (CVE-2026-47262: FailedPrecondition or
// ResourceExhausted; never blocks). Missing files are as empty ones. NotFound for a name that is
// not there. Additional groups are those that name the user as a member.
absl::StatusOr<ResolvedUser> ResolveUser(int root_fd, const UserRequest& request);

}  // namespace gantry::client

#endif  // GANTRY_CLIENT_SPEC_USER_H_
