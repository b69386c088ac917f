#include "services/registry/image.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"

namespace gantry::services {
namespace {

using base::Json;

constexpr size_t kMaxChildren = 4096;
constexpr int64_t kMaxBlob = int64_t{1} << 40;

Platform ParsePlatformJson(const Json& json) {
  return {base::JsonString(json, "os"), base::JsonString(json, "architecture"),
          base::JsonString(json, "variant"), base::JsonString(json, "os.version")};
}

absl::StatusOr<ImageDescriptor> ParseDescriptor(const Json& json, absl::string_view what) {
  if (!json.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": the descriptor is no object"));
  }
  ImageDescriptor out;
  out.media_type = base::JsonString(json, "mediaType");
  auto digest = base::Digest::Parse(base::JsonString(json, "digest"));
  if (!digest.ok()) return base::Annotate(digest.status(), what);
  out.digest = *std::move(digest);
  out.size = base::JsonInt(json, "size", -1);
  if (out.size < 0 || out.size > kMaxBlob) {
    return absl::InvalidArgumentError(absl::StrCat(what, " ", out.digest.str(), ": bad size"));
  }
  const Json& annotations = base::JsonAt(json, "annotations");
  if (annotations.is_object()) {
    for (const auto& [key, value] : annotations.items()) {
      if (value.is_string()) out.annotations[key] = value.get<std::string>();
    }
  }
  const Json& urls = base::JsonAt(json, "urls");
  if (urls.is_array()) {
    for (const Json& url : urls) {
      if (url.is_string() && out.urls.size() < 16) out.urls.push_back(url.get<std::string>());
    }
  }
  const Json& platform = base::JsonAt(json, "platform");
  if (platform.is_object()) out.platform = ParsePlatformJson(platform);
  return out;
}

absl::StatusOr<std::vector<ImageDescriptor>> ParseDescriptors(const Json& list,
                                                              absl::string_view what) {
  std::vector<ImageDescriptor> out;
  if (list.is_null()) return out;
  if (!list.is_array()) return absl::InvalidArgumentError(absl::StrCat(what, " is no list"));
  if (list.size() > kMaxChildren) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": more than ", kMaxChildren));
  }
  for (const Json& item : list) {
    GANTRY_ASSIGN_OR_RETURN(ImageDescriptor one, ParseDescriptor(item, what));
    out.push_back(std::move(one));
  }
  return out;
}

absl::StatusOr<std::string> TypeOf(const Json& json) {
  if (!json.is_object()) return absl::InvalidArgumentError("manifest is no JSON object");
  bool has_manifests = json.contains("manifests");
  bool has_layers = json.contains("layers") || json.contains("config");
  std::string type = base::JsonString(json, "mediaType");
  if (has_manifests && has_layers) {
    return absl::InvalidArgumentError(
        "ambiguous manifest: it has members of both an image and an index");
  }
  if (json.contains("fsLayers")) {
    return absl::InvalidArgumentError(
        "schema 1 image manifests are no longer supported: invalid argument");
  }
  if ((IsIndexType(type) && has_layers) || (IsManifestType(type) && has_manifests)) {
    return absl::InvalidArgumentError(
        absl::StrCat("ambiguous manifest: it calls itself ", type, " but is not"));
  }
  if (IsIndexType(type) || IsManifestType(type)) return type;
  if (has_manifests) return std::string(kOciIndex);
  if (has_layers) return std::string(kOciManifest);
  return absl::InvalidArgumentError(absl::StrCat("neither an image nor an index: ", type));
}

// Parses and checks that the document is what it was announced as.
absl::StatusOr<Json> ParseAs(absl::string_view text, absl::string_view media_type) {
  GANTRY_ASSIGN_OR_RETURN(Json json, base::ParseJson(text, {kMaxManifestBytes, 64}));
  GANTRY_ASSIGN_OR_RETURN(std::string type, TypeOf(json));
  std::string own = base::JsonString(json, "mediaType");
  bool same_kind = IsIndexType(type) == IsIndexType(media_type);
  if (!same_kind || (!own.empty() && own != media_type)) {
    return absl::InvalidArgumentError(
        absl::StrCat("media type mismatch: announced as ", media_type, ", but is ", type));
  }
  return json;
}

}  // namespace

