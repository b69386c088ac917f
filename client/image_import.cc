#include "client/image_import.h"

#include <unistd.h>

#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/json.h"
#include "base/status.h"
#include "client/archive_reader.h"
#include "client/gunzip.h"
#include "client/image.h"
#include "client/lease.h"
#include "containerd/services/content/v1/content.methods.h"
#include "containerd/services/images/v1/images.methods.h"

namespace gantry::client {
namespace {

namespace contents = containerd::services::content::v1;
namespace images = containerd::services::images::v1;
using base::Json;

constexpr size_t kReadSize = 1u << 20;
constexpr int kMaxIndexDepth = 4;
constexpr char kDockerManifest[] = "application/vnd.docker.distribution.manifest.v2+json";
constexpr char kDockerConfig[] = "application/vnd.docker.container.image.v1+json";
constexpr char kDockerLayer[] = "application/vnd.docker.image.rootfs.diff.tar";
constexpr char kDockerLayerGzip[] = "application/vnd.docker.image.rootfs.diff.tar.gzip";

struct Found {
  std::string name;
  Descriptor target;
};

absl::Status ReadArchive(const ByteSource& source, ArchiveReader* reader) {
  archive::TarReader tar(reader);
  MaybeGunzip plain([&](absl::string_view data) { return tar.Write(data); });
  while (true) {
    GANTRY_ASSIGN_OR_RETURN(std::string data, source());
    if (data.empty()) break;
    GANTRY_RETURN_IF_ERROR(plain.Write(data));
  }
  GANTRY_RETURN_IF_ERROR(plain.Finish());
  return tar.Finish();
}

constexpr char kLacksBlob[] = "the archive lacks a blob that it names";

// Layers that are only to be had elsewhere may lack in archives.
bool MayLack(const Descriptor& layer) {
  return absl::StrContains(layer.media_type, ".nondistributable.") ||
         absl::StrContains(layer.media_type, ".foreign.");
}

absl::Status CheckBlob(const Connection& connection, const base::Digest& digest) {
  contents::InfoRequest request;
  request.set_digest(digest.str());
  contents::InfoResponse response;
  return base::Annotate(connection.Call(contents::ContentMethods::kInfo, request, &response),
                        kLacksBlob);
}

// All that a manifest names is there, and its configuration can be read.
absl::Status CheckManifest(const Connection& connection, const ImageManifest& manifest) {
  const base::Digest& config = manifest.config.digest;
  auto text = ReadBlob(connection, config);
  GANTRY_RETURN_IF_ERROR(base::Annotate(text.status(), kLacksBlob));
  GANTRY_RETURN_IF_ERROR(
      base::Annotate(base::ParseJson(*text).status(), absl::StrCat("image config ", config.str())));
  for (const Descriptor& layer : manifest.layers) {
    if (!MayLack(layer)) GANTRY_RETURN_IF_ERROR(CheckBlob(connection, layer.digest));
  }
  return absl::OkStatus();
}

// Tells the daemon's collector what a manifest or index needs, all the way down.
absl::Status LinkChildren(const Connection& connection, const Descriptor& target, int depth) {
  if (depth > kMaxIndexDepth) return absl::InvalidArgumentError("indexes nested too deeply");
  bool index = IsIndexType(target.media_type);
  if (!index && !IsManifestType(target.media_type)) return absl::OkStatus();
  auto data = ReadBlob(connection, target.digest);
  // Archives of one platform leave the others' manifests out.
  if (absl::IsNotFound(data.status()) && depth > 0) return absl::OkStatus();
  GANTRY_RETURN_IF_ERROR(base::Annotate(data.status(), kLacksBlob));
  const std::string what =
      absl::StrCat(index ? "image index " : "image manifest ", target.digest.str());
  std::map<std::string, std::string> labels;
  if (index) {
    auto document = ParseIndex(*data);
    GANTRY_RETURN_IF_ERROR(base::Annotate(document.status(), what));
    int i = 0;
    for (const Json& item : base::JsonAt(*document, "manifests")) {
      GANTRY_ASSIGN_OR_RETURN(Descriptor child, Descriptor::FromJson(item));
      labels[absl::StrCat("containerd.io/gc.ref.content.m.", i++)] = child.digest.str();
      GANTRY_RETURN_IF_ERROR(LinkChildren(connection, child, depth + 1));
    }
  } else {
    auto manifest = ImageManifest::Parse(*data, target.digest);
    GANTRY_RETURN_IF_ERROR(base::Annotate(manifest.status(), what));
    GANTRY_RETURN_IF_ERROR(CheckManifest(connection, *manifest));
    labels["containerd.io/gc.ref.content.config"] = manifest->config.digest.str();
    for (size_t i = 0; i < manifest->layers.size(); ++i) {
      labels[absl::StrCat("containerd.io/gc.ref.content.l.", i)] = manifest->layers[i].digest.str();
    }
  }
  return LabelBlob(connection, target.digest, labels);
}

absl::StatusOr<std::string> NameOf(const Json& annotations, const base::Digest& target,
                                   const ImportOptions& options) {
  std::string full = base::JsonString(annotations, "io.containerd.image.name");
  if (!full.empty()) return full;
  std::string ref = base::JsonString(annotations, "org.opencontainers.image.ref.name");
  if (absl::StrContains(ref, '/')) return NormalizeReference(ref);
  if (!options.base_name.empty()) {
    return absl::StrCat(options.base_name, ":", ref.empty() ? "latest" : ref);
  }
  if (absl::StrContains(ref, ':')) return NormalizeReference(ref);
  if (options.name_unnamed) return options.name_unnamed(target.str());
  return absl::InvalidArgumentError(
      "the archive does not say what its image is called; give it a name with --name");
}

absl::StatusOr<std::vector<Found>> FromIndex(const std::string& text,
                                             const ImportOptions& options) {
  auto index = ParseIndex(text);
  GANTRY_RETURN_IF_ERROR(base::Annotate(index.status(), "index.json"));
  std::vector<Found> found;
  for (const Json& item : base::JsonAt(*index, "manifests")) {
    GANTRY_ASSIGN_OR_RETURN(Descriptor target, Descriptor::FromJson(item));
    if (!IsIndexType(target.media_type) && !IsManifestType(target.media_type)) continue;
    GANTRY_ASSIGN_OR_RETURN(std::string name,
                            NameOf(base::JsonAt(item, "annotations"), target.digest, options));
    found.push_back({std::move(name), std::move(target)});
  }
  return found;
}

Json DescriptorJson(absl::string_view type, const ArchiveReader::Stored& blob) {
  return {{"mediaType", std::string(type)}, {"size", blob.size}, {"digest", blob.digest.str()}};
}

// Writes the manifest that a docker-archive does not have.
absl::StatusOr<Descriptor> MakeManifest(const Connection& connection, const ArchiveReader& reader,
                                        const Json& image) {
  auto stored = [&](const std::string& name) -> absl::StatusOr<ArchiveReader::Stored> {
    const ArchiveReader::Stored* blob = reader.FindStored(name);
    if (blob != nullptr) return *blob;
    return absl::InvalidArgumentError(absl::StrCat("the archive lacks \"", name, "\""));
  };
  GANTRY_ASSIGN_OR_RETURN(auto config, stored(base::JsonString(image, "Config")));
  Json layers = Json::array();
  for (const Json& name : base::JsonAt(image, "Layers")) {
    GANTRY_ASSIGN_OR_RETURN(auto layer, stored(name.is_string() ? name.get<std::string>() : ""));
    bool gzip = layer.compression == archive::Compression::kGzip;
    layers.push_back(DescriptorJson(gzip ? kDockerLayerGzip : kDockerLayer, layer));
  }
  std::string manifest = base::DumpJson({{"schemaVersion", 2},
                                         {"mediaType", kDockerManifest},
                                         {"config", DescriptorJson(kDockerConfig, config)},
                                         {"layers", layers}});
  Descriptor target;
  target.media_type = kDockerManifest;
  target.digest = base::DigestOf(manifest);
  target.size = static_cast<int64_t>(manifest.size());
  GANTRY_RETURN_IF_ERROR(WriteBlob(connection, manifest, target.digest));
  return target;
}

absl::StatusOr<std::vector<Found>> FromDockerArchive(const Connection& connection,
                                                     const ArchiveReader& reader,
                                                     const std::string& text,
                                                     const ImportOptions& options) {
  auto list = base::ParseJson(text);
  GANTRY_RETURN_IF_ERROR(base::Annotate(list.status(), "manifest.json"));
  std::vector<Found> found;
  for (const Json& image : *list) {
    GANTRY_ASSIGN_OR_RETURN(Descriptor target, MakeManifest(connection, reader, image));
    const Json& tags = base::JsonAt(image, "RepoTags");
    for (const Json& tag : tags) {
      if (tag.is_string()) found.push_back({NormalizeReference(tag.get<std::string>()), target});
    }
    if (!tags.empty()) continue;
    GANTRY_ASSIGN_OR_RETURN(std::string name, NameOf(Json(), target.digest, options));
    found.push_back({std::move(name), target});
  }
  return found;
}

absl::Status PutImage(const Connection& connection, const Found& found,
                      const ImportOptions& options) {
  images::CreateImageRequest create;
  images::Image* image = create.mutable_image();
  image->set_name(found.name);
  image->mutable_target()->set_media_type(found.target.media_type);
  image->mutable_target()->set_digest(found.target.digest.str());
  image->mutable_target()->set_size(found.target.size);
  for (const auto& [key, value] : options.labels) (*image->mutable_labels())[key] = value;
  images::CreateImageResponse created;
  absl::Status status = connection.Call(images::ImagesMethods::kCreate, create, &created);
  if (!absl::IsAlreadyExists(status)) return status;
  images::UpdateImageRequest update;
  *update.mutable_image() = *image;
  update.mutable_update_mask()->add_paths("target");
  for (const auto& label : options.labels) {
    update.mutable_update_mask()->add_paths(absl::StrCat("labels.", label.first));
  }
  images::UpdateImageResponse updated;
  return connection.Call(images::ImagesMethods::kUpdate, update, &updated);
}

absl::StatusOr<std::vector<Found>> FindImages(const Connection& connection,
                                              const ArchiveReader& reader,
                                              const ImportOptions& options) {
  const auto& documents = reader.documents();
  auto index = documents.find("index.json");
  auto docker = documents.find("manifest.json");
  // `docker save` of today writes both; the index carries the full names.
  if (index != documents.end()) {
    auto found = FromIndex(index->second, options);
    if (found.ok() || docker == documents.end()) return found;
  }
  if (docker != documents.end()) {
    return FromDockerArchive(connection, reader, docker->second, options);
  }
  return absl::InvalidArgumentError(
      "neither an OCI image layout (index.json) nor a docker archive (manifest.json)");
}

absl::Status Unpack(const Connection& connection, const Found& found,
                    const ImportOptions& options) {
  images::Image image;
  image.set_name(found.name);
  image.mutable_target()->set_media_type(found.target.media_type);
  image.mutable_target()->set_digest(found.target.digest.str());
  auto resolved = ResolveImage(connection, image);
  // An image for other machines can be stored and pushed, not run.
  if (absl::IsNotFound(resolved.status())) return absl::OkStatus();
  GANTRY_RETURN_IF_ERROR(resolved.status());
  return UnpackImage(connection, *resolved, options.snapshotter, [&](const Descriptor& layer) {
    if (options.progress) options.progress(absl::StrCat("unpacked ", layer.digest.str()));
  });
}

}  // namespace

absl::StatusOr<std::vector<ImportedImage>> ImportImages(const Connection& connection, int fd,
                                                        const ImportOptions& options) {
  return ImportImages(
      connection,
      [fd]() -> absl::StatusOr<std::string> {
        std::string buffer(kReadSize, '\0');
        ssize_t n;
        do {
          n = read(fd, buffer.data(), buffer.size());
        } while (n < 0 && errno == EINTR);
        if (n < 0) return base::ErrnoStatus(errno, "read the archive");
        buffer.resize(static_cast<size_t>(n));
        return buffer;
      },
      options);
}

absl::StatusOr<std::vector<ImportedImage>> ImportImages(const Connection& connection,
                                                        const ByteSource& source,
                                                        const ImportOptions& options) {
  GANTRY_ASSIGN_OR_RETURN(Lease lease, Lease::Create(connection));
  ArchiveReader reader(lease.connection());
  GANTRY_RETURN_IF_ERROR(ReadArchive(source, &reader));
  GANTRY_ASSIGN_OR_RETURN(std::vector<Found> found,
                          FindImages(lease.connection(), reader, options));
  if (found.empty()) return absl::InvalidArgumentError("the archive holds no image");
  std::vector<ImportedImage> imported;
  for (const Found& image : found) {
    GANTRY_RETURN_IF_ERROR(base::Annotate(LinkChildren(lease.connection(), image.target, 0),
                                          absl::StrCat("image ", image.name)));
    if (!options.snapshotter.empty()) {
      GANTRY_RETURN_IF_ERROR(base::Annotate(Unpack(lease.connection(), image, options),
                                            absl::StrCat("unpack ", image.name)));
    }
  }
  // Only now: what is listed can be run.
  for (const Found& image : found) {
    if (options.before_put) GANTRY_RETURN_IF_ERROR(options.before_put(image.name));
    GANTRY_RETURN_IF_ERROR(PutImage(lease.connection(), image, options));
    imported.push_back({image.name, image.target.digest.str()});
  }
  return imported;
}

}  // namespace gantry::client
