#include "docker/images/image_store.h"

#include <algorithm>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/clock.h"
#include "base/status.h"
#include "client/content.h"
#include "containerd/services/content/v1/content.methods.h"
#include "containerd/services/images/v1/images.methods.h"
#include "containerd/services/snapshots/v1/snapshots.methods.h"

namespace gantry::docker {
namespace {

namespace contents = containerd::services::content::v1;
namespace images = containerd::services::images::v1;
namespace snapshots = containerd::services::snapshots::v1;
using base::Json;

constexpr size_t kMaxManifest = 8u << 20;
// Beyond this the memory for what was read starts anew.
constexpr size_t kMaxKept = 4096;
constexpr absl::string_view kSourceLabel = "containerd.io/distribution.source.";

Platform PlatformOfConfig(const Json& config) {
  return {base::JsonString(config, "os", "linux"), base::JsonString(config, "architecture"),
          base::JsonString(config, "variant")};
}

client::Descriptor TargetOf(const client::ImageRecord& record) {
  client::Descriptor target;
  target.media_type = record.target().media_type();
  target.size = record.target().size();
  if (auto digest = base::Digest::Parse(record.target().digest()); digest.ok()) {
    target.digest = *digest;
  }
  return target;
}

// Its record's name, put where it belongs.
void AddName(const std::string& name, const base::Digest& target, LocalImage* image) {
  image->names.push_back(name);
  if (IsDanglingName(name)) return;
  auto reference = ParseImageReference(name);
  if (!reference.ok()) return;
  if (!reference->digest.empty()) {
    reference->tag.clear();
    image->digests.push_back(*reference);
  } else if (!reference->tag.empty()) {
    for (const std::string& source : image->content->sources) {
      if (source != reference->Repository()) continue;
      ImageReference digested = *reference;
      digested.tag.clear();
      digested.digest = target;
      image->digests.push_back(digested);
    }
    image->tags.push_back(*reference);
  }
}

void SortAndUnite(std::vector<ImageReference>* references) {
  auto less = [](const ImageReference& a, const ImageReference& b) { return a.str() < b.str(); };
  auto same = [](const ImageReference& a, const ImageReference& b) { return a.str() == b.str(); };
  std::sort(references->begin(), references->end(), less);
  references->erase(std::unique(references->begin(), references->end(), same), references->end());
}

bool IsHex(absl::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f'); });
}

absl::Status NoSuchImage(absl::string_view shown) {
  return absl::NotFoundError(absl::StrCat("No such image: ", shown));
}

}  // namespace

absl::StatusOr<Platform> Platform::Parse(absl::string_view text) {
  std::vector<std::string> parts = absl::StrSplit(absl::AsciiStrToLower(text), '/');
  auto good = [](absl::string_view part) {
    return !part.empty() && std::all_of(part.begin(), part.end(), [](char c) {
      return absl::ascii_isalnum(c) || c == '_' || c == '-' || c == '.';
    });
  };
  if (parts.size() > 3 || !std::all_of(parts.begin(), parts.end(), good)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", text, "\" is an invalid component of \"", text,
        "\": platform specifier component must match \"^[A-Za-z0-9_.-]+$\": invalid argument"));
  }
  Platform out = OfThisMachine();
  if (parts.size() == 1) {
    if (parts[0] != "linux") out.architecture = parts[0];
  } else {
    out.os = parts[0];
    out.architecture = parts[1];
    out.variant = parts.size() == 3 ? parts[2] : "";
  }
  if (out.architecture == "x86_64" || out.architecture == "x86-64") out.architecture = "amd64";
  if (out.architecture == "aarch64") out.architecture = "arm64";
  if (out.architecture == "arm64" && out.variant == "v8") out.variant.clear();
  return out;
}

absl::StatusOr<Platform> Platform::FromJson(const Json& json) {
  if (json.is_null() || (json.is_object() && json.empty())) return OfThisMachine();
  if (!json.is_object()) return absl::InvalidArgumentError("invalid platform: no object");
  return Parse(absl::StrCat(
      base::JsonString(json, "os", "linux"), "/", base::JsonString(json, "architecture"),
      base::JsonString(json, "variant").empty() ? "" : "/", base::JsonString(json, "variant")));
}

Platform Platform::OfThisMachine() { return {"linux", client::MachineArchitecture(), ""}; }

