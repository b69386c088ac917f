#include "services/transfer/image_unpacker.h"

#include <fcntl.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/crash_point.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/status.h"
#include "services/content/content_store.h"
#include "services/diff/apply_target.h"
#include "services/diff/inherit.h"
#include "services/metadata/lease_store.h"
#include "services/snapshots/snapshots.h"

namespace gantry::services {
namespace {

constexpr char kRefLabel[] = "containerd.io/snapshot.ref";
constexpr size_t kReadSize = 1u << 20;

std::vector<std::string> LowerDirs(const std::vector<base::Mount>& mounts) {
  for (const base::Mount& mount : mounts) {
    for (absl::string_view option : mount.options) {
      if (absl::ConsumePrefix(&option, "lowerdir=")) {
        return absl::StrSplit(option, ':', absl::SkipEmpty());
      }
    }
  }
  return {};
}

}  // namespace

ImageUnpacker::ImageUnpacker(const TransferJob& job, const TreeImage& image,
                             std::string snapshotter)
    : job_(job), image_(image), snapshotter_(std::move(snapshotter)) {}

ImageUnpacker::~ImageUnpacker() {
  for (Layer& layer : layers_) {
    if (layer.key.empty()) continue;
    absl::Status status = job_.deps->snapshots->Remove(job_.ctx, snapshotter_, layer.key);
    if (!status.ok() && !absl::IsNotFound(status)) {
      base::LogWarn("cannot remove unfinished snapshot; the collector will",
                    {{"key", layer.key}, {"error", status.message()}});
    }
  }
}

BlobLabels ImageUnpacker::SnapshotLabels(size_t i) const {
  BlobLabels labels = {{kRefLabel, layers_[i].chain_id.str()}};
  for (const auto& [key, value] : image_.manifest.layers[i].annotations) {
    if (absl::StartsWith(key, "containerd.io/snapshot/")) labels[key] = value;
  }
  return labels;
}

// Puts the lease on the committed snapshot first, then looks: so it cannot vanish in between.
absl::StatusOr<bool> ImageUnpacker::Claim(size_t i) {
  const std::string chain_id = layers_[i].chain_id.str();
  LeaseStore::Resource resource;
  resource.set_type(LeaseSnapshots(snapshotter_));
  resource.set_id(chain_id);
  GANTRY_RETURN_IF_ERROR(job_.deps->leases->AddResource(job_.ctx, job_.ctx.lease, resource));
  auto info = job_.deps->snapshots->Stat(job_.ctx, snapshotter_, chain_id);
  if (info.ok()) return true;
  if (absl::IsNotFound(info.status())) return false;
  return info.status();
}

absl::Status ImageUnpacker::Prepare(size_t i, bool with_parent) {
  Layer& layer = layers_[i];
  std::string key = absl::StrCat(job_.unpack_prefix, base::RandomHex(3), " ", layer.chain_id.str());
  auto mounts = job_.deps->snapshots->Prepare(job_.ctx, snapshotter_, key,
                                              with_parent ? Parent(i) : "", SnapshotLabels(i));
  if (absl::IsAlreadyExists(mounts.status())) {
    // Another namespace has it, or somebody committed it just now.
    GANTRY_ASSIGN_OR_RETURN(layer.present, Claim(i));
    return layer.present ? absl::OkStatus() : mounts.status();
  }
  GANTRY_RETURN_IF_ERROR(mounts.status());
  layer.key = key;
  layer.rebase = !with_parent;
  if (parallel_) {
    GANTRY_ASSIGN_OR_RETURN(layer.dir, LayerDir(i));
  }
  if (parallel_ && with_parent && i > 0) base_dirs_ = LowerDirs(*mounts);
  return absl::OkStatus();
}

absl::Status ImageUnpacker::Start() {
  const std::vector<base::Digest>& diff_ids = image_.config.diff_ids;
  if (diff_ids.size() != image_.manifest.layers.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("mismatched image rootfs and manifest layers: ", diff_ids.size(),
                     " diff ids, ", image_.manifest.layers.size(), " layers"));
  }
  std::vector<base::Digest> chain_ids = ChainIds(diff_ids);
  layers_.resize(diff_ids.size());
  for (size_t i = 0; i < layers_.size(); ++i) {
    layers_[i].diff_id = diff_ids[i];
    layers_[i].chain_id = chain_ids[i];
  }
  GANTRY_ASSIGN_OR_RETURN(std::set<std::string> can,
                          job_.deps->snapshots->capabilities(snapshotter_));
  parallel_ = can.count("rebase") > 0 && can.count("layerdir") > 0;
  bool missing = false;
  for (size_t i = 0; i < layers_.size(); ++i) {
    if (!missing) {
      GANTRY_ASSIGN_OR_RETURN(layers_[i].present, Claim(i));
      if (layers_[i].present) continue;
    }
    if (!parallel_) break;
    // The first one that is missing is prepared on its parent: if another namespace has the same
    // chain it is shared, and the search goes on.
    GANTRY_RETURN_IF_ERROR(Prepare(i, !missing));
    missing = missing || !layers_[i].present;
  }
  return absl::OkStatus();
}

