#include <unistd.h>

#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/archive/compress.h"
#include "base/archive/compression.h"
#include "base/archive/decompress.h"
#include "base/archive/tar_reader.h"
#include "base/json.h"
#include "base/status.h"
#include "services/content/content_store.h"
#include "services/registry/reference.h"
#include "services/transfer/image_tree.h"
#include "services/transfer/importer.h"
#include "services/transfer/progress.h"
#include "services/transfer/unlocked.h"

namespace gantry::services {
namespace {

constexpr size_t kMaxJson = 20u << 20;
constexpr size_t kMaxMembers = 1'000'000;
constexpr char kUncompressed[] = "containerd.io/uncompressed";

// "./a//b/" and "a/b" are one member. Names are only keys here, never paths.
std::string CleanName(absl::string_view name) {
  std::vector<absl::string_view> out;
  for (absl::string_view part : absl::StrSplit(name, '/', absl::SkipEmpty())) {
    if (part == "..") {
      if (!out.empty()) out.pop_back();
    } else if (part != ".") {
      out.push_back(part);
    }
  }
  return absl::StrJoin(out, "/");
}

// The digest that a member of an OCI layout carries in its name.
base::Digest DigestInName(const std::string& name) {
  std::vector<std::string> parts = absl::StrSplit(name, '/');
  if (parts.size() != 3 || parts[0] != "blobs") return {};
  auto digest = base::Digest::Parse(absl::StrCat(parts[1], ":", parts[2]));
  return digest.ok() ? *digest : base::Digest();
}

class ImporterImpl final : public ArchiveImporter, public archive::TarSink {
 public:
  ImporterImpl(const TransferJob& job, bool force_compress)
      : job_(job),
        force_compress_(force_compress),
        reader_(this),
        inflater_(archive::Decompressor::Detect(
            [this](absl::string_view data) { return reader_.Write(data); })) {}

  absl::Status Write(absl::string_view data) override {
    GANTRY_RETURN_IF_ERROR(job_.CheckCancelled());
    return inflater_->Write(data);
  }
  absl::StatusOr<ImageDescriptor> Finish() override;

  absl::Status OnEntry(const archive::TarEntry& entry) override;
  absl::Status OnData(int64_t offset, absl::string_view data) override;
  absl::Status OnEntryEnd() override;

 private:
  enum class Kind { kSkip, kJson, kBlob, kKnown };

  absl::Status BeginBlob(const base::Digest& expected);
  absl::StatusOr<ImageDescriptor> FromLayout();
  absl::StatusOr<ImageDescriptor> FromDocker();
  absl::StatusOr<ImageDescriptor> DockerLayer(const std::string& name);
  absl::StatusOr<ImageDescriptor> CompressLayer(const ImageDescriptor& plain);
  absl::StatusOr<ImageDescriptor> DockerImage(const base::Json& entry);
  absl::StatusOr<ImageDescriptor> Store(const std::string& text, const std::string& media_type);

  const TransferJob& job_;
  const bool force_compress_;
  archive::TarReader reader_;
  std::unique_ptr<archive::Decompressor> inflater_;

  Kind kind_ = Kind::kSkip;  // of the current member
  std::string name_;
  int64_t size_ = 0;
  int64_t written_ = 0;
  std::unique_ptr<ContentWriter> writer_;
  base::Digest expected_;

