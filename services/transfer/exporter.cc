#include "services/transfer/exporter.h"

#include <unistd.h>

#include <map>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/archive/tar_writer.h"
#include "base/json.h"
#include "base/status.h"
#include "services/content/content_store.h"
#include "services/metadata/image_store.h"
#include "services/registry/reference.h"
#include "services/transfer/image_tree.h"
#include "services/transfer/progress.h"

namespace gantry::services {
namespace {

std::string BlobName(const base::Digest& digest) {
  return absl::StrCat("blobs/", digest.algorithm(), "/", digest.hex());
}

// One image as docker's manifest.json lists it.
struct DockerEntry {
  ImageManifest manifest;
  std::vector<std::string> names;
};

class Exporter {
 public:
  Exporter(const TransferJob& job, const containerd::types::transfer::ImageExportStream& request)
      : job_(job), request_(request) {
    for (const auto& p : request.platforms()) {
      platforms_.push_back({p.os(), p.architecture(), p.variant(), p.os_version()});
    }
    if (platforms_.empty()) platforms_.push_back(ThisPlatform());
  }

  absl::Status Add(const std::string& name);
  absl::Status Write(const std::function<absl::Status(absl::string_view)>& sink);

 private:
  absl::Status CopyBlob(const ImageDescriptor& blob, archive::TarWriter* tar);
  std::string IndexJson() const;
  std::string DockerJson() const;

