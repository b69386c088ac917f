#include "services/transfer/image_tree.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "services/content/content_store.h"

namespace gantry::services {
namespace {

constexpr int kMaxDepth = 4;
constexpr size_t kMaxManifests = 2000;
constexpr char kSourceLabel[] = "containerd.io/distribution.source.";

}  // namespace

BlobLabels ChildLabels(const std::vector<ImageDescriptor>& children) {
  BlobLabels out;
  std::map<std::string, int> next;
  for (const ImageDescriptor& child : children) {
    std::string key = "containerd.io/gc.ref.content.";
    bool numbered = true;
    if (IsConfigType(child.media_type)) {
      absl::StrAppend(&key, "config");
      numbered = false;
    } else if (IsManifestType(child.media_type) || IsIndexType(child.media_type)) {
      absl::StrAppend(&key, "m.");
    } else if (IsLayerType(child.media_type)) {
      absl::StrAppend(&key, "l.");
    }
    int number = next[key]++;
    if (numbered || number > 0) absl::StrAppend(&key, number);
    out[key] = child.digest.str();
  }
  return out;
}

absl::Status EnsureLabels(const TransferJob& job, const base::Digest& digest,
                          const BlobLabels& labels) {
  GANTRY_ASSIGN_OR_RETURN(ContentInfo info, job.deps->content->GetInfo(job.ctx, digest));
  ContentInfo update;
  update.digest = digest;
  std::vector<std::string> paths;
  for (const auto& [key, value] : labels) {
    std::string wanted = value;
    auto have = info.labels.find(key);
    if (have != info.labels.end() && absl::StartsWith(key, kSourceLabel)) {
      std::vector<std::string> repositories = absl::StrSplit(have->second, ',');
      bool listed =
          std::find(repositories.begin(), repositories.end(), value) != repositories.end();
      wanted = listed ? have->second : absl::StrCat(have->second, ",", value);
    }
    if (have != info.labels.end() && have->second == wanted) continue;
    if (key.size() + wanted.size() > 4096) continue;  // the source list is a hint, not a need
    update.labels[key] = wanted;
    paths.push_back("labels." + key);
  }
  if (paths.empty()) return absl::OkStatus();
  return job.deps->content->UpdateInfo(job.ctx, update, paths).status();
}

absl::StatusOr<std::vector<TreeImage>> TreeWalker::Walk(const ImageDescriptor& root) {
  std::vector<TreeImage> out;
  seen_.clear();
  GANTRY_RETURN_IF_ERROR(Visit(root, 0, true, &out));
  return out;
}

absl::Status TreeWalker::Visit(const ImageDescriptor& descriptor, int depth, bool with_layers,
                               std::vector<TreeImage>* out) {
  if (!seen_.insert(descriptor.digest).second) return absl::OkStatus();
  if (depth > kMaxDepth || seen_.size() > kMaxManifests) {
    return absl::InvalidArgumentError("the image index is too deep or too large");
  }
  if (IsIndexType(descriptor.media_type)) return VisitIndex(descriptor, depth, with_layers, out);
  if (IsManifestType(descriptor.media_type)) return VisitManifest(descriptor, with_layers, out);
  return absl::InvalidArgumentError(absl::StrCat(descriptor.digest.str(), " of type \"",
                                                 descriptor.media_type, "\" is no image"));
}

absl::Status TreeWalker::VisitIndex(const ImageDescriptor& descriptor, int depth, bool with_layers,
                                    std::vector<TreeImage>* out) {
  GANTRY_ASSIGN_OR_RETURN(std::string bytes, get(descriptor));
  GANTRY_ASSIGN_OR_RETURN(ImageIndex index, ParseIndex(bytes, descriptor.media_type));
  GANTRY_RETURN_IF_ERROR(put(descriptor, bytes, ChildLabels(index.manifests)));
  std::vector<ImageDescriptor> chosen = SelectManifests(index, options.platforms);
  if (chosen.empty() && !index.manifests.empty()) {
    return absl::NotFoundError(
        absl::StrCat("no match for platform in manifest ", descriptor.digest.str(), ": not found"));
  }
  if (options.manifest_limit > 0 && chosen.size() > options.manifest_limit) {
    chosen.resize(options.manifest_limit);
  }
  std::set<base::Digest> wanted;
  for (const ImageDescriptor& child : chosen) wanted.insert(child.digest);
  std::vector<ImageDescriptor> visit = chosen;
  if (options.all_metadata) {
    for (const ImageDescriptor& child : index.manifests) {
      if (wanted.count(child.digest) == 0) visit.push_back(child);
    }
  }
  if (children) children(descriptor, visit);
  absl::Status missing;
  size_t found = 0;
  for (const ImageDescriptor& child : visit) {
    bool layers = with_layers && wanted.count(child.digest) > 0;
    absl::Status status = Visit(child, depth + 1, layers, out);
    if (absl::IsNotFound(status) && options.skip_missing) {
      missing = status;
      continue;
    }
    GANTRY_RETURN_IF_ERROR(status);
    ++found;
  }
  return found == 0 && !visit.empty() ? missing : absl::OkStatus();
}

absl::Status TreeWalker::VisitManifest(const ImageDescriptor& descriptor, bool with_layers,
                                       std::vector<TreeImage>* out) {
  TreeImage image;
  image.descriptor = descriptor;
  image.with_layers = with_layers;
  GANTRY_ASSIGN_OR_RETURN(std::string bytes, get(descriptor));
  GANTRY_ASSIGN_OR_RETURN(image.manifest, ParseManifest(bytes, descriptor.media_type));
  std::vector<ImageDescriptor> all = {image.manifest.config};
  all.insert(all.end(), image.manifest.layers.begin(), image.manifest.layers.end());
  GANTRY_RETURN_IF_ERROR(put(descriptor, bytes, ChildLabels(all)));
  if (children) children(descriptor, all);
  GANTRY_ASSIGN_OR_RETURN(std::string config, get(image.manifest.config));
  GANTRY_RETURN_IF_ERROR(put(image.manifest.config, config, {}));
  // Other artifacts may have anything as their config.
  if (IsConfigType(image.manifest.config.media_type)) {
    GANTRY_ASSIGN_OR_RETURN(image.config, ParseConfig(config));
    image.runnable = true;
  }
  out->push_back(std::move(image));
  return absl::OkStatus();
}

TreeWalker StoredTree(const TransferJob& job, TreeOptions options) {
  TreeWalker walker;
  const TransferJob* j = &job;
  walker.get = [j](const ImageDescriptor& d) {
    return j->deps->content->ReadBlob(j->ctx, d.digest, kMaxConfigBytes);
  };
  walker.put = [](const ImageDescriptor&, const std::string&, const BlobLabels&) {
    return absl::OkStatus();
  };
  walker.options = std::move(options);
  return walker;
}

}  // namespace gantry::services
