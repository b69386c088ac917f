#include "services/transfer/puller.h"

#include <atomic>
#include <map>
#include <optional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "base/crash_point.h"
#include "base/log.h"
#include "base/status.h"
#include "services/content/content_store.h"
#include "services/snapshots/snapshots.h"
#include "services/transfer/image_saver.h"
#include "services/transfer/layer_pipe.h"
#include "services/transfer/progress.h"
#include "services/transfer/unlocked.h"
#include "services/transfer/worker_pool.h"

namespace gantry::services {
namespace {

using StoreRequest = containerd::types::transfer::ImageStore;

Platform PlatformOf(const containerd::types::Platform& p) {
  return {p.os(), p.architecture(), p.variant(), p.os_version()};
}

// Where a layer of the registry goes besides the content store.
struct LayerTarget {
  ImageDescriptor blob;
  ImageUnpacker* unpacker = nullptr;
  size_t index = 0;
};

class Pull {
 public:
  Pull(const TransferJob& job, RegistryClient* registry, const StoreRequest& store)
      : job_(job), registry_(registry), store_(store) {
    const Reference& reference = registry->reference();
    source_label_ = {{"containerd.io/distribution.source." + reference.host, reference.repository}};
  }

  absl::Status Run();

 private:
  absl::StatusOr<std::string> GetDocument(const ImageDescriptor& d);
  absl::Status PutDocument(const ImageDescriptor& d, const std::string& bytes,
                           const BlobLabels& labels);
  absl::StatusOr<std::unique_ptr<ContentWriter>> OpenWriter(const ImageDescriptor& blob);
  absl::Status FetchLayer(const LayerTarget& target);
  absl::Status Stream(const LayerTarget& target, ContentWriter* writer);
  absl::Status StreamPlain(const ImageDescriptor& blob, ContentWriter* writer);
  absl::StatusOr<bool> Have(const ImageDescriptor& blob);

