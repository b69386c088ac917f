#include "ctl/image_source.h"

#include "absl/cleanup/cleanup.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/json.h"
#include "base/status.h"
#include "client/container.h"
#include "client/lease.h"
#include "containerd/services/snapshots/v1/snapshots.methods.h"
#include "ctl/pull.h"

namespace gantry::ctl {
namespace {

namespace snapshots = containerd::services::snapshots::v1;

// Everything in it is named by the digest of the image and true for ever; a reboot empties it.
constexpr char kCacheDir[] = "/run/gantryctl/cache";
constexpr size_t kMaxCacheFile = 1u << 20;

std::string CachePath(const base::Digest& target, const std::string& snapshotter,
                      const std::string& user) {
  // Hexadecimal: whatever the name of the user is, it is one file name here.
  return absl::StrCat(kCacheDir, "/", target.hex(), "-",
                      absl::BytesToHexString(absl::StrCat(snapshotter, "/", user).substr(0, 60)));
}

base::Json ToJson(const RunnableImage& image) {
  const client::ImageConfig& c = image.config;
  return {
      {"entrypoint", c.entrypoint}, {"cmd", c.cmd},          {"env", c.env},
      {"workdir", c.working_dir},   {"stop", c.stop_signal}, {"chain", image.chain_id},
      {"uid", image.user.uid},      {"gid", image.user.gid}, {"gids", image.user.additional_gids}};
}

std::vector<std::string> Strings(const base::Json& list) {
  std::vector<std::string> out;
  for (const base::Json& item : list) {
    if (item.is_string()) out.push_back(item.get<std::string>());
  }
  return out;
}

bool Recall(const std::string& path, RunnableImage* image) {
  auto text = base::ReadFile(path, kMaxCacheFile);
  if (!text.ok()) return false;
  auto json = base::ParseJson(*text);
  if (!json.ok() || !base::JsonAt(*json, "gids").is_array()) return false;
  client::ImageConfig& c = image->config;
  c.entrypoint = Strings(base::JsonAt(*json, "entrypoint"));
  c.cmd = Strings(base::JsonAt(*json, "cmd"));
  c.env = Strings(base::JsonAt(*json, "env"));
  c.working_dir = base::JsonString(*json, "workdir");
  c.stop_signal = base::JsonString(*json, "stop");
  image->chain_id = base::JsonString(*json, "chain");
  image->user.uid = static_cast<uint32_t>(base::JsonInt(*json, "uid"));
  image->user.gid = static_cast<uint32_t>(base::JsonInt(*json, "gid"));
  for (const base::Json& gid : base::JsonAt(*json, "gids")) {
    if (gid.is_number_unsigned()) image->user.additional_gids.push_back(gid.get<uint32_t>());
  }
  return true;
}

void Remember(const std::string& path, const RunnableImage& image) {
  // Without the cache everything works, a little later.
  if (!base::EnsurePrivateDir(kCacheDir).ok()) return;
  (void)base::ReplaceFile(path, base::DumpJson(ToJson(image)));
}

// Reads the image's user database through a view of its layers.
absl::StatusOr<client::ResolvedUser> LookUpUser(const client::Connection& connection,
                                                const std::string& snapshotter,
                                                const std::string& chain_id,
                                                const client::UserRequest& user) {
  snapshots::ViewSnapshotRequest request;
  request.set_snapshotter(snapshotter);
  request.set_key(absl::StrCat("gantryctl-user-", base::RandomHex(8)));
  request.set_parent(chain_id);
  snapshots::ViewSnapshotResponse response;
  GANTRY_RETURN_IF_ERROR(connection.Call(snapshots::SnapshotsMethods::kView, request, &response));
  absl::Cleanup remove = [&] {
    snapshots::RemoveSnapshotRequest gone;
    gone.set_snapshotter(snapshotter);
    gone.set_key(request.key());
    google::protobuf::Empty nothing;
    // Best effort: the lease's end frees it.
    (void)connection.Call(snapshots::SnapshotsMethods::kRemove, gone, &nothing);
  };
  return client::ResolveUserInMounts(response.mounts(), user);
}

absl::Status FillIn(const client::Connection& connection, const client::ImageRecord& record,
                    const std::string& snapshotter, const std::string& user, RunnableImage* image) {
  GANTRY_ASSIGN_OR_RETURN(client::Lease lease, client::Lease::Create(connection));
  GANTRY_ASSIGN_OR_RETURN(client::ResolvedImage resolved,
                          client::ResolveImage(lease.connection(), record));
  GANTRY_RETURN_IF_ERROR(client::UnpackImage(lease.connection(), resolved, snapshotter));
  image->config = resolved.config;
  image->chain_id = resolved.chain_id;
  GANTRY_ASSIGN_OR_RETURN(client::UserRequest request,
                          client::ParseUser(user.empty() ? resolved.config.user : user));
  GANTRY_ASSIGN_OR_RETURN(image->user,
                          LookUpUser(lease.connection(), snapshotter, resolved.chain_id, request));
  return absl::OkStatus();
}

absl::StatusOr<client::ImageRecord> FindOrPull(const client::Connection& connection,
                                               const std::string& typed, const std::string& policy,
                                               const std::string& snapshotter) {
  if (policy != "always") {
    auto found = client::FindImage(connection, typed);
    if (found.ok() || !absl::IsNotFound(found.status()) || policy == "never") return found;
  }
  GANTRY_RETURN_IF_ERROR(PullImage(connection, client::NormalizeReference(typed), {snapshotter}));
  return client::FindImage(connection, typed);
}

}  // namespace

absl::StatusOr<RunnableImage> GetRunnableImage(const client::Connection& connection,
                                               const std::string& typed, const std::string& policy,
                                               const std::string& snapshotter,
                                               const std::string& user, bool verify) {
  GANTRY_ASSIGN_OR_RETURN(client::ImageRecord record,
                          FindOrPull(connection, typed, policy, snapshotter));
  GANTRY_ASSIGN_OR_RETURN(base::Digest target, base::Digest::Parse(record.target().digest()));
  RunnableImage image;
  image.name = record.name();
  std::string path = CachePath(target, snapshotter, user);
  if (!verify && Recall(path, &image)) return image;
  GANTRY_RETURN_IF_ERROR(FillIn(connection, record, snapshotter, user, &image));
  Remember(path, image);
  return image;
}

}  // namespace gantry::ctl
