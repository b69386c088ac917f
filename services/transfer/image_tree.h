#ifndef GANTRY_SERVICES_TRANSFER_IMAGE_TREE_H_
#define GANTRY_SERVICES_TRANSFER_IMAGE_TREE_H_

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/registry/image.h"
#include "services/transfer/transfer_deps.h"

namespace gantry::services {

using BlobLabels = std::map<std::string, std::string>;

// The labels by which a manifest or index keeps its children from being collected, as containerd
// sets them: containerd.io/gc.ref.content.config, ….l.N for layers, ….m.N for manifests.
BlobLabels ChildLabels(const std::vector<ImageDescriptor>& children);

// Adds to the labels of a blob what is missing; labels containerd.io/distribution.source.HOST get
// the repository appended to those that they list.
absl::Status EnsureLabels(const TransferJob& job, const base::Digest& digest,
                          const BlobLabels& labels);

// One image manifest that a walk has met.
struct TreeImage {
  ImageDescriptor descriptor;
  ImageManifest manifest;
  ImageConfig config;
  bool runnable = false;    // its config is one of an image (not of another kind of artifact)
  bool with_layers = true;  // false: only its documents are wanted
};

struct TreeOptions {
  std::vector<Platform> platforms;  // empty: all
  bool all_metadata = false;        // documents of the other platforms too
  size_t manifest_limit = 0;        // of manifests taken from one index; 0: no limit
  // Manifests that are not there (NotFound) are left out instead of failing the walk, as long as
  // one is there.
  bool skip_missing = false;
};

// Walks from an index or manifest down to the configs. `get` returns the bytes of a document;
// `put` is called with the labels that it needs, children first asked for after that.
struct TreeWalker {
  std::function<absl::StatusOr<std::string>(const ImageDescriptor&)> get;
  std::function<absl::Status(const ImageDescriptor&, const std::string& bytes, const BlobLabels&)>
      put;
  std::function<void(const ImageDescriptor& parent, const std::vector<ImageDescriptor>&)> children;
  TreeOptions options;

  // InvalidArgument for indexes inside one another too deeply, too many manifests, or malformed
  // documents. NotFound when an index has nothing for the wanted platforms.
  absl::StatusOr<std::vector<TreeImage>> Walk(const ImageDescriptor& root);

 private:
  absl::Status Visit(const ImageDescriptor& descriptor, int depth, bool with_layers,
                     std::vector<TreeImage>* out);
  absl::Status VisitIndex(const ImageDescriptor& descriptor, int depth, bool with_layers,
                          std::vector<TreeImage>* out);
  absl::Status VisitManifest(const ImageDescriptor& descriptor, bool with_layers,
                             std::vector<TreeImage>* out);
  std::set<base::Digest> seen_;
};

// A walker over what the content store has.
TreeWalker StoredTree(const TransferJob& job, TreeOptions options);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_TRANSFER_IMAGE_TREE_H_