  const TransferJob& job_;
  RegistryClient* registry_;
  const StoreRequest& store_;
  BlobLabels source_label_;
};

// Whether the blob is in the store; then it belongs to our lease and source from now on.
absl::StatusOr<bool> Pull::Have(const ImageDescriptor& blob) {
  absl::Status status = job_.deps->content->LinkToLease(job_.ctx, blob.digest);
  if (status.ok()) status = EnsureLabels(job_, blob.digest, source_label_);
  if (absl::IsNotFound(status)) return false;
  GANTRY_RETURN_IF_ERROR(status);
  job_.progress->Exists(blob);
  return true;
}

absl::StatusOr<std::string> Pull::GetDocument(const ImageDescriptor& d) {
  GANTRY_RETURN_IF_ERROR(job_.CheckCancelled());
  job_.progress->Add(d);
  GANTRY_ASSIGN_OR_RETURN(bool have, Have(d));
  if (have) return job_.deps->content->ReadBlob(job_.ctx, d.digest, kMaxConfigBytes);
  if (IsIndexType(d.media_type) || IsManifestType(d.media_type)) return registry_->FetchManifest(d);
  if (d.size > static_cast<int64_t>(kMaxConfigBytes)) {
    return absl::ResourceExhaustedError(absl::StrCat("config ", d.digest.str(), " is too large"));
  }
  std::string bytes;
  GANTRY_RETURN_IF_ERROR(registry_->FetchBlob(d, {}, [&bytes](absl::string_view data) {
    bytes.append(data.data(), data.size());
    return absl::OkStatus();
  }));
  return bytes;
}

absl::Status Pull::PutDocument(const ImageDescriptor& d, const std::string& bytes,
                               const BlobLabels& labels) {
  BlobLabels all = labels;
  all.insert(source_label_.begin(), source_label_.end());
  if (job_.deps->content->GetInfo(job_.ctx, d.digest).ok()) {
    GANTRY_RETURN_IF_ERROR(EnsureLabels(job_, d.digest, all));
  } else {
    GANTRY_RETURN_IF_ERROR(OnceUnlocked(job_, [&] {
      return job_.deps->content->WriteBlob(job_.ctx, RefKeyOf(d), bytes, d.digest, all);
    }));
    // Another pull may have been the one that wrote it.
    GANTRY_RETURN_IF_ERROR(job_.deps->content->LinkToLease(job_.ctx, d.digest));
  }
  job_.progress->Complete(d);
  return absl::OkStatus();
}

// Waits while another pull has the same upload open. Null: the blob is there now.
absl::StatusOr<std::unique_ptr<ContentWriter>> Pull::OpenWriter(const ImageDescriptor& blob) {
  while (true) {
    auto writer = OnceUnlocked(job_, [&] {
      return job_.deps->content->OpenWriter(job_.ctx, {RefKeyOf(blob), blob.size, blob.digest});
    });
    if (!absl::IsAlreadyExists(writer.status())) return writer;
    GANTRY_ASSIGN_OR_RETURN(bool have, Have(blob));
    if (have) return std::unique_ptr<ContentWriter>();
    GANTRY_RETURN_IF_ERROR(job_.CheckCancelled());  // it was removed again
  }
}

absl::Status Pull::FetchLayer(const LayerTarget& target) {
  GANTRY_RETURN_IF_ERROR(job_.CheckCancelled());
  const ImageDescriptor& blob = target.blob;
  GANTRY_ASSIGN_OR_RETURN(bool have, Have(blob));
  std::unique_ptr<ContentWriter> writer;
  if (!have) {
    GANTRY_ASSIGN_OR_RETURN(writer, OpenWriter(blob));
  }
  if (writer == nullptr) {
    return target.unpacker == nullptr ? absl::OkStatus()
                                      : target.unpacker->ApplyStored(target.index);
  }
  // An upload that was interrupted is completed first and unpacked from the store afterwards.
  if (target.unpacker != nullptr && writer->offset() == 0 && blob.size > 0) {
    return Stream(target, writer.get());
  }
  GANTRY_RETURN_IF_ERROR(StreamPlain(blob, writer.get()));
  return target.unpacker == nullptr ? absl::OkStatus() : target.unpacker->ApplyStored(target.index);
}

absl::Status Pull::StreamPlain(const ImageDescriptor& blob, ContentWriter* writer) {
  RegistryClient::FetchOptions options;
  options.offset = static_cast<uint64_t>(writer->offset());
  options.verify = false;  // the writer hashes
  GANTRY_RETURN_IF_ERROR(registry_->FetchBlob(blob, options, [&](absl::string_view data) {
    job_.progress->Advance(blob, writer->offset());
    return writer->Write(data);
  }));
  absl::Status status = writer->Commit(blob.size, blob.digest, source_label_).status();
  if (absl::IsFailedPrecondition(status)) {
    // What is stored under this ref is wrong for good; the next try must not continue it.
    (void)writer->Truncate(0);
  }
  GANTRY_RETURN_IF_ERROR(absl::IsAlreadyExists(status) ? absl::OkStatus() : status);
  job_.progress->Complete(blob);
  return absl::OkStatus();
}

absl::Status Pull::Stream(const LayerTarget& target, ContentWriter* writer) {
  const ImageDescriptor& blob = target.blob;
  GANTRY_ASSIGN_OR_RETURN(std::unique_ptr<LayerApplier> applier,
                          target.unpacker->OpenLayer(target.index));
  LayerPipe pipe(std::move(applier));
  GANTRY_RETURN_IF_ERROR(writer->SkipHashing());
  RegistryClient::FetchOptions options;
  options.verify = false;  // the applier hashes
  GANTRY_RETURN_IF_ERROR(registry_->FetchBlob(blob, options, [&](absl::string_view data) {
    GANTRY_RETURN_IF_ERROR(writer->Write(data));
    job_.progress->Advance(blob, writer->offset());
    return pipe.Write(data);
  }));
  auto result = pipe.Finish();
  if (!result.ok()) {
    (void)writer->Truncate(0);
    return base::Annotate(result.status(), "unpack layer " + blob.digest.str());
  }
  writer->AdoptDigest(result->blob_digest);
  absl::Status status = writer->Commit(blob.size, blob.digest, source_label_).status();
  if (absl::IsFailedPrecondition(status)) (void)writer->Truncate(0);
  GANTRY_RETURN_IF_ERROR(absl::IsAlreadyExists(status) ? absl::OkStatus() : status);
  job_.progress->Complete(blob);
  return target.unpacker->LayerDone(target.index, *result);
}

// Each blob once, although images of one index or one image may share it; it is unpacked as it
// comes in for the first that wants it, and from the store for the others.
std::vector<LayerTarget> PlanLayers(const std::vector<TreeImage>& images,
                                    const std::vector<std::unique_ptr<ImageUnpacker>>& unpackers) {
  std::vector<LayerTarget> out;
  std::map<base::Digest, size_t> known;
  for (const TreeImage& image : images) {
    if (!image.with_layers) continue;
    for (const ImageDescriptor& blob : image.manifest.layers) {
      if (known.emplace(blob.digest, out.size()).second) out.push_back({blob});
    }
  }
  for (const auto& unpacker : unpackers) {
    const std::vector<ImageDescriptor>& layers = unpacker->image().manifest.layers;
    for (size_t i = 0; i < layers.size(); ++i) {
      LayerTarget& target = out[known.at(layers[i].digest)];
      if (target.unpacker != nullptr || !unpacker->WantsStream(i)) continue;
      target.unpacker = unpacker.get();
      target.index = i;
    }
  }
  return out;
}

absl::Status Pull::Run() {
  std::string from = absl::StrCat("OCI Registry (", registry_->reference().str(), ")");
  job_.progress->Say("Resolving from " + from);
  GANTRY_ASSIGN_OR_RETURN(ImageDescriptor root, registry_->Resolve());
  const std::string name = registry_->reference().str();
  job_.progress->Say("Pulling from " + from);
  job_.progress->Say("fetching image content", name);
  job_.progress->SetRoot(name, "downloading");
  TreeWalker walker;
  walker.get = [this](const ImageDescriptor& d) { return GetDocument(d); };
  walker.put = [this](const ImageDescriptor& d, const std::string& bytes,
                      const BlobLabels& labels) { return PutDocument(d, bytes, labels); };
  walker.children = [this](const ImageDescriptor& d, const std::vector<ImageDescriptor>& children) {
    job_.progress->AddChildren(d, children);
  };
  walker.options = TreeOptionsOf(store_);
  GANTRY_ASSIGN_OR_RETURN(std::vector<TreeImage> images, walker.Walk(root));
  GANTRY_ASSIGN_OR_RETURN(std::vector<std::unique_ptr<ImageUnpacker>> unpackers,
                          StartUnpackers(job_, store_, images));
  std::vector<LayerTarget> layers = PlanLayers(images, unpackers);
  for (const LayerTarget& target : layers) job_.progress->Add(target.blob);
  GANTRY_RETURN_IF_ERROR(RunParallel(job_.deps->config.max_concurrent_downloads, layers.size(),
                                     [&](size_t i) { return FetchLayer(layers[i]); }));
  base::CrashPoint("transfer.fetched");
  for (const auto& unpacker : unpackers) GANTRY_RETURN_IF_ERROR(unpacker->Finish());
  GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> names, SaveImage(job_, store_, root));
  for (const std::string& saved : names) job_.progress->Say("saved", saved);
  job_.progress->Say("Completed pull from " + from);
  return absl::OkStatus();
}

}  // namespace

