#include "client/image_export.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
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
  Exporter(const Connection& connection, int fd)
      : connection_(connection),
        tar_([fd](absl::string_view data) { return base::WriteAll(fd, data); }) {}

  absl::Status Add(const ImageRecord& image) {
    Descriptor target;
    target.media_type = image.target().media_type();
    target.size = image.target().size();
    GANTRY_ASSIGN_OR_RETURN(target.digest, base::Digest::Parse(image.target().digest()));
    GANTRY_RETURN_IF_ERROR(
        base::Annotate(AddTree(target, 0), absl::StrCat("export ", image.name())));
    std::vector<absl::string_view> parts = absl::StrSplit(image.name(), ':');
    index_.push_back({{"mediaType", target.media_type},
                      {"digest", target.digest.str()},
                      {"size", target.size},
                      {"annotations",
                       {{"io.containerd.image.name", image.name()},
                        {"org.opencontainers.image.ref.name", std::string(parts.back())}}}});
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

  absl::Status AddDockerEntry(const ImageRecord& image) {
    auto resolved = ResolveImage(connection_, image);
    if (absl::IsNotFound(resolved.status())) return absl::OkStatus();
    GANTRY_RETURN_IF_ERROR(resolved.status());
    OrderedJson layers = OrderedJson::array();
    for (const Descriptor& layer : resolved->manifest.layers) {
      layers.push_back(BlobPath(layer.digest));
    }
    docker_.push_back({{"Config", BlobPath(resolved->manifest.config.digest)},
                       {"RepoTags", OrderedJson::array({image.name()})},
                       {"Layers", layers}});
    return absl::OkStatus();
  }

  const Connection& connection_;
  archive::TarWriter tar_;
  std::set<base::Digest> written_;
  OrderedJson index_ = OrderedJson::array();
  OrderedJson docker_ = OrderedJson::array();
};

}  // namespace

absl::Status ExportImages(const Connection& connection, const std::vector<ImageRecord>& images,
                          int fd) {
  Exporter exporter(connection, fd);
  for (const ImageRecord& image : images) GANTRY_RETURN_IF_ERROR(exporter.Add(image));
  return exporter.Finish();
}

}  // namespace gantry::client