  size_t members_ = 0;
  std::map<std::string, std::string> json_;      // oci-layout, index.json, manifest.json
  std::map<std::string, std::string> symlinks_;  // name → member
  std::map<std::string, ImageDescriptor> blobs_;
};

absl::Status ImporterImpl::OnEntry(const archive::TarEntry& entry) {
  name_ = CleanName(entry.name);
  size_ = entry.size;
  written_ = 0;
  kind_ = Kind::kSkip;
  if (++members_ > kMaxMembers) return absl::ResourceExhaustedError("too many archive members");
  if (entry.type == archive::TarType::kSymlink) {
    size_t slash = name_.rfind('/');
    std::string dir = slash == std::string::npos ? "" : name_.substr(0, slash + 1);
    symlinks_[name_] = CleanName(dir + entry.link_name);
  }
  if (entry.type == archive::TarType::kHardLink) symlinks_[name_] = CleanName(entry.link_name);
  if (entry.type != archive::TarType::kRegular) return absl::OkStatus();
  if (name_ == "oci-layout" || name_ == "index.json" || name_ == "manifest.json") {
    if (size_ > static_cast<int64_t>(kMaxJson)) {
      return absl::ResourceExhaustedError(absl::StrCat(name_, " in the archive is too large"));
    }
    kind_ = Kind::kJson;
    json_[name_].clear();
    return absl::OkStatus();
  }
  // Old metadata of docker save, which nothing needs.
  if (name_ == "repositories" || absl::EndsWith(name_, "/VERSION")) return absl::OkStatus();
  return BeginBlob(DigestInName(name_));
}

absl::Status ImporterImpl::BeginBlob(const base::Digest& expected) {
  kind_ = Kind::kBlob;
  expected_ = expected;
  std::string ref = absl::StrCat("tar-", name_, expected.empty() ? "-" + job_.ctx.lease : "");
  auto writer = OnceUnlocked(job_, [&] {
    return job_.deps->content->OpenWriter(job_.ctx, {ref, size_, expected});
  });
  if (absl::IsAlreadyExists(writer.status())) {
    GANTRY_RETURN_IF_ERROR(job_.deps->content->LinkToLease(job_.ctx, expected));
    kind_ = Kind::kKnown;
    blobs_[name_] = {"", expected, size_};
    return absl::OkStatus();
  }
  GANTRY_RETURN_IF_ERROR(writer.status());
  writer_ = *std::move(writer);
  // All bytes are in another namespace's store: only the commit is left.
  if (!expected.empty() && size_ > 0 && writer_->offset() == size_) {
    kind_ = Kind::kKnown;
    return absl::OkStatus();
  }
  return writer_->offset() == 0 ? absl::OkStatus() : writer_->Truncate(0);
}

absl::Status ImporterImpl::OnData(int64_t offset, absl::string_view data) {
  switch (kind_) {
    case Kind::kSkip:
    case Kind::kKnown:
      return absl::OkStatus();
    case Kind::kJson:
      json_[name_].append(data.data(), data.size());
      return absl::OkStatus();
    case Kind::kBlob:
      break;
  }
  if (offset != written_) {
    return absl::InvalidArgumentError(
        absl::StrCat("sparse member ", name_, " in an image archive"));
  }
  written_ += static_cast<int64_t>(data.size());
  return writer_->Write(data);
}

absl::Status ImporterImpl::OnEntryEnd() {
  if (writer_ == nullptr) return absl::OkStatus();
  auto digest = writer_->Commit(size_, expected_, {});
  base::Digest stored;
  if (digest.ok()) {
    stored = *digest;
  } else if (absl::IsAlreadyExists(digest.status())) {
    stored = expected_.empty() ? writer_->Digest() : expected_;
    GANTRY_RETURN_IF_ERROR(job_.deps->content->LinkToLease(job_.ctx, stored));
  } else {
    (void)writer_->Truncate(0);
    writer_.reset();
    return base::Annotate(digest.status(), absl::StrCat("archive member ", name_));
  }
  writer_.reset();
  blobs_[name_] = {"", stored, size_};
  return absl::OkStatus();
}

absl::StatusOr<ImageDescriptor> ImporterImpl::Store(const std::string& text,
                                                    const std::string& media_type) {
  ImageDescriptor out{media_type, base::DigestOf(text), static_cast<int64_t>(text.size())};
  GANTRY_RETURN_IF_ERROR(OnceUnlocked(job_, [&] {
    return job_.deps->content->WriteBlob(job_.ctx, RefKeyOf(out), text, out.digest, {});
  }));
  GANTRY_RETURN_IF_ERROR(job_.deps->content->LinkToLease(job_.ctx, out.digest));
  return out;
}

absl::StatusOr<ImageDescriptor> ImporterImpl::FromLayout() {
  GANTRY_ASSIGN_OR_RETURN(base::Json layout, base::ParseJson(json_["oci-layout"]));
  std::string version = base::JsonString(layout, "imageLayoutVersion");
  if (version != "1.0.0") {
    return absl::InvalidArgumentError(absl::StrCat("unsupported OCI version ", version));
  }
  if (json_.count("index.json") == 0) {
    return absl::InvalidArgumentError("missing index.json in OCI layout 1.0.0");
  }
  return Store(json_["index.json"], kOciIndex);
}

// Docker's layers carry no media type: their first bytes tell.
absl::StatusOr<ImageDescriptor> ImporterImpl::DockerLayer(const std::string& name) {
  auto it = blobs_.find(CleanName(name));
  if (it == blobs_.end())
    return absl::InvalidArgumentError(absl::StrCat("layer \"", name, "\" not found"));
  ImageDescriptor out = it->second;
  GANTRY_ASSIGN_OR_RETURN(BlobReader reader, job_.deps->content->OpenReader(job_.ctx, out.digest));
  char head[archive::kMagicBytes] = {};
  ssize_t n = pread(reader.fd.get(), head, sizeof head, 0);
  if (n < 0) return base::ErrnoStatus(errno, "read layer");
  switch (archive::DetectCompression(absl::string_view(head, static_cast<size_t>(n)))) {
    case archive::Compression::kGzip:
      out.media_type = kDockerLayerGzip;
      return out;
    case archive::Compression::kZstd:
      out.media_type = absl::StrCat(kDockerLayer, ".zstd");
      return out;
    case archive::Compression::kNone:
      break;
  }
  // The same layer may be here compressed already, from a pull: then that blob is enough.
  std::string filter = absl::StrCat("labels.\"", kUncompressed, "\"==", out.digest.str());
  std::optional<ImageDescriptor> packed;
  GANTRY_RETURN_IF_ERROR(
      job_.deps->content->Walk(job_.ctx, {filter}, [&packed](const ContentInfo& info) {
        if (!packed) packed = ImageDescriptor{"", info.digest, info.size};
        return absl::OkStatus();
      }));
  out.media_type = kDockerLayer;
  if (packed && packed->digest != out.digest) {
    GANTRY_ASSIGN_OR_RETURN(BlobReader other,
                            job_.deps->content->OpenReader(job_.ctx, packed->digest));
    n = pread(other.fd.get(), head, sizeof head, 0);
    bool gzip = n > 0 && archive::DetectCompression(absl::string_view(
                             head, static_cast<size_t>(n))) == archive::Compression::kGzip;
    if (gzip && job_.deps->content->LinkToLease(job_.ctx, packed->digest).ok()) {
      packed->media_type = kDockerLayerGzip;
      return *packed;
    }
  }
  return force_compress_ ? CompressLayer(out) : out;
}

absl::StatusOr<ImageDescriptor> ImporterImpl::CompressLayer(const ImageDescriptor& plain) {
  GANTRY_ASSIGN_OR_RETURN(BlobReader reader,
                          job_.deps->content->OpenReader(job_.ctx, plain.digest));
  std::string ref = absl::StrCat("compress-blob-", plain.digest.str(), "-", job_.ctx.lease);
  GANTRY_ASSIGN_OR_RETURN(std::unique_ptr<ContentWriter> writer,
                          job_.deps->content->OpenWriter(job_.ctx, {ref, 0, {}}));
  if (writer->offset() > 0) GANTRY_RETURN_IF_ERROR(writer->Truncate(0));
  auto packer = archive::Compressor::Create(
      archive::Compression::kGzip, [&writer](absl::string_view d) { return writer->Write(d); });
  std::string buffer(1u << 20, '\0');
  for (int64_t offset = 0; offset < reader.size;) {
    GANTRY_RETURN_IF_ERROR(job_.CheckCancelled());
    ssize_t n = pread(reader.fd.get(), buffer.data(), buffer.size(), offset);
    if (n <= 0) return base::ErrnoStatus(n < 0 ? errno : EIO, "read layer");
    GANTRY_RETURN_IF_ERROR(packer->Write(absl::string_view(buffer.data(), static_cast<size_t>(n))));
    offset += n;
  }
  GANTRY_RETURN_IF_ERROR(packer->Finish());
  ImageDescriptor out{kDockerLayerGzip, {}, writer->offset()};
  auto digest = writer->Commit(0, {}, {{kUncompressed, plain.digest.str()}});
  if (absl::IsAlreadyExists(digest.status())) {
    out.digest = writer->Digest();
    GANTRY_RETURN_IF_ERROR(job_.deps->content->LinkToLease(job_.ctx, out.digest));
    return out;
  }
  GANTRY_RETURN_IF_ERROR(digest.status());
  out.digest = *digest;
  return out;
}

absl::StatusOr<ImageDescriptor> ImporterImpl::DockerImage(const base::Json& entry) {
  std::string config_name = base::JsonString(entry, "Config");
  auto config = blobs_.find(CleanName(config_name));
  if (config == blobs_.end()) {
    return absl::InvalidArgumentError(absl::StrCat("image config \"", config_name, "\" not found"));
  }
  ImageDescriptor config_descriptor = config->second;
  config_descriptor.media_type = kDockerConfig;
  base::OrderedJson manifest;
  manifest["schemaVersion"] = 2;
  manifest["mediaType"] = kDockerManifest;
  manifest["config"] = DescriptorJson(config_descriptor);
  manifest["layers"] = base::OrderedJson::array();
  const base::Json& layers = base::JsonAt(entry, "Layers");
  for (size_t i = 0; layers.is_array() && i < layers.size(); ++i) {
    if (!layers[i].is_string()) return absl::InvalidArgumentError("manifest.json: layers");
    GANTRY_ASSIGN_OR_RETURN(ImageDescriptor layer, DockerLayer(layers[i].get<std::string>()));
    manifest["layers"].push_back(DescriptorJson(layer));
  }
  GANTRY_ASSIGN_OR_RETURN(ImageDescriptor out, Store(manifest.dump(), kDockerManifest));
  GANTRY_ASSIGN_OR_RETURN(std::string text,
                          job_.deps->content->ReadBlob(job_.ctx, config_descriptor.digest,
                                                       static_cast<int64_t>(kMaxConfigBytes)));
  GANTRY_ASSIGN_OR_RETURN(ImageConfig parsed, ParseConfig(text));
  if (!parsed.platform.empty()) out.platform = parsed.platform;
  return out;
}

absl::StatusOr<ImageDescriptor> ImporterImpl::FromDocker() {
  auto list = base::ParseJson(json_["manifest.json"], {kMaxJson, 16});
  if (!list.ok()) return base::Annotate(list.status(), "manifest.json");
  if (!list->is_array()) return absl::InvalidArgumentError("manifest.json is no list");
  for (const auto& [name, target] : symlinks_) {
    auto it = blobs_.find(target);
    if (it != blobs_.end()) blobs_.emplace(name, it->second);
  }
  base::OrderedJson index;
  index["schemaVersion"] = 2;
  index["manifests"] = base::OrderedJson::array();
  for (const base::Json& entry : *list) {
    GANTRY_ASSIGN_OR_RETURN(ImageDescriptor image, DockerImage(entry));
    const base::Json& tags = base::JsonAt(entry, "RepoTags");
    size_t count = tags.is_array() ? tags.size() : 0;
    if (count == 0) index["manifests"].push_back(DescriptorJson(image));
    for (size_t i = 0; i < count; ++i) {
      if (!tags[i].is_string()) return absl::InvalidArgumentError("manifest.json: RepoTags");
      GANTRY_ASSIGN_OR_RETURN(std::string name,
                              NormalizeDockerReference(tags[i].get<std::string>()));
      GANTRY_ASSIGN_OR_RETURN(Reference reference, ParseReference(name));
      ImageDescriptor tagged = image;
      tagged.annotations["io.containerd.image.name"] = name;
      tagged.annotations["org.opencontainers.image.ref.name"] = reference.object();
      index["manifests"].push_back(DescriptorJson(tagged));
    }
  }
  return Store(index.dump(), kOciIndex);
}

absl::StatusOr<ImageDescriptor> ImporterImpl::Finish() {
  GANTRY_RETURN_IF_ERROR(inflater_->Finish());
  GANTRY_RETURN_IF_ERROR(reader_.Finish());
  if (json_.count("oci-layout") > 0) return FromLayout();
  if (json_.count("manifest.json") > 0) return FromDocker();
  return absl::InvalidArgumentError(
      "unrecognized image format: the archive is neither an OCI layout nor one of docker save");
}

}  // namespace

std::unique_ptr<ArchiveImporter> ArchiveImporter::Create(const TransferJob& job,
                                                         bool force_compress) {
  return std::make_unique<ImporterImpl>(job, force_compress);
}

}  // namespace gantry::services