bool ImageUnpacker::WantsStream(size_t i) const {
  return parallel_ && !layers_[i].present && !layers_[i].key.empty() && !layers_[i].unpacked;
}

absl::StatusOr<std::string> ImageUnpacker::LayerDir(size_t i) const {
  return job_.deps->snapshots->LayerDir(job_.ctx, snapshotter_, layers_[i].key);
}

absl::StatusOr<std::unique_ptr<LayerApplier>> ImageUnpacker::OpenLayer(size_t i) {
  GANTRY_ASSIGN_OR_RETURN(std::string dir,
                          job_.deps->snapshots->LayerDir(job_.ctx, snapshotter_, layers_[i].key));
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd root, base::Open(dir, O_RDONLY | O_DIRECTORY));
  LayerApplierOptions options;
  options.whiteouts = Whiteouts::kOverlay;
  return LayerApplier::Create(std::move(root), options);
}

absl::Status ImageUnpacker::LayerDone(size_t i, const LayerResult& result) {
  Layer& layer = layers_[i];
  if (result.diff_id != layer.diff_id) {
    return absl::FailedPreconditionError(absl::StrCat("wrong diff id calculated on extraction ",
                                                      result.diff_id.str(), ", the config says ",
                                                      layer.diff_id.str()));
  }
  layer.result = result;
  layer.unpacked = true;
  return absl::OkStatus();
}

