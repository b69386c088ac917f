#include "services/transfer/pusher.h"

#include <unistd.h>

#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "services/content/content_store.h"
#include "services/metadata/image_store.h"
#include "services/transfer/image_tree.h"
#include "services/transfer/progress.h"
#include "services/transfer/puller.h"
#include "services/transfer/worker_pool.h"

namespace gantry::services {
namespace {

class Push {
 public:
  Push(const TransferJob& job, RegistryClient* registry) : job_(job), registry_(registry) {}
  absl::Status Run(const std::string& name, const ImageDescriptor& target, TreeOptions options);

 private:
  absl::Status PushBlob(const ImageDescriptor& blob);
  absl::Status PushDocument(const ImageDescriptor& d, const std::string& tag);

  const TransferJob& job_;
  RegistryClient* registry_;
};

absl::Status Push::PushBlob(const ImageDescriptor& blob) {
  GANTRY_RETURN_IF_ERROR(job_.CheckCancelled());
  GANTRY_ASSIGN_OR_RETURN(ContentInfo info, job_.deps->content->GetInfo(job_.ctx, blob.digest));
  GANTRY_ASSIGN_OR_RETURN(BlobReader reader, job_.deps->content->OpenReader(job_.ctx, blob.digest));
  std::vector<std::string> mount_from;
  auto source =
      info.labels.find("containerd.io/distribution.source." + registry_->reference().host);
  if (source != info.labels.end()) {
    mount_from = absl::StrSplit(source->second, ',', absl::SkipEmpty());
  }
  HttpBody body{static_cast<uint64_t>(reader.size),
                [&](uint64_t offset, char* to, size_t want, size_t* got) {
                  ssize_t n;
                  do {
                    n = pread(reader.fd.get(), to, want, static_cast<off_t>(offset));
                  } while (n < 0 && errno == EINTR);
                  if (n < 0) return base::ErrnoStatus(errno, "read blob " + blob.digest.str());
                  *got = static_cast<size_t>(n);
                  job_.progress->Advance(blob, static_cast<int64_t>(offset) + n);
                  return absl::OkStatus();
                }};
  GANTRY_ASSIGN_OR_RETURN(RegistryClient::Pushed pushed,
                          registry_->PushBlob(blob, body, mount_from));
  if (pushed == RegistryClient::Pushed::kUploaded) {
    job_.progress->Complete(blob);
  } else {
    job_.progress->Exists(blob);
  }
  return absl::OkStatus();
}

absl::Status Push::PushDocument(const ImageDescriptor& d, const std::string& tag) {
  GANTRY_RETURN_IF_ERROR(job_.CheckCancelled());
  GANTRY_ASSIGN_OR_RETURN(std::string bytes,
                          job_.deps->content->ReadBlob(job_.ctx, d.digest, kMaxManifestBytes));
  GANTRY_ASSIGN_OR_RETURN(RegistryClient::Pushed pushed, registry_->PushManifest(d, bytes, tag));
  if (pushed == RegistryClient::Pushed::kExisted) {
    job_.progress->Exists(d);
  } else {
    job_.progress->Complete(d);
  }
  return absl::OkStatus();
}

absl::Status Push::Run(const std::string& name, const ImageDescriptor& target,
                       TreeOptions options) {
  std::string to = absl::StrCat("OCI Registry (", registry_->reference().str(), ")");
  job_.progress->Say("Pushing to " + to);
  job_.progress->SayFor("pushing content", name, target);
  job_.progress->SetRoot(name, "uploading");
  std::vector<ImageDescriptor> documents;  // parents before children
  size_t named = 0;
  options.skip_missing = true;
  TreeWalker walker = StoredTree(job_, options);
  walker.put = [&](const ImageDescriptor& d, const std::string&, const BlobLabels& labels) {
    if (IsIndexType(d.media_type)) named += labels.size();
    if (IsIndexType(d.media_type) || IsManifestType(d.media_type)) {
      documents.push_back(d);
      job_.progress->Add(d);  // before its children, which are shown below it
    }
    return absl::OkStatus();
  };
  walker.children = [&](const ImageDescriptor& d, const std::vector<ImageDescriptor>& children) {
    job_.progress->AddChildren(d, children);
  };
  GANTRY_ASSIGN_OR_RETURN(std::vector<TreeImage> images, walker.Walk(target));
  std::map<base::Digest, ImageDescriptor> unique;
  for (const TreeImage& image : images) {
    unique.emplace(image.manifest.config.digest, image.manifest.config);
    for (const ImageDescriptor& layer : image.manifest.layers) {
      if (!IsNonDistributable(layer.media_type)) unique.emplace(layer.digest, layer);
    }
  }
  std::vector<ImageDescriptor> blobs;
  for (const auto& [digest, blob] : unique) blobs.push_back(blob);
  for (const ImageDescriptor& blob : blobs) job_.progress->Add(blob);
  GANTRY_RETURN_IF_ERROR(RunParallel(job_.deps->config.max_concurrent_uploads, blobs.size(),
                                     [&](size_t i) { return PushBlob(blobs[i]); }));
  if (images.size() == 1 && named > 1) documents = {images[0].descriptor};
  for (size_t i = documents.size(); i-- > 0;) {
    GANTRY_RETURN_IF_ERROR(PushDocument(documents[i], i == 0 ? registry_->reference().tag : ""));
  }
  job_.progress->SayFor("pushed content", name, target);
  job_.progress->SayFor("Completed push to " + to, "", target);
  return absl::OkStatus();
}

}  // namespace

absl::Status PushImage(const TransferJob& job, RegistryClient* registry,
                       const containerd::types::transfer::ImageStore& store) {
  GANTRY_ASSIGN_OR_RETURN(ImageStore::Image image, job.deps->images->Get(job.ctx, store.name()));
  GANTRY_ASSIGN_OR_RETURN(ImageDescriptor target, FromProto(image.target()));
  return Push(job, registry).Run(store.name(), target, TreeOptionsOf(store));
}

}  // namespace gantry::services