TreeOptions TreeOptionsOf(const StoreRequest& store) {
  TreeOptions out;
  for (const auto& p : store.platforms()) out.platforms.push_back(PlatformOf(p));
  out.all_metadata = store.all_metadata();
  out.manifest_limit = store.manifest_limit();
  return out;
}

absl::StatusOr<std::vector<std::unique_ptr<ImageUnpacker>>> StartUnpackers(
    const TransferJob& job, const StoreRequest& store, const std::vector<TreeImage>& images) {
  std::vector<std::unique_ptr<ImageUnpacker>> out;
  for (const auto& configuration : store.unpacks()) {
    std::string snapshotter = configuration.snapshotter();
    if (snapshotter.empty()) snapshotter = job.deps->config.default_snapshotter;
    if (!job.deps->snapshots->Has(snapshotter)) {
      base::LogWarn("unpack configuration not supported, skipping", {{"snapshotter", snapshotter}});
      continue;
    }
    Platform wanted = PlatformOf(configuration.platform());
    if (wanted.empty()) wanted = ThisPlatform();
    for (const TreeImage& image : images) {
      bool fits = image.config.platform.empty() || PlatformScore(wanted, image.config.platform) > 0;
      if (!image.with_layers || !image.runnable || !fits) continue;
      out.push_back(std::make_unique<ImageUnpacker>(job, image, snapshotter));
      GANTRY_RETURN_IF_ERROR(out.back()->Start());
    }
  }
  return out;
}

absl::Status PullImage(const TransferJob& job, RegistryClient* registry,
                       const StoreRequest& store) {
  return Pull(job, registry, store).Run();
}

}  // namespace gantry::services