absl::Status ImageUnpacker::Feed(size_t i, LayerApplier* applier) {
  const ImageDescriptor& blob = image_.manifest.layers[i];
  GANTRY_ASSIGN_OR_RETURN(BlobReader reader, job_.deps->content->OpenReader(job_.ctx, blob.digest));
  std::string buffer(kReadSize, '\0');
  for (int64_t offset = 0; offset < reader.size;) {
    GANTRY_RETURN_IF_ERROR(job_.CheckCancelled());
    ssize_t n = pread(reader.fd.get(), buffer.data(), buffer.size(), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return base::ErrnoStatus(errno, "read blob " + blob.digest.str());
    if (n == 0) return absl::DataLossError("blob " + blob.digest.str() + " is cut short");
    GANTRY_RETURN_IF_ERROR(
        applier->Write(absl::string_view(buffer.data(), static_cast<size_t>(n))));
    offset += n;
  }
  GANTRY_ASSIGN_OR_RETURN(LayerResult result, applier->Finish());
  if (result.blob_digest != blob.digest) {
    return absl::FailedPreconditionError("blob " + blob.digest.str() +
                                         " is damaged in the content store");
  }
  return LayerDone(i, result);
}

absl::Status ImageUnpacker::ApplyStored(size_t i) {
  GANTRY_ASSIGN_OR_RETURN(std::unique_ptr<LayerApplier> applier, OpenLayer(i));
  return Feed(i, applier.get());
}

// For snapshotters whose snapshots hold the whole tree.
absl::Status ImageUnpacker::ApplyInOrder(size_t i) {
  Layer& layer = layers_[i];
  GANTRY_ASSIGN_OR_RETURN(layer.present, Claim(i));
  if (layer.present) return absl::OkStatus();
  GANTRY_RETURN_IF_ERROR(Prepare(i, true));
  if (layer.present) return absl::OkStatus();
  GANTRY_ASSIGN_OR_RETURN(std::vector<base::Mount> mounts,
                          job_.deps->snapshots->Mounts(job_.ctx, snapshotter_, layer.key));
  GANTRY_ASSIGN_OR_RETURN(ApplyTarget target, OpenApplyTarget(mounts, job_.deps->config.temp_dir));
  LayerApplierOptions options;
  options.whiteouts = target.whiteouts;
  options.lower_dirs = target.lower_dirs;
  GANTRY_ASSIGN_OR_RETURN(std::unique_ptr<LayerApplier> applier,
                          LayerApplier::Create(std::move(target.root), options));
  return Feed(i, applier.get());
}

// Layers that were unpacked side by side did not see what lies below them.
absl::Status ImageUnpacker::Inherit(size_t i) {
  if (i == 0 || layers_[i].result.implicit_dirs.empty()) return absl::OkStatus();
  std::vector<std::string> lowers;
  for (size_t k = i; k-- > 0;) {
    if (layers_[k].dir.empty()) break;
    lowers.push_back(layers_[k].dir);
  }
  lowers.insert(lowers.end(), base_dirs_.begin(), base_dirs_.end());
  return InheritDirectories(layers_[i].dir, lowers, layers_[i].result.implicit_dirs);
}

absl::Status ImageUnpacker::Commit(size_t i) {
  Layer& layer = layers_[i];
  CommitOptions options;
  options.labels = SnapshotLabels(i);
  if (parallel_) {
    SnapshotUsage usage;
    usage.size = layer.result.usage_bytes;
    usage.inodes = layer.result.usage_inodes;
    options.usage = usage;
  }
  if (layer.rebase && i > 0) options.parent = Parent(i);
  absl::Status status = job_.deps->snapshots->Commit(job_.ctx, snapshotter_, layer.chain_id.str(),
                                                     layer.key, options);
  // Somebody else was faster: ours is thrown away by the destructor.
  if (absl::IsAlreadyExists(status)) return Claim(i).status();
  if (status.ok()) layer.key.clear();
  return status;
}

absl::Status ImageUnpacker::Finish() {
  for (size_t i = 0; i < layers_.size(); ++i) {
    GANTRY_RETURN_IF_ERROR(job_.CheckCancelled());
    Layer& layer = layers_[i];
    if (!layer.present && !layer.unpacked) {
      absl::Status status = parallel_ ? ApplyStored(i) : ApplyInOrder(i);
      if (!status.ok()) {
        return base::Annotate(status,
                              absl::StrCat("apply layer ", image_.manifest.layers[i].digest.str()));
      }
    }
    if (!layer.present) {
      base::CrashPoint("transfer.unpacked");
      if (parallel_) GANTRY_RETURN_IF_ERROR(Inherit(i));
      GANTRY_RETURN_IF_ERROR(Commit(i));
    }
    absl::Status labelled = EnsureLabels(job_, image_.manifest.layers[i].digest,
                                         {{"containerd.io/uncompressed", layer.diff_id.str()}});
    if (!labelled.ok() && !absl::IsNotFound(labelled)) return labelled;
  }
  if (layers_.empty()) return absl::OkStatus();
  return EnsureLabels(job_, image_.manifest.config.digest,
                      {{absl::StrCat("containerd.io/gc.ref.snapshot.", snapshotter_),
                        layers_.back().chain_id.str()}});
}

}  // namespace gantry::services