std::string Platform::str() const {
  return absl::StrCat(os, "/", architecture, variant.empty() ? "" : "/", variant);
}

bool Platform::Accepts(const Platform& other) const {
  if (os != other.os || architecture != other.architecture) return false;
  return variant.empty() || variant == other.variant ||
         (architecture == "arm64" && variant == "v8" && other.variant.empty());
}

ImageStore::ImageStore(client::Connection gantryd, std::string snapshotter)
    : gantryd_(std::move(gantryd)), snapshotter_(std::move(snapshotter)) {}

absl::StatusOr<std::vector<client::ImageRecord>> ImageStore::Records() {
  images::ListImagesResponse list;
  GANTRY_RETURN_IF_ERROR(
      gantryd_.Call(images::ImagesMethods::kList, images::ListImagesRequest(), &list));
  return std::vector<client::ImageRecord>(list.images().begin(), list.images().end());
}

std::vector<std::string> ImageStore::SourcesOf(const base::Digest& target) {
  contents::InfoRequest request;
  request.set_digest(target.str());
  contents::InfoResponse response;
  if (!gantryd_.Call(contents::ContentMethods::kInfo, request, &response).ok()) return {};
  std::vector<std::string> sources;
  for (const auto& [key, value] : response.info().labels()) {
    absl::string_view host = key;
    if (!absl::ConsumePrefix(&host, kSourceLabel)) continue;
    for (absl::string_view repository : absl::StrSplit(value, ',', absl::SkipEmpty())) {
      sources.push_back(absl::StrCat(host, "/", repository));
    }
  }
  return sources;
}

absl::StatusOr<std::shared_ptr<const ImageContent>> ImageStore::LoadManifest(
    const client::Descriptor& target) {
  auto content = std::make_shared<ImageContent>();
  GANTRY_ASSIGN_OR_RETURN(std::string data,
                          client::ReadBlob(gantryd_, target.digest, kMaxManifest));
  GANTRY_ASSIGN_OR_RETURN(client::ImageManifest manifest,
                          client::ImageManifest::Parse(data, target.digest));
  GANTRY_ASSIGN_OR_RETURN(std::string text,
                          client::ReadBlob(gantryd_, manifest.config.digest, kMaxManifest));
  GANTRY_ASSIGN_OR_RETURN(content->config, base::ParseJson(text));
  GANTRY_ASSIGN_OR_RETURN(client::ImageConfig config,
                          client::ImageConfig::FromJson(content->config));
  content->id = manifest.config.digest;
  content->manifest = target.digest;
  content->layers = std::move(manifest.layers);
  content->diff_ids = std::move(config.diff_ids);
  content->chain_ids = client::ChainIds(content->diff_ids);
  content->config_size = static_cast<int64_t>(text.size());
  content->platform = PlatformOfConfig(content->config);
  auto created = base::ParseRfc3339(base::JsonString(content->config, "created"));
  if (created.ok()) content->created = *created;
  return content;
}

absl::StatusOr<std::shared_ptr<const ImageContent>> ImageStore::LoadIndex(
    const client::Descriptor& target) {
  GANTRY_ASSIGN_OR_RETURN(std::string data,
                          client::ReadBlob(gantryd_, target.digest, kMaxManifest));
  GANTRY_ASSIGN_OR_RETURN(Json index, client::ParseIndex(data));
  const Platform mine = Platform::OfThisMachine();
  std::shared_ptr<const ImageContent> other;
  for (const Json& item : base::JsonAt(index, "manifests")) {
    auto entry = client::Descriptor::FromJson(item);
    if (!entry.ok() || !client::IsManifestType(entry->media_type)) continue;
    auto content = LoadManifest(*entry);
    if (!content.ok() || (*content)->platform.os == "unknown") continue;
    if (mine.Accepts((*content)->platform)) return content;
    if (other == nullptr) other = *content;
  }
  if (other != nullptr) return other;
  return absl::NotFoundError(
      absl::StrCat("no manifest of index ", target.digest.str(), " is complete"));
}

