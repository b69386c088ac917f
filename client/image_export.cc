#include "client/image_export.h"

#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/archive/tar_writer.h"
#include "base/file.h"
#include "base/json.h"
#include "base/status.h"
#include "client/content.h"

namespace gantry::client {
namespace {

using base::OrderedJson;

constexpr int kMaxDepth = 4;

std::string BlobPath(const base::Digest& digest) {
  return absl::StrCat("blobs/", digest.algorithm(), "/", digest.hex());
}

class Exporter {
 public:
  Exporter(const Connection& connection, bool familiar, const archive::ByteSink& sink)
      : connection_(connection), familiar_(familiar), tar_(sink) {}

  absl::Status Add(const ExportedImage& image) {
    const Descriptor& target = image.target;
    const std::string shown = image.names.empty() ? target.digest.str() : image.names[0];
    GANTRY_RETURN_IF_ERROR(base::Annotate(AddTree(target, 0), absl::StrCat("export ", shown)));
    OrderedJson entry = {
        {"mediaType", target.media_type}, {"digest", target.digest.str()}, {"size", target.size}};
    for (const std::string& name : image.names) {
      std::vector<absl::string_view> parts = absl::StrSplit(name, ':');
      entry["annotations"] = {{"io.containerd.image.name", name},
                              {"org.opencontainers.image.ref.name", std::string(parts.back())}};
      index_.push_back(entry);
    }
    if (image.names.empty()) index_.push_back(entry);
    return AddDockerEntry(image);
  }

  absl::Status Finish() {
    GANTRY_RETURN_IF_ERROR(AddFile("oci-layout", R"({"imageLayoutVersion":"1.0.0"})"));
    OrderedJson index = {{"schemaVersion", 2},
                         {"mediaType", "application/vnd.oci.image.index.v1+json"},
                         {"manifests", index_}};
    GANTRY_RETURN_IF_ERROR(AddFile("index.json", index.dump()));
    GANTRY_RETURN_IF_ERROR(AddFile("manifest.json", docker_.dump()));
    return tar_.Finish();
  }

 private:
  absl::Status AddFile(const std::string& name, absl::string_view data) {
    GANTRY_RETURN_IF_ERROR(AddHeader(name, static_cast<int64_t>(data.size())));
    return tar_.Write(data);
  }

  absl::Status AddHeader(const std::string& name, int64_t size) {
    archive::TarEntry entry;
    entry.name = name;
    entry.mode = 0644;
    entry.size = size;
    return tar_.AddEntry(entry);
  }

  absl::Status AddBlob(const Descriptor& blob) {
    if (!written_.insert(blob.digest).second) return absl::OkStatus();
    GANTRY_RETURN_IF_ERROR(AddHeader(BlobPath(blob.digest), blob.size));
    base::Hasher hasher(blob.digest);
    GANTRY_RETURN_IF_ERROR(StreamBlob(connection_, blob.digest, [&](absl::string_view data) {
      hasher.Update(data);
      return tar_.Write(data);
    }));
    if (hasher.Finish() != blob.digest) {
      return absl::DataLossError(absl::StrCat("blob ", blob.digest.str(), " is damaged"));
    }
    return absl::OkStatus();
  }

  absl::Status AddTree(const Descriptor& target, int depth) {
    if (depth > kMaxDepth) return absl::InvalidArgumentError("indexes nested too deeply");
    auto data = ReadBlob(connection_, target.digest);
    if (absl::IsNotFound(data.status()) && depth > 0) return absl::OkStatus();
    GANTRY_RETURN_IF_ERROR(data.status());
    GANTRY_ASSIGN_OR_RETURN(base::Json document, base::ParseJson(*data));
    if (IsIndexType(target.media_type)) {
      for (const base::Json& item : base::JsonAt(document, "manifests")) {
        GANTRY_ASSIGN_OR_RETURN(Descriptor child, Descriptor::FromJson(item));
        GANTRY_RETURN_IF_ERROR(AddTree(child, depth + 1));
      }
    } else {
      GANTRY_ASSIGN_OR_RETURN(ImageManifest manifest, ImageManifest::Parse(*data, target.digest));
      // A manifest without its layers is another machine's that was not fetched.
      if (depth > 0 && !ReadBlob(connection_, manifest.config.digest).ok()) return absl::OkStatus();
      GANTRY_RETURN_IF_ERROR(AddBlob(manifest.config));
      for (const Descriptor& layer : manifest.layers) GANTRY_RETURN_IF_ERROR(AddBlob(layer));
    }
    return AddBlob(target);
  }

  std::string Shown(absl::string_view name) const {
    if (familiar_ && absl::ConsumePrefix(&name, "docker.io/")) {
      absl::string_view rest = name;
      if (absl::ConsumePrefix(&rest, "library/") && !absl::StrContains(rest, '/')) name = rest;
    }
    return std::string(name);
  }

  absl::Status AddDockerEntry(const ExportedImage& image) {
    ImageRecord record;
    record.set_name(image.names.empty() ? image.target.digest.str() : image.names[0]);
    record.mutable_target()->set_media_type(image.target.media_type);
    record.mutable_target()->set_digest(image.target.digest.str());
    auto resolved = ResolveImage(connection_, record);
    if (absl::IsNotFound(resolved.status())) return absl::OkStatus();
    GANTRY_RETURN_IF_ERROR(resolved.status());
    OrderedJson layers = OrderedJson::array();
    for (const Descriptor& layer : resolved->manifest.layers) {
      layers.push_back(BlobPath(layer.digest));
    }
    OrderedJson tags = OrderedJson::array();
    for (const std::string& name : image.names) tags.push_back(Shown(name));
    docker_.push_back({{"Config", BlobPath(resolved->manifest.config.digest)},
                       {"RepoTags", tags.empty() ? OrderedJson() : tags},
                       {"Layers", layers}});
    return absl::OkStatus();
  }

  const Connection& connection_;
  const bool familiar_;
  archive::TarWriter tar_;
  std::set<base::Digest> written_;
  OrderedJson index_ = OrderedJson::array();
  OrderedJson docker_ = OrderedJson::array();
};

}  // namespace

absl::Status ExportImages(const Connection& connection, const std::vector<ImageRecord>& images,
                          int fd) {
  std::vector<ExportedImage> entries;
  for (const ImageRecord& image : images) {
    ExportedImage entry;
    entry.target.media_type = image.target().media_type();
    entry.target.size = image.target().size();
    GANTRY_ASSIGN_OR_RETURN(entry.target.digest, base::Digest::Parse(image.target().digest()));
    entry.names.push_back(image.name());
    entries.push_back(std::move(entry));
  }
  return ExportImages(connection, entries, false,
                      [fd](absl::string_view data) { return base::WriteAll(fd, data); });
}

absl::Status ExportImages(const Connection& connection, const std::vector<ExportedImage>& images,
                          bool familiar, const archive::ByteSink& sink) {
  Exporter exporter(connection, familiar, sink);
  for (const ExportedImage& image : images) GANTRY_RETURN_IF_ERROR(exporter.Add(image));
  return exporter.Finish();
}

}  // namespace gantry::client
