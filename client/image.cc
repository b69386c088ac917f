#include "client/image.h"

#include <sys/utsname.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/ids.h"
#include "base/status.h"
#include "client/content.h"
#include "containerd/services/images/v1/images.methods.h"

namespace gantry::client {
namespace {

namespace images = containerd::services::images::v1;

constexpr size_t kMaxManifest = 8u << 20;
constexpr size_t kMinDigestPrefix = 3;

std::vector<std::string> StringList(const base::Json& value) {
  std::vector<std::string> list;
  if (!value.is_array()) return list;
  for (const base::Json& item : value) {
    if (item.is_string()) list.push_back(item.get<std::string>());
  }
  return list;
}

bool HasRegistry(absl::string_view reference) {
  size_t slash = reference.find('/');
  if (slash == absl::string_view::npos) return false;
  absl::string_view host = reference.substr(0, slash);
  return absl::StrContains(host, '.') || absl::StrContains(host, ':') || host == "localhost";
}

std::string WithTag(std::string reference) {
  if (absl::StrContains(reference, '@')) return reference;
  size_t name = reference.rfind('/');
  absl::string_view last =
      absl::string_view(reference).substr(name == std::string::npos ? 0 : name);
  return absl::StrContains(last, ':') ? reference : absl::StrCat(reference, ":latest");
}

bool Matches(const ImageRecord& image, absl::string_view typed, absl::string_view tagged) {
  absl::string_view name = image.name();
  if (name == typed || name == tagged) return true;
  if (absl::EndsWith(name, absl::StrCat("/", tagged))) return true;
  absl::string_view digest = image.target().digest();
  if (typed == digest) return true;
  size_t colon = digest.find(':');
  if (colon == absl::string_view::npos || typed.size() < kMinDigestPrefix) return false;
  absl::string_view hex = digest.substr(colon + 1);
  return absl::StartsWith(hex, typed) || absl::StartsWith(digest, absl::StrCat(typed));
}

absl::StatusOr<ImageRecord> SearchImages(const Connection& connection, absl::string_view typed) {
  images::ListImagesResponse list;
  GANTRY_RETURN_IF_ERROR(
      connection.Call(images::ImagesMethods::kList, images::ListImagesRequest(), &list));
  std::string tagged = WithTag(std::string(typed));
  std::vector<const ImageRecord*> found;
  for (const ImageRecord& image : list.images()) {
    if (Matches(image, typed, tagged)) found.push_back(&image);
  }
  if (found.empty()) {
    return absl::NotFoundError(absl::StrCat("image \"", typed,
                                            "\" is not here; see `gantryctl "
                                            "images`, or fetch it with `gantryctl pull ",
                                            typed, "`"));
  }
  bool same = std::all_of(found.begin(), found.end(), [&](const ImageRecord* image) {
    return image->target().digest() == found[0]->target().digest();
  });
  if (!same) {
    return absl::FailedPreconditionError(absl::StrCat(
        "\"", typed, "\" could be ",
        absl::StrJoin(found, " or ",
                      [](std::string* out, const ImageRecord* i) { out->append(i->name()); }),
        "; give the full name"));
  }
  return *found[0];
}

// Readers that disagree on what it is would disagree on what they run.
absl::Status Ambiguous() {
  return absl::InvalidArgumentError(
      "ambiguous document: it has members of both an image manifest and an index");
}

}  // namespace

bool IsIndexType(absl::string_view media_type) {
  return media_type == "application/vnd.oci.image.index.v1+json" ||
         media_type == "application/vnd.docker.distribution.manifest.list.v2+json";
}

bool IsManifestType(absl::string_view media_type) {
  return media_type == "application/vnd.oci.image.manifest.v1+json" ||
         media_type == "application/vnd.docker.distribution.manifest.v2+json";
}

bool IsLayerType(absl::string_view media_type) {
  return absl::StartsWith(media_type, "application/vnd.oci.image.layer.") ||
         absl::StartsWith(media_type, "application/vnd.docker.image.rootfs.");
}

absl::StatusOr<Descriptor> Descriptor::FromJson(const base::Json& json) {
  Descriptor descriptor;
  descriptor.media_type = base::JsonString(json, "mediaType");
  GANTRY_ASSIGN_OR_RETURN(descriptor.digest, base::Digest::Parse(base::JsonString(json, "digest")));
  descriptor.size = base::JsonInt(json, "size", -1);
  if (descriptor.size < 0) return absl::InvalidArgumentError("descriptor without a valid size");
  const base::Json& platform = base::JsonAt(json, "platform");
  descriptor.os = base::JsonString(platform, "os");
  descriptor.architecture = base::JsonString(platform, "architecture");
  descriptor.variant = base::JsonString(platform, "variant");
  return descriptor;
}

absl::StatusOr<ImageConfig> ImageConfig::FromJson(const base::Json& json) {
  ImageConfig config;
  const base::Json& run = base::JsonAt(json, "config");
  config.entrypoint = StringList(base::JsonAt(run, "Entrypoint"));
  config.cmd = StringList(base::JsonAt(run, "Cmd"));
  config.env = StringList(base::JsonAt(run, "Env"));
  config.working_dir = base::JsonString(run, "WorkingDir");
  config.user = base::JsonString(run, "User");
  config.stop_signal = base::JsonString(run, "StopSignal");
  config.os = base::JsonString(json, "os");
  config.architecture = base::JsonString(json, "architecture");
  for (const std::string& id : StringList(base::JsonAt(base::JsonAt(json, "rootfs"), "diff_ids"))) {
    GANTRY_ASSIGN_OR_RETURN(base::Digest digest, base::Digest::Parse(id));
    config.diff_ids.push_back(digest);
  }
  return config;
}

absl::StatusOr<base::Json> ParseIndex(absl::string_view json) {
  GANTRY_ASSIGN_OR_RETURN(base::Json document, base::ParseJson(json));
  if (!document.is_object()) return absl::InvalidArgumentError("no JSON object");
  if (document.contains("layers") || document.contains("config")) return Ambiguous();
  return document;
}

absl::StatusOr<ImageManifest> ImageManifest::Parse(absl::string_view json,
                                                   const base::Digest& digest) {
  GANTRY_ASSIGN_OR_RETURN(base::Json document, base::ParseJson(json));
  if (!document.is_object()) return absl::InvalidArgumentError("no JSON object");
  if (document.contains("manifests")) return Ambiguous();
  ImageManifest manifest;
  manifest.digest = digest;
  auto config = Descriptor::FromJson(base::JsonAt(document, "config"));
  GANTRY_RETURN_IF_ERROR(base::Annotate(config.status(), "manifest's config"));
  manifest.config = *config;
  const base::Json& layers = base::JsonAt(document, "layers");
  if (!layers.is_array()) return absl::InvalidArgumentError("manifest without layers");
  for (const base::Json& item : layers) {
    GANTRY_ASSIGN_OR_RETURN(Descriptor layer, Descriptor::FromJson(item));
    manifest.layers.push_back(std::move(layer));
  }
  return manifest;
}

std::vector<std::string> ChainIds(const std::vector<base::Digest>& diff_ids) {
  std::vector<std::string> chain;
  for (const base::Digest& diff : diff_ids) {
    chain.push_back(chain.empty()
                        ? diff.str()
                        : base::DigestOf(absl::StrCat(chain.back(), " ", diff.str())).str());
  }
  return chain;
}

std::string MachineArchitecture() {
  utsname name = {};
  uname(&name);
  absl::string_view machine = name.machine;
  if (machine == "x86_64") return "amd64";
  if (machine == "aarch64") return "arm64";
  if (absl::StartsWith(machine, "arm")) return "arm";
  if (machine == "i686" || machine == "i386") return "386";
  return std::string(machine);
}

absl::StatusOr<Descriptor> PickManifest(const base::Json& index) {
  std::string machine = MachineArchitecture();
  std::vector<std::string> offered;
  const Descriptor* fallback = nullptr;
  Descriptor unnamed;
  for (const base::Json& item : base::JsonAt(index, "manifests")) {
    GANTRY_ASSIGN_OR_RETURN(Descriptor entry, Descriptor::FromJson(item));
    if (!IsManifestType(entry.media_type)) continue;
    if (entry.os == "linux" && entry.architecture == machine) return entry;
    if (entry.architecture.empty() && fallback == nullptr) {
      unnamed = entry;
      fallback = &unnamed;
    }
    offered.push_back(absl::StrCat(entry.os, "/", entry.architecture));
  }
  if (fallback != nullptr) return *fallback;
  return absl::NotFoundError(absl::StrCat("no manifest for linux/", machine,
                                          " in the image; it has ", absl::StrJoin(offered, ", ")));
}

std::string NormalizeReference(absl::string_view typed) {
  if (HasRegistry(typed)) return WithTag(std::string(typed));
  if (absl::StrContains(typed, '/')) return WithTag(absl::StrCat("docker.io/", typed));
  return WithTag(absl::StrCat("docker.io/library/", typed));
}

std::vector<std::string> ReferenceCandidates(absl::string_view typed) {
  if (HasRegistry(typed)) {
    std::vector<std::string> names = {WithTag(std::string(typed))};
    if (names[0] != typed) names.emplace_back(typed);
    return names;
  }
  return {NormalizeReference(typed), WithTag(absl::StrCat("gantry.local/", typed)),
          std::string(typed)};
}

absl::StatusOr<ImageRecord> FindImage(const Connection& connection, absl::string_view typed) {
  if (typed.empty()) return absl::InvalidArgumentError("an image name must not be empty");
  std::vector<std::string> names = ReferenceCandidates(typed);
  // One after another: nearly always the first is it.
  for (const std::string& name : names) {
    images::GetImageRequest request;
    request.set_name(name);
    images::GetImageResponse answer;
    absl::Status status = connection.Call(images::ImagesMethods::kGet, request, &answer);
    if (status.ok()) return std::move(*answer.mutable_image());
    if (!absl::IsNotFound(status) && !absl::IsInvalidArgument(status)) return status;
  }
  return SearchImages(connection, typed);
}

absl::StatusOr<ResolvedImage> ResolveImage(const Connection& connection, const ImageRecord& image) {
  ResolvedImage resolved;
  resolved.name = image.name();
  GANTRY_ASSIGN_OR_RETURN(resolved.target, base::Digest::Parse(image.target().digest()));
  base::Digest digest = resolved.target;
  GANTRY_ASSIGN_OR_RETURN(std::string data, ReadBlob(connection, digest, kMaxManifest));
  if (IsIndexType(image.target().media_type())) {
    GANTRY_ASSIGN_OR_RETURN(base::Json index, ParseIndex(data));
    GANTRY_ASSIGN_OR_RETURN(Descriptor chosen, PickManifest(index));
    digest = chosen.digest;
    GANTRY_ASSIGN_OR_RETURN(data, ReadBlob(connection, digest, kMaxManifest));
  }
  GANTRY_ASSIGN_OR_RETURN(resolved.manifest, ImageManifest::Parse(data, digest));
  GANTRY_ASSIGN_OR_RETURN(std::string config,
                          ReadBlob(connection, resolved.manifest.config.digest, kMaxManifest));
  GANTRY_ASSIGN_OR_RETURN(base::Json document, base::ParseJson(config));
  GANTRY_ASSIGN_OR_RETURN(resolved.config, ImageConfig::FromJson(document));
  if (resolved.config.diff_ids.size() != resolved.manifest.layers.size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "image ", resolved.name, ": the manifest has ", resolved.manifest.layers.size(),
        " layers, the configuration ", resolved.config.diff_ids.size()));
  }
  std::vector<std::string> chain = ChainIds(resolved.config.diff_ids);
  if (!chain.empty()) resolved.chain_id = chain.back();
  return resolved;
}

}  // namespace gantry::client