absl::StatusOr<std::shared_ptr<const ImageContent>> ImageStore::Load(
    const client::Descriptor& target) {
  if (target.digest.empty()) return absl::NotFoundError("image without a digest");
  std::shared_ptr<const ImageContent> kept;
  {
    absl::MutexLock lock(&mutex_);
    auto found = contents_.find(target.digest);
    if (found != contents_.end()) kept = found->second;
  }
  const bool index = client::IsIndexType(target.media_type);
  // What an index offers here can grow by another pull, and labels of a blob can, too.
  if (kept != nullptr && !index) return kept;
  GANTRY_ASSIGN_OR_RETURN(std::shared_ptr<const ImageContent> content,
                          index ? LoadIndex(target) : LoadManifest(target));
  absl::MutexLock lock(&mutex_);
  if (contents_.size() > kMaxKept) contents_.clear();
  contents_[target.digest] = content;
  return content;
}

absl::StatusOr<std::vector<LocalImage>> ImageStore::List() {
  GANTRY_ASSIGN_OR_RETURN(std::vector<client::ImageRecord> records, Records());
  std::map<base::Digest, LocalImage> by_id;
  std::map<base::Digest, std::vector<std::string>> sources;
  for (const client::ImageRecord& record : records) {
    client::Descriptor target = TargetOf(record);
    auto loaded = Load(target);
    if (!loaded.ok()) continue;
    auto known = sources.find(target.digest);
    if (known == sources.end()) {
      known = sources.emplace(target.digest, SourcesOf(target.digest)).first;
    }
    LocalImage& image = by_id[(*loaded)->id];
    if (image.content == nullptr || image.content->sources != known->second) {
      auto content = std::make_shared<ImageContent>(**loaded);
      content->sources = known->second;
      image.content = content;
    }
    AddName(record.name(), target.digest, &image);
    const absl::Time updated = base::GetTimestamp(record.updated_at());
    if (updated >= image.tagged) {
      image.tagged = updated;
      image.target = target;
    }
    auto parent = record.labels().find(kParentLabel);
    if (parent != record.labels().end()) {
      if (auto id = base::Digest::Parse(parent->second); id.ok()) image.parent = *id;
    }
  }
  std::vector<LocalImage> out;
  for (auto& [id, image] : by_id) {
    SortAndUnite(&image.tags);
    SortAndUnite(&image.digests);
    out.push_back(std::move(image));
  }
  std::stable_sort(out.begin(), out.end(), [](const LocalImage& a, const LocalImage& b) {
    return a.content->created > b.content->created;
  });
  return out;
}

absl::StatusOr<LocalImage> ImageStore::Find(absl::string_view typed) {
  GANTRY_ASSIGN_OR_RETURN(std::vector<LocalImage> all, List());
  return FindAmong(all, typed);
}

absl::StatusOr<LocalImage> FindAmong(const std::vector<LocalImage>& all, absl::string_view typed) {
  absl::string_view hex = typed;
  const bool prefixed = absl::ConsumePrefix(&hex, "sha256:");
  const bool full_id = hex.size() == 64 && IsHex(hex);
  if (!full_id) {
    auto parsed = ParseImageReference(typed);
    if (!parsed.ok() && !prefixed) return parsed.status();
    const ImageReference wanted =
        parsed.ok() ? parsed->WithoutTagIfDigested().WithDefaultTag() : ImageReference();
    for (const LocalImage& image : all) {
      const auto& references = wanted.digest.empty() ? image.tags : image.digests;
      for (const ImageReference& reference : references) {
        if (parsed.ok() && reference.str() == wanted.str()) return image;
      }
    }
    if (!IsHex(hex) || hex.empty()) {
      return NoSuchImage(parsed.ok() ? wanted.Familiar() : std::string(typed));
    }
  }
  const LocalImage* found = nullptr;
  for (const LocalImage& image : all) {
    const bool by_target = full_id && image.target.digest.str() == absl::StrCat("sha256:", hex);
    if (!by_target && !absl::StartsWith(image.id().hex(), hex)) continue;
    if (found != nullptr) {
      found = nullptr;  // not unique: as good as none
      break;
    }
    found = &image;
  }
  if (found != nullptr) return *found;
  return NoSuchImage(full_id || prefixed ? std::string(typed) : absl::StrCat(typed, ":latest"));
}

