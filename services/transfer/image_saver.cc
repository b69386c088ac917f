#include "services/transfer/image_saver.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "services/metadata/image_store.h"
#include "services/transfer/progress.h"

namespace gantry::services {
namespace {

using containerd::types::transfer::ImageReference;

constexpr char kNameAnnotation[] = "io.containerd.image.name";
constexpr char kRefAnnotation[] = "org.opencontainers.image.ref.name";

std::string Annotation(const ImageDescriptor& d, const char* key) {
  auto it = d.annotations.find(key);
  return it == d.annotations.end() ? "" : it->second;
}

// Whether `name` is `prefix` with a tag, digest or further path behind it.
bool HasNamePrefix(absl::string_view name, absl::string_view prefix) {
  if (!absl::StartsWith(name, prefix)) return false;
  return name.size() == prefix.size() || absl::StrContains("/:@", name.substr(prefix.size(), 1));
}

// A bare tag gets the prefix; a full name is taken if it may be (any, or below the prefix).
std::string Translate(const ImageReference& reference, const std::string& name) {
  if (reference.name().empty() || name.empty()) return "";
  if (name.find_first_of("/:@") == std::string::npos) {
    return absl::StrCat(reference.name(), ":", name);
  }
  return reference.allow_overwrite() || HasNamePrefix(name, reference.name()) ? name : "";
}

std::string NameFor(const ImageReference& reference, const ImageDescriptor& d) {
  std::string full = Annotation(d, kNameAnnotation);
  if (!full.empty()) return Translate(reference, full) == full ? full : "";
  return Translate(reference, Annotation(d, kRefAnnotation));
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ImageNames(
    const containerd::types::transfer::ImageStore& store, const ImageDescriptor& target) {
  std::vector<std::string> names;
  auto source = target.annotations.find(kRefSourceAnnotation);
  if (source == target.annotations.end()) {
    if (!store.name().empty()) names.push_back(store.name());
    for (const ImageReference& r : store.extra_references()) {
      if (r.is_prefix()) continue;
      names.push_back(r.add_digest() ? absl::StrCat(r.name(), "@", target.digest.str()) : r.name());
    }
    return names;
  }
  if (source->second != "annotation") {
    return absl::InvalidArgumentError("ref source not supported: invalid argument");
  }
  for (const ImageReference& r : store.extra_references()) {
    if (!r.is_prefix()) continue;
    std::string name = NameFor(r, target);
    if (!name.empty()) names.push_back(name);
    if (r.add_digest() && (name.empty() || !r.skip_named_digest())) {
      names.push_back(absl::StrCat(r.name(), "@", target.digest.str()));
    }
  }
  return names;
}

absl::StatusOr<std::vector<std::string>> SaveImage(
    const TransferJob& job, const containerd::types::transfer::ImageStore& store,
    ImageDescriptor target) {
  GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> names, ImageNames(store, target));
  if (names.empty()) return absl::NotFoundError("no image name found: not found");
  target.annotations.erase(kRefSourceAnnotation);
  ImageStore* images = job.deps->images;
  for (const std::string& name : names) {
    ImageStore::Image image;
    image.set_name(name);
    *image.mutable_labels() = store.labels();
    *image.mutable_target() = ToProto(target);
    // Somebody may create or delete the name between the two calls.
    absl::Status status;
    for (int i = 0; i < 10; ++i) {
      status = images->Create(job.ctx, image).status();
      if (!absl::IsAlreadyExists(status)) break;
      status = images->Update(job.ctx, image, {}).status();
      if (!absl::IsNotFound(status)) break;
    }
    GANTRY_RETURN_IF_ERROR(status);
  }
  return names;
}

}  // namespace gantry::services
