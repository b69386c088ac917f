#include "docker/containers/user_cache.h"

#include <functional>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "base/ids.h"
#include "base/status.h"
#include "client/container.h"
#include "client/lease.h"
#include "containerd/services/snapshots/v1/snapshots.methods.h"

namespace gantry::docker {
namespace {

namespace snapshots = containerd::services::snapshots::v1;
using client::ResolvedUser;

constexpr size_t kMaxKept = 4096;
constexpr absl::Duration kLeaseTime = absl::Minutes(10);

// What does not change is kept: image and text to user.
class Cache {
 public:
  bool Find(const std::string& key, ResolvedUser* user) {
    absl::MutexLock lock(&mutex_);
    auto found = users_.find(key);
    if (found == users_.end()) return false;
    *user = found->second;
    return true;
  }
  void Keep(const std::string& key, const ResolvedUser& user) {
    absl::MutexLock lock(&mutex_);
    if (users_.size() >= kMaxKept) users_.clear();
    users_[key] = user;
  }

 private:
  absl::Mutex mutex_;
  std::map<std::string, ResolvedUser> users_ ABSL_GUARDED_BY(mutex_);
};

Cache& TheCache() {
  static Cache* const cache = new Cache;
  return *cache;
}

absl::StatusOr<client::UserRequest> Parse(const std::string& user) {
  return client::ParseUser(user);
}

// In Docker's words, which say where was looked.
absl::Status Explain(const absl::Status& status, const std::string& user) {
  if (!absl::IsNotFound(status)) return status;
  bool group = absl::StrContains(status.message(), "group");
  std::pair<std::string, std::string> parts = absl::StrSplit(user, absl::MaxSplits(':', 1));
  return absl::InvalidArgumentError(group ? absl::StrCat("unable to find group ", parts.second,
                                                         ": no matching entries in group file")
                                          : absl::StrCat("unable to find user ", parts.first,
                                                         ": no matching entries in passwd file"));
}

absl::StatusOr<ResolvedUser> ResolveInView(const Context& context, const std::string& chain_id,
                                           const client::UserRequest& user) {
  GANTRY_ASSIGN_OR_RETURN(client::Lease lease, client::Lease::Create(context.gantryd, kLeaseTime));
  snapshots::ViewSnapshotRequest view;
  view.set_snapshotter(context.images.snapshotter());
  view.set_key(absl::StrCat("docker-user-", base::RandomHex(8)));
  view.set_parent(chain_id);
  snapshots::ViewSnapshotResponse viewed;
  GANTRY_RETURN_IF_ERROR(
      lease.connection().Call(snapshots::SnapshotsMethods::kView, view, &viewed));
  auto resolved = client::ResolveUserInMounts(viewed.mounts(), user);
  snapshots::RemoveSnapshotRequest remove;
  remove.set_snapshotter(view.snapshotter());
  remove.set_key(view.key());
  google::protobuf::Empty nothing;
  // What stays goes with its lease.
  lease.connection().Call(snapshots::SnapshotsMethods::kRemove, remove, &nothing).IgnoreError();
  return resolved;
}

}  // namespace

absl::StatusOr<ResolvedUser> ResolveImageUser(const Context& context, const std::string& chain_id,
                                              const std::string& user) {
  GANTRY_ASSIGN_OR_RETURN(client::UserRequest request, Parse(user));
  ResolvedUser resolved;
  if (chain_id.empty()) {
    // An image without layers has no files that could say anything.
    if (!request.user.empty() || !request.group.empty()) {
      return Explain(absl::NotFoundError("no files"), user);
    }
    resolved.uid = request.uid;
    resolved.gid = request.gid;
    resolved.additional_gids = {request.gid};
    return resolved;
  }
  std::string key = absl::StrCat(chain_id, " ", user);
  if (TheCache().Find(key, &resolved)) return resolved;
  auto found = ResolveInView(context, chain_id, request);
  if (!found.ok()) return Explain(found.status(), user);
  TheCache().Keep(key, *found);
  return found;
}

absl::StatusOr<ResolvedUser> ResolveSnapshotUser(const Context& context,
                                                 const std::string& snapshotter,
                                                 const std::string& snapshot,
                                                 const std::string& user) {
  GANTRY_ASSIGN_OR_RETURN(client::UserRequest request, Parse(user));
  snapshots::MountsRequest mounts;
  mounts.set_snapshotter(snapshotter);
  mounts.set_key(snapshot);
  snapshots::MountsResponse answer;
  GANTRY_RETURN_IF_ERROR(
      context.gantryd.Call(snapshots::SnapshotsMethods::kMounts, mounts, &answer));
  auto resolved = client::ResolveUserInMounts(answer.mounts(), request);
  return resolved.ok() ? resolved : Explain(resolved.status(), user);
}

absl::Status AddGroups(
    const std::vector<std::string>& groups,
    const std::function<absl::StatusOr<ResolvedUser>(const std::string& user)>& resolve,
    ResolvedUser* user) {
  for (const std::string& group : groups) {
    auto resolved = resolve(absl::StrCat("0:", group));
    if (!resolved.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("Unable to find group ", group));
    }
    user->additional_gids.push_back(resolved->gid);
  }
  return absl::OkStatus();
}

}  // namespace gantry::docker
