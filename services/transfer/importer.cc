#include "services/transfer/importer.h"

#include "base/log.h"
#include "base/status.h"
#include "services/content/content_store.h"
#include "services/transfer/image_saver.h"
#include "services/transfer/image_tree.h"
#include "services/transfer/progress.h"
#include "services/transfer/puller.h"

namespace gantry::services {
namespace {

using StoreRequest = containerd::types::transfer::ImageStore;

// The documents of an archive get their labels as they are walked; what its index names but the
// archive does not hold (other platforms) is left out.
absl::StatusOr<std::vector<TreeImage>> WalkImported(const TransferJob& job,
                                                    const StoreRequest& store,
                                                    const ImageDescriptor& index) {
  TreeOptions options = TreeOptionsOf(store);
  options.skip_missing = true;
  TreeWalker walker = StoredTree(job, options);
  walker.put = [&job](const ImageDescriptor& d, const std::string&, const BlobLabels& labels) {
    GANTRY_RETURN_IF_ERROR(job.deps->content->LinkToLease(job.ctx, d.digest));
    return EnsureLabels(job, d.digest, labels);
  };
  return walker.Walk(index);
}

absl::Status SaveAll(const TransferJob& job, const StoreRequest& store,
                     const std::vector<ImageDescriptor>& targets) {
  for (const ImageDescriptor& target : targets) {
    auto names = SaveImage(job, store, target);
    if (absl::IsNotFound(names.status())) {
      base::LogDebug("no image name for imported content", {{"digest", target.digest.str()}});
      continue;
    }
    GANTRY_RETURN_IF_ERROR(names.status());
    ImageDescriptor shown = target;
    shown.annotations.erase(kRefSourceAnnotation);
    for (const std::string& name : *names) job.progress->SayFor("saved", name, shown);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ImportImages(
    const TransferJob& job, bool force_compress,
    const std::function<absl::Status(std::function<absl::Status(absl::string_view)>)>& read,
    const StoreRequest& store) {
  job.progress->Say("Importing");
  auto importer = ArchiveImporter::Create(job, force_compress);
  GANTRY_RETURN_IF_ERROR(read([&](absl::string_view data) { return importer->Write(data); }));
  GANTRY_ASSIGN_OR_RETURN(ImageDescriptor index, importer->Finish());
  GANTRY_ASSIGN_OR_RETURN(std::string bytes,
                          job.deps->content->ReadBlob(job.ctx, index.digest, kMaxManifestBytes));
  GANTRY_ASSIGN_OR_RETURN(ImageIndex parsed, ParseIndex(bytes, index.media_type));
  GANTRY_ASSIGN_OR_RETURN(std::vector<TreeImage> images, WalkImported(job, store, index));
  GANTRY_ASSIGN_OR_RETURN(std::vector<std::unique_ptr<ImageUnpacker>> unpackers,
                          StartUnpackers(job, store, images));
  for (const auto& unpacker : unpackers) GANTRY_RETURN_IF_ERROR(unpacker->Finish());
  std::vector<ImageDescriptor> targets = {index};
  for (ImageDescriptor& manifest : parsed.manifests) {
    if (!job.deps->content->GetInfo(job.ctx, manifest.digest).ok()) continue;
    manifest.annotations[kRefSourceAnnotation] = "annotation";
    targets.push_back(manifest);
  }
  GANTRY_RETURN_IF_ERROR(SaveAll(job, store, targets));
  job.progress->Say("Completed import");
  return absl::OkStatus();
}

}  // namespace gantry::services
