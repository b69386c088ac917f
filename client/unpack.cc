#include "absl/strings/str_cat.h"
#include "base/ids.h"
#include "base/status.h"
#include "client/image.h"
#include "containerd/services/content/v1/content.methods.h"
#include "containerd/services/diff/v1/diff.methods.h"
#include "containerd/services/snapshots/v1/snapshots.methods.h"

namespace gantry::client {
namespace {

namespace snapshots = containerd::services::snapshots::v1;
namespace diffs = containerd::services::diff::v1;
namespace contents = containerd::services::content::v1;

absl::Status Stat(const Connection& connection, const std::string& snapshotter,
                  const std::string& key) {
  snapshots::StatSnapshotRequest request;
  request.set_snapshotter(snapshotter);
  request.set_key(key);
  snapshots::StatSnapshotResponse response;
  return connection.Call(snapshots::SnapshotsMethods::kStat, request, &response);
}

void RemoveSnapshot(const Connection& connection, const std::string& snapshotter,
                    const std::string& key) {
  snapshots::RemoveSnapshotRequest request;
  request.set_snapshotter(snapshotter);
  request.set_key(key);
  google::protobuf::Empty nothing;
  // Best effort: without an owner the collector takes it.
  (void)connection.Call(snapshots::SnapshotsMethods::kRemove, request, &nothing);
}

absl::Status ApplyLayer(const Connection& connection, const Descriptor& layer,
                        const base::Digest& diff_id,
                        const snapshots::PrepareSnapshotResponse& prepared) {
  diffs::ApplyRequest request;
  request.mutable_diff()->set_media_type(layer.media_type);
  request.mutable_diff()->set_digest(layer.digest.str());
  request.mutable_diff()->set_size(layer.size);
  *request.mutable_mounts() = prepared.mounts();
  diffs::ApplyResponse response;
  GANTRY_RETURN_IF_ERROR(connection.Call(diffs::DiffMethods::kApply, request, &response));
  if (response.applied().digest() != diff_id.str()) {
    return absl::DataLossError(absl::StrCat("layer ", layer.digest.str(), " unpacks to ",
                                            response.applied().digest(),
                                            ", the image's configuration says ", diff_id.str()));
  }
  return absl::OkStatus();
}

absl::Status UnpackLayer(const Connection& connection, const std::string& snapshotter,
                         const Descriptor& layer, const base::Digest& diff_id,
                         const std::string& parent, const std::string& chain_id) {
  snapshots::PrepareSnapshotRequest prepare;
  prepare.set_snapshotter(snapshotter);
  prepare.set_key(absl::StrCat("extract-", base::RandomHex(8), " ", chain_id));
  prepare.set_parent(parent);
  snapshots::PrepareSnapshotResponse prepared;
  GANTRY_RETURN_IF_ERROR(
      connection.Call(snapshots::SnapshotsMethods::kPrepare, prepare, &prepared));
  absl::Status status = ApplyLayer(connection, layer, diff_id, prepared);
  if (status.ok()) {
    snapshots::CommitSnapshotRequest commit;
    commit.set_snapshotter(snapshotter);
    commit.set_name(chain_id);
    commit.set_key(prepare.key());
    google::protobuf::Empty nothing;
    status = connection.Call(snapshots::SnapshotsMethods::kCommit, commit, &nothing);
    if (status.ok()) return status;
  }
  RemoveSnapshot(connection, snapshotter, prepare.key());
  // Somebody else unpacked the same layer meanwhile.
  if (absl::IsAlreadyExists(status)) return absl::OkStatus();
  return base::Annotate(status, absl::StrCat("unpack layer ", layer.digest.str()));
}

// The configuration's blob keeps the snapshot alive: that is how containerd's collector finds it.
absl::Status LinkSnapshot(const Connection& connection, const ResolvedImage& image,
                          const std::string& snapshotter) {
  std::string key = absl::StrCat("containerd.io/gc.ref.snapshot.", snapshotter);
  contents::UpdateRequest request;
  request.mutable_info()->set_digest(image.manifest.config.digest.str());
  (*request.mutable_info()->mutable_labels())[key] = image.chain_id;
  request.mutable_update_mask()->add_paths(absl::StrCat("labels.", key));
  contents::UpdateResponse response;
  return connection.Call(contents::ContentMethods::kUpdate, request, &response);
}

}  // namespace

absl::Status UnpackImage(const Connection& connection, const ResolvedImage& image,
                         const std::string& snapshotter,
                         const std::function<void(const Descriptor&)>& progress) {
  if (image.chain_id.empty()) return absl::OkStatus();
  std::vector<std::string> chain = ChainIds(image.config.diff_ids);
  std::string parent;
  for (size_t i = 0; i < chain.size(); ++i) {
    absl::Status there = Stat(connection, snapshotter, chain[i]);
    if (absl::IsNotFound(there)) {
      there = UnpackLayer(connection, snapshotter, image.manifest.layers[i],
                          image.config.diff_ids[i], parent, chain[i]);
    }
    GANTRY_RETURN_IF_ERROR(there);
    if (progress) progress(image.manifest.layers[i]);
    parent = chain[i];
  }
  return LinkSnapshot(connection, image, snapshotter);
}

}  // namespace gantry::client
