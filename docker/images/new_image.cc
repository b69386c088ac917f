#include "docker/images/new_image.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/archive/compression.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/status.h"
#include "client/content.h"
#include "containerd/services/diff/v1/diff.methods.h"
#include "containerd/services/snapshots/v1/snapshots.methods.h"

namespace gantry::docker {
namespace {

namespace diffs = containerd::services::diff::v1;
namespace snapshots = containerd::services::snapshots::v1;
using base::Json;

constexpr char kManifest[] = "application/vnd.docker.distribution.manifest.v2+json";
constexpr char kConfig[] = "application/vnd.docker.container.image.v1+json";

Json DescriptorJson(absl::string_view type, const base::Digest& digest, int64_t size) {
  return {{"mediaType", std::string(type)}, {"digest", digest.str()}, {"size", size}};
}

// The types of the two families must not be mixed.
std::string DockerLayerType(const std::string& type) {
  if (absl::EndsWith(type, "gzip")) return "application/vnd.docker.image.rootfs.diff.tar.gzip";
  if (absl::EndsWith(type, "zstd")) return "application/vnd.docker.image.rootfs.diff.tar.zstd";
  return "application/vnd.docker.image.rootfs.diff.tar";
}

}  // namespace

absl::StatusOr<std::string> LayerMediaType(absl::string_view head) {
  if (absl::StartsWith(head, "BZh") || absl::StartsWith(head, absl::string_view("\xfd"
                                                                                "7zXZ",
                                                                                5))) {
    return absl::InvalidArgumentError(
        "the archive is compressed with bzip2 or xz: unpack it before, or compress it with gzip or "
        "zstd");
  }
  switch (archive::DetectCompression(head)) {
    case archive::Compression::kGzip:
      return "application/vnd.oci.image.layer.v1.tar+gzip";
    case archive::Compression::kZstd:
      return "application/vnd.oci.image.layer.v1.tar+zstd";
    default:
      return "application/vnd.oci.image.layer.v1.tar";
  }
}

absl::StatusOr<base::Digest> UnpackNewLayer(const client::Connection& connection,
                                            const std::string& snapshotter,
                                            const client::Descriptor& layer,
                                            const std::string& parent) {
  snapshots::PrepareSnapshotRequest prepare;
  prepare.set_snapshotter(snapshotter);
  prepare.set_key(absl::StrCat("extract-", base::RandomHex(8), " import"));
  prepare.set_parent(parent);
  snapshots::PrepareSnapshotResponse prepared;
  GANTRY_RETURN_IF_ERROR(
      connection.Call(snapshots::SnapshotsMethods::kPrepare, prepare, &prepared));
  diffs::ApplyRequest apply;
  apply.mutable_diff()->set_media_type(layer.media_type);
  apply.mutable_diff()->set_digest(layer.digest.str());
  apply.mutable_diff()->set_size(layer.size);
  *apply.mutable_mounts() = prepared.mounts();
  diffs::ApplyResponse applied;
  absl::Status status = connection.Call(diffs::DiffMethods::kApply, apply, &applied);
  base::Digest diff_id;
  if (status.ok()) {
    auto parsed = base::Digest::Parse(applied.applied().digest());
    status = parsed.status();
    if (parsed.ok()) diff_id = *parsed;
  }
  google::protobuf::Empty nothing;
  if (status.ok()) {
    snapshots::CommitSnapshotRequest commit;
    commit.set_snapshotter(snapshotter);
    commit.set_key(prepare.key());
    commit.set_name(parent.empty()
                        ? diff_id.str()
                        : base::DigestOf(absl::StrCat(parent, " ", diff_id.str())).str());
    status = connection.Call(snapshots::SnapshotsMethods::kCommit, commit, &nothing);
    if (status.ok()) return diff_id;
  }
  snapshots::RemoveSnapshotRequest remove;
  remove.set_snapshotter(snapshotter);
  remove.set_key(prepare.key());
  // Best effort: without an owner the collector takes it.
  (void)connection.Call(snapshots::SnapshotsMethods::kRemove, remove, &nothing);
  if (absl::IsAlreadyExists(status)) return diff_id;
  return status;
}

absl::StatusOr<client::Descriptor> WriteImage(const client::Connection& connection,
                                              const std::string& snapshotter, const Json& config,
                                              const std::vector<client::Descriptor>& layers,
                                              const std::string& chain_id) {
  const std::string config_text = base::DumpJson(config);
  const base::Digest config_digest = base::DigestOf(config_text);
  std::map<std::string, std::string> config_labels;
  if (!chain_id.empty()) {
    config_labels[absl::StrCat("containerd.io/gc.ref.snapshot.", snapshotter)] = chain_id;
  }
  GANTRY_RETURN_IF_ERROR(client::WriteBlob(connection, config_text, config_digest, config_labels));
  Json layer_list = Json::array();
  std::map<std::string, std::string> labels = {
      {"containerd.io/gc.ref.content.config", config_digest.str()}};
  for (size_t i = 0; i < layers.size(); ++i) {
    layer_list.push_back(
        DescriptorJson(DockerLayerType(layers[i].media_type), layers[i].digest, layers[i].size));
    labels[absl::StrCat("containerd.io/gc.ref.content.l.", i)] = layers[i].digest.str();
  }
  const std::string manifest = base::DumpJson(
      {{"schemaVersion", 2},
       {"mediaType", kManifest},
       {"config", DescriptorJson(kConfig, config_digest, static_cast<int64_t>(config_text.size()))},
       {"layers", layer_list}});
  client::Descriptor target;
  target.media_type = kManifest;
  target.digest = base::DigestOf(manifest);
  target.size = static_cast<int64_t>(manifest.size());
  GANTRY_RETURN_IF_ERROR(client::WriteBlob(connection, manifest, target.digest, labels));
  return target;
}

Json NewImageConfig(const std::vector<base::Digest>& diff_ids, absl::Time created) {
  Json ids = Json::array();
  for (const base::Digest& id : diff_ids) ids.push_back(id.str());
  return {{"architecture", client::MachineArchitecture()},
          {"os", "linux"},
          {"created", base::FormatRfc3339(created)},
          {"docker_version", ""},
          {"config", Json::object()},
          {"rootfs", {{"type", "layers"}, {"diff_ids", ids}}},
          {"history", Json::array()}};
}

}  // namespace gantry::docker