std::vector<int64_t> ImageStore::LayerSizes(const ImageContent& content) {
  std::vector<int64_t> sizes;
  for (size_t i = 0; i < content.layers.size(); ++i) {
    const std::string chain = i < content.chain_ids.size() ? content.chain_ids[i] : "";
    {
      absl::MutexLock lock(&mutex_);
      auto known = sizes_.find(chain);
      if (known != sizes_.end()) {
        sizes.push_back(known->second);
        continue;
      }
    }
    snapshots::UsageRequest request;
    request.set_snapshotter(snapshotter_);
    request.set_key(chain);
    snapshots::UsageResponse response;
    if (!gantryd_.Call(snapshots::SnapshotsMethods::kUsage, request, &response).ok()) {
      sizes.push_back(content.layers[i].size);
      continue;
    }
    sizes.push_back(response.size());
    absl::MutexLock lock(&mutex_);
    if (sizes_.size() > kMaxKept) sizes_.clear();
    sizes_[chain] = response.size();
  }
  return sizes;
}

int64_t ImageStore::Size(const ImageContent& content) {
  int64_t sum = 0;
  for (int64_t size : LayerSizes(content)) sum += size;
  return sum;
}

absl::StatusOr<std::string> ImageStore::KeepSpare(const std::string& name) {
  images::GetImageRequest request;
  request.set_name(name);
  images::GetImageResponse answer;
  absl::Status status = gantryd_.Call(images::ImagesMethods::kGet, request, &answer);
  if (absl::IsNotFound(status)) return std::string();
  GANTRY_RETURN_IF_ERROR(status);
  GANTRY_ASSIGN_OR_RETURN(base::Digest digest,
                          base::Digest::Parse(answer.image().target().digest()));
  images::CreateImageRequest create;
  *create.mutable_image() = answer.image();
  create.mutable_image()->set_name(DanglingName(digest));
  images::CreateImageResponse created;
  status = gantryd_.Call(images::ImagesMethods::kCreate, create, &created);
  if (!status.ok() && !absl::IsAlreadyExists(status)) return status;
  return DanglingName(digest);
}

void ImageStore::DropSpare(const std::string& spare) {
  if (spare.empty()) return;
  auto records = Records();
  if (!records.ok()) return;
  std::string digest;
  for (const client::ImageRecord& record : *records) {
    if (record.name() == spare) digest = record.target().digest();
  }
  for (const client::ImageRecord& record : *records) {
    if (record.target().digest() == digest && !IsDanglingName(record.name())) {
      (void)DeleteName(spare);  // one name too many shows nowhere
      return;
    }
  }
}

absl::Status ImageStore::DeleteName(const std::string& name, bool sync) {
  images::DeleteImageRequest request;
  request.set_name(name);
  request.set_sync(sync);
  google::protobuf::Empty nothing;
  absl::Status status = gantryd_.Call(images::ImagesMethods::kDelete, request, &nothing);
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

absl::Status ImageStore::Tag(const std::string& name, const client::Descriptor& target,
                             const std::map<std::string, std::string>& labels) {
  GANTRY_ASSIGN_OR_RETURN(std::string spare, KeepSpare(name));
  images::UpdateImageRequest update;
  client::ImageRecord* image = update.mutable_image();
  image->set_name(name);
  image->mutable_target()->set_media_type(target.media_type);
  image->mutable_target()->set_digest(target.digest.str());
  image->mutable_target()->set_size(target.size);
  for (const auto& [key, value] : labels) (*image->mutable_labels())[key] = value;
  absl::Status status;
  if (spare.empty()) {
    images::CreateImageRequest create;
    *create.mutable_image() = *image;
    images::CreateImageResponse created;
    status = gantryd_.Call(images::ImagesMethods::kCreate, create, &created);
  }
  if (!spare.empty() || absl::IsAlreadyExists(status)) {
    update.mutable_update_mask()->add_paths("target");
    update.mutable_update_mask()->add_paths("labels");
    images::UpdateImageResponse updated;
    status = gantryd_.Call(images::ImagesMethods::kUpdate, update, &updated);
  }
  DropSpare(spare);
  // The image has a real name now.
  if (status.ok() && !IsDanglingName(name)) DropSpare(DanglingName(target.digest));
  return status;
}

std::string ShortId(absl::string_view id) {
  absl::ConsumePrefix(&id, "sha256:");
  return std::string(id.substr(0, 12));
}

}  // namespace gantry::docker