  const TransferJob& job_;
  const containerd::types::transfer::ImageExportStream& request_;
  std::vector<Platform> platforms_;
  std::vector<ImageDescriptor> roots_;
  std::map<std::string, ImageDescriptor> blobs_;  // by member name, so sorted
  std::map<base::Digest, DockerEntry> docker_;
};

absl::Status Exporter::Add(const std::string& name) {
  GANTRY_ASSIGN_OR_RETURN(ImageStore::Image image, job_.deps->images->Get(job_.ctx, name));
  GANTRY_ASSIGN_OR_RETURN(ImageDescriptor target, FromProto(image.target()));
  target.annotations["io.containerd.image.name"] = name;
  auto reference = ParseReference(name);
  target.annotations["org.opencontainers.image.ref.name"] =
      reference.ok() && !reference->tag.empty() ? reference->tag
      : reference.ok()                          ? reference->object()
                                                : name;
  GANTRY_ASSIGN_OR_RETURN(ContentInfo info, job_.deps->content->GetInfo(job_.ctx, target.digest));
  for (const auto& [key, value] : info.labels) {
    if (absl::StartsWith(key, "containerd.io/distribution.source")) target.annotations[key] = value;
  }
  TreeOptions options;
  if (!request_.all_platforms()) options.platforms = platforms_;
  TreeWalker walker = StoredTree(job_, options);
  walker.put = [this](const ImageDescriptor& d, const std::string&, const BlobLabels&) {
    blobs_.emplace(BlobName(d.digest), d);
    return absl::OkStatus();
  };
  GANTRY_ASSIGN_OR_RETURN(std::vector<TreeImage> images, walker.Walk(target));
  const TreeImage* best = nullptr;
  int best_score = 0;
  for (const TreeImage& tree : images) {
    for (const ImageDescriptor& layer : tree.manifest.layers) {
      if (request_.skip_non_distributable() && IsNonDistributable(layer.media_type)) continue;
      blobs_.emplace(BlobName(layer.digest), layer);
    }
    int score = tree.runnable ? 1 + PlatformScore(platforms_[0], tree.config.platform) : 0;
    if (score > best_score) best = &tree;
    best_score = std::max(best_score, score);
  }
  roots_.push_back(target);
  if (best != nullptr) {
    DockerEntry& entry = docker_[best->descriptor.digest];
    entry.manifest = best->manifest;
    // A name by digest is none that docker could load.
    if (reference.ok() && reference->digest.empty()) entry.names.push_back(FamiliarReference(name));
  }
  return absl::OkStatus();
}

std::string Exporter::IndexJson() const {
  base::OrderedJson index;
  index["schemaVersion"] = 2;
  index["mediaType"] = kOciIndex;
  index["manifests"] = base::OrderedJson::array();
  for (const ImageDescriptor& root : roots_) index["manifests"].push_back(DescriptorJson(root));
  return index.dump();
}

std::string Exporter::DockerJson() const {
  base::OrderedJson list = base::OrderedJson::array();
  for (const auto& [digest, entry] : docker_) {
    base::OrderedJson one;
    one["Config"] = BlobName(entry.manifest.config.digest);
    one["RepoTags"] = entry.names.empty() ? base::OrderedJson() : base::OrderedJson(entry.names);
    one["Layers"] = base::OrderedJson::array();
    for (const ImageDescriptor& layer : entry.manifest.layers) {
      one["Layers"].push_back(BlobName(layer.digest));
    }
    list.push_back(std::move(one));
  }
  return list.dump();
}

absl::Status Exporter::CopyBlob(const ImageDescriptor& blob, archive::TarWriter* tar) {
  GANTRY_ASSIGN_OR_RETURN(BlobReader reader, job_.deps->content->OpenReader(job_.ctx, blob.digest));
  archive::TarEntry entry;
  entry.name = BlobName(blob.digest);
  entry.mode = 0444;
  entry.size = reader.size;
  GANTRY_RETURN_IF_ERROR(tar->AddEntry(entry));
  base::Hasher hasher(blob.digest);
  std::string buffer(1u << 20, '\0');
  for (int64_t offset = 0; offset < reader.size;) {
    GANTRY_RETURN_IF_ERROR(job_.CheckCancelled());
    size_t want = static_cast<size_t>(
        std::min<int64_t>(static_cast<int64_t>(buffer.size()), reader.size - offset));
    ssize_t n = pread(reader.fd.get(), buffer.data(), want, offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return base::ErrnoStatus(errno, "read blob " + blob.digest.str());
    if (n == 0) return absl::DataLossError("blob " + blob.digest.str() + " is cut short");
    absl::string_view data(buffer.data(), static_cast<size_t>(n));
    hasher.Update(data);
    GANTRY_RETURN_IF_ERROR(tar->Write(data));
    offset += n;
  }
  if (hasher.Finish() != blob.digest) {
    return absl::DataLossError("blob " + blob.digest.str() + " is damaged in the content store");
  }
  return absl::OkStatus();
}

absl::Status Exporter::Write(const std::function<absl::Status(absl::string_view)>& sink) {
  archive::TarWriter tar(sink);
  std::set<std::string> directories = {"blobs/"};
  for (const auto& [name, blob] : blobs_) {
    directories.insert(absl::StrCat("blobs/", blob.digest.algorithm(), "/"));
  }
  for (const std::string& name : directories) {
    archive::TarEntry entry;
    entry.type = archive::TarType::kDirectory;
    entry.name = name;
    entry.mode = 0755;
    GANTRY_RETURN_IF_ERROR(tar.AddEntry(entry));
  }
  for (const auto& [name, blob] : blobs_) GANTRY_RETURN_IF_ERROR(CopyBlob(blob, &tar));
  std::map<std::string, std::string> files = {{"index.json", IndexJson()},
                                              {"oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}"}};
  if (!request_.skip_compatibility_manifest() && !docker_.empty()) {
    files["manifest.json"] = DockerJson();
  }
  for (const auto& [name, text] : files) {
    archive::TarEntry entry;
    entry.name = name;
    entry.mode = name == "oci-layout" ? 0444 : 0644;
    entry.size = static_cast<int64_t>(text.size());
    GANTRY_RETURN_IF_ERROR(tar.AddEntry(entry));
    GANTRY_RETURN_IF_ERROR(tar.Write(text));
  }
  return tar.Finish();
}

}  // namespace

absl::Status ExportImages(const TransferJob& job, const std::vector<std::string>& names,
                          const containerd::types::transfer::ImageExportStream& request,
                          const std::function<absl::Status(absl::string_view)>& sink) {
  job.progress->Say("Exporting");
  if (names.empty()) return absl::InvalidArgumentError("no image to export");
  Exporter exporter(job, request);
  for (const std::string& name : names) GANTRY_RETURN_IF_ERROR(exporter.Add(name));
  GANTRY_RETURN_IF_ERROR(exporter.Write(sink));
  job.progress->Say("Completed export");
  return absl::OkStatus();
}

}  // namespace gantry::services