bool IsIndexType(absl::string_view type) { return type == kOciIndex || type == kDockerList; }
bool IsManifestType(absl::string_view type) {
  return type == kOciManifest || type == kDockerManifest;
}
bool IsConfigType(absl::string_view type) { return type == kOciConfig || type == kDockerConfig; }
bool IsLayerType(absl::string_view type) {
  return absl::StartsWith(type, "application/vnd.oci.image.layer.") ||
         absl::StartsWith(type, kDockerLayer) ||
         absl::StartsWith(type, "application/vnd.docker.image.rootfs.foreign.diff.tar");
}
bool IsNonDistributable(absl::string_view type) {
  return absl::StartsWith(type, "application/vnd.oci.image.layer.nondistributable.") ||
         absl::StartsWith(type, "application/vnd.docker.image.rootfs.foreign.diff.tar");
}

absl::StatusOr<ImageIndex> ParseIndex(absl::string_view text, absl::string_view media_type) {
  GANTRY_ASSIGN_OR_RETURN(Json json, ParseAs(text, media_type));
  ImageIndex out;
  GANTRY_ASSIGN_OR_RETURN(out.manifests,
                          ParseDescriptors(base::JsonAt(json, "manifests"), "index manifests"));
  return out;
}

absl::StatusOr<ImageManifest> ParseManifest(absl::string_view text, absl::string_view media_type) {
  GANTRY_ASSIGN_OR_RETURN(Json json, ParseAs(text, media_type));
  ImageManifest out;
  GANTRY_ASSIGN_OR_RETURN(out.config,
                          ParseDescriptor(base::JsonAt(json, "config"), "manifest config"));
  GANTRY_ASSIGN_OR_RETURN(out.layers,
                          ParseDescriptors(base::JsonAt(json, "layers"), "manifest layers"));
  return out;
}

absl::StatusOr<ImageConfig> ParseConfig(absl::string_view text) {
  auto json = base::ParseJson(text, {kMaxConfigBytes, 64});
  if (!json.ok()) return base::Annotate(json.status(), "image config");
  ImageConfig out;
  out.platform = ParsePlatformJson(*json);
  const Json& list = base::JsonAt(base::JsonAt(*json, "rootfs"), "diff_ids");
  if (!list.is_array()) return out;
  for (const Json& item : list) {
    auto digest = base::Digest::Parse(item.is_string() ? item.get<std::string>() : "");
    if (!digest.ok()) return base::Annotate(digest.status(), "image config: rootfs.diff_ids");
    out.diff_ids.push_back(*std::move(digest));
  }
  return out;
}

absl::StatusOr<std::string> DetectManifestType(absl::string_view text) {
  GANTRY_ASSIGN_OR_RETURN(Json json, base::ParseJson(text, {kMaxManifestBytes, 64}));
  return TypeOf(json);
}

base::OrderedJson DescriptorJson(const ImageDescriptor& d) {
  base::OrderedJson out;
  out["mediaType"] = d.media_type;
  out["digest"] = d.digest.str();
  out["size"] = d.size;
  if (!d.urls.empty()) out["urls"] = d.urls;
  if (!d.annotations.empty()) out["annotations"] = d.annotations;
  if (d.platform && !d.platform->empty()) {
    base::OrderedJson platform;
    platform["architecture"] = d.platform->architecture;
    platform["os"] = d.platform->os;
    if (!d.platform->os_version.empty()) platform["os.version"] = d.platform->os_version;
    if (!d.platform->variant.empty()) platform["variant"] = d.platform->variant;
    out["platform"] = std::move(platform);
  }
  return out;
}

std::vector<base::Digest> ChainIds(const std::vector<base::Digest>& diff_ids) {
  std::vector<base::Digest> out;
  for (const base::Digest& diff_id : diff_ids) {
    out.push_back(out.empty() ? diff_id
                              : base::DigestOf(absl::StrCat(out.back().str(), " ", diff_id.str())));
  }
  return out;
}

std::vector<ImageDescriptor> SelectManifests(const ImageIndex& index,
                                             const std::vector<Platform>& wanted) {
  if (wanted.empty()) return index.manifests;
  std::vector<ImageDescriptor> out;
  std::vector<bool> taken(index.manifests.size());
  auto take = [&](size_t i) {
    if (!taken[i]) out.push_back(index.manifests[i]);
    taken[i] = true;
  };
  for (const Platform& platform : wanted) {
    int best = 1;
    std::vector<int> scores;
    for (const ImageDescriptor& d : index.manifests) {
      scores.push_back(d.platform && !d.platform->empty() ? PlatformScore(platform, *d.platform)
                                                          : 0);
      best = std::max(best, scores.back());
    }
    for (size_t i = 0; i < scores.size(); ++i) {
      if (scores[i] == best) take(i);
    }
  }
  for (size_t i = 0; i < index.manifests.size(); ++i) {
    const std::optional<Platform>& platform = index.manifests[i].platform;
    if (!platform || platform->empty()) take(i);
  }
  return out;
}

}  // namespace gantry::services
