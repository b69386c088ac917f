#include "services/diff/differ.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/archive/compress.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/status.h"
#include "services/content/content_store.h"
#include "services/diff/apply_target.h"
#include "services/diff/change_writer.h"
#include "services/diff/tree_walk.h"
#include "services/metadata/context.h"

namespace gantry::services {
namespace {

using archive::Compression;

constexpr absl::string_view kOciLayer = "application/vnd.oci.image.layer.v1.tar";
constexpr absl::string_view kUncompressedLabel = "containerd.io/uncompressed";
constexpr size_t kReadBytes = 512 << 10;

// Layers of OCI and Docker images, distributable or not, in the compressions that we read.
bool IsLayerType(absl::string_view type) {
  for (absl::string_view base : {"application/vnd.oci.image.layer.v1.tar",
                                 "application/vnd.oci.image.layer.nondistributable.v1.tar"}) {
    for (absl::string_view suffix : {"", "+gzip", "+zstd"})
      if (type == absl::StrCat(base, suffix)) return true;
  }
  for (absl::string_view base : {"application/vnd.docker.image.rootfs.diff.tar",
                                 "application/vnd.docker.image.rootfs.foreign.diff.tar"}) {
    for (absl::string_view suffix : {"", ".gzip", ".zstd"})
      if (type == absl::StrCat(base, suffix)) return true;
  }
  return false;
}

absl::StatusOr<Compression> CompressionOf(absl::string_view media_type) {
  if (media_type == kOciLayer) return Compression::kNone;
  if (media_type == absl::StrCat(kOciLayer, "+gzip")) return Compression::kGzip;
  if (media_type == absl::StrCat(kOciLayer, "+zstd")) return Compression::kZstd;
  return absl::UnimplementedError(
      absl::StrCat("unsupported diff media type: ", media_type, ": not implemented"));
}

// What an overlay or bind mount is made of.
struct Layers {
  std::string upper;
  std::vector<std::string> lowers;
};
Layers LayersOf(const std::vector<base::Mount>& mounts) {
  Layers layers;
  if (mounts.size() != 1 || !mounts[0].target.empty()) return layers;
  const base::Mount& mount = mounts[0];
  if (base::ParseMountOptions(mount.options).flags & MS_BIND) layers.lowers = {mount.source};
  if (mount.type != "overlay") return layers;
  for (absl::string_view option : mount.options) {
    if (absl::ConsumePrefix(&option, "upperdir=")) layers.upper = std::string(option);
    if (absl::ConsumePrefix(&option, "lowerdir="))
      layers.lowers = absl::StrSplit(option, ':', absl::SkipEmpty());
  }
  return layers;
}

// The same tree without writing to it: an upper directory may be in use by a container, and two
// overlays must not share one, so it becomes the topmost lower one.
std::vector<base::Mount> ReadOnly(std::vector<base::Mount> mounts) {
  for (base::Mount& mount : mounts) {
    Layers layers = LayersOf({mount});
    if (layers.upper.empty()) {
      mount.options.push_back("ro");
      continue;
    }
    std::vector<std::string> kept;
    for (const std::string& option : mount.options) {
      bool replaced = absl::StartsWith(option, "upperdir=") ||
                      absl::StartsWith(option, "workdir=") ||
                      absl::StartsWith(option, "lowerdir=") || option == "rw";
      if (!replaced) kept.push_back(option);
    }
    kept.push_back(absl::StrCat("lowerdir=", layers.upper, ":", absl::StrJoin(layers.lowers, ":")));
    mount.options = std::move(kept);
  }
  return mounts;
}

struct Tree {
  std::optional<base::TemporaryMount> mounted;
  base::UniqueFd fd;  // invalid: empty
};
absl::StatusOr<Tree> OpenTree(const std::vector<base::Mount>& mounts, const std::string& temp_dir) {
  Tree tree;
  if (mounts.empty()) return tree;
  std::string path;
  Layers layers = LayersOf(mounts);
  if (layers.upper.empty() && layers.lowers.size() == 1 && mounts[0].type != "overlay") {
    path = layers.lowers[0];
  } else {
    GANTRY_ASSIGN_OR_RETURN(auto mounted, base::TemporaryMount::Create(ReadOnly(mounts), temp_dir));
    path = mounted.path();
    tree.mounted.emplace(std::move(mounted));
  }
  GANTRY_ASSIGN_OR_RETURN(tree.fd, base::Open(path, O_RDONLY | O_DIRECTORY));
  return tree;
}

absl::Status WriteChanges(const std::vector<base::Mount>& lower,
                          const std::vector<base::Mount>& upper, const std::string& temp_dir,
                          ChangeWriter* writer) {
  Layers above = LayersOf(upper);
  Layers below = LayersOf(lower);
  if (!above.upper.empty() && below.upper.empty() && above.lowers == below.lowers) {
    // The difference is just what overlayfs has put into the upper directory.
    GANTRY_ASSIGN_OR_RETURN(base::UniqueFd fd, base::Open(above.upper, O_RDONLY | O_DIRECTORY));
    GANTRY_ASSIGN_OR_RETURN(bool needs_mount, NeedsMount(fd.get()));
    if (!needs_mount) {
      GANTRY_RETURN_IF_ERROR(WalkUpper(fd.get(), writer));
      return writer->Finish();
    }
  }
  GANTRY_ASSIGN_OR_RETURN(Tree before, OpenTree(lower, temp_dir));
  GANTRY_ASSIGN_OR_RETURN(Tree after, OpenTree(upper, temp_dir));
  if (!after.fd) return absl::InvalidArgumentError("no mounts to make a diff of");
  GANTRY_RETURN_IF_ERROR(WalkTrees(before.fd.get(), after.fd.get(), writer));
  return writer->Finish();
}

absl::Status FeedBlob(const BlobReader& blob, LayerApplier* applier) {
  std::vector<char> buffer(kReadBytes);
  for (int64_t at = 0; at < blob.size;) {
    ssize_t n = pread(blob.fd.get(), buffer.data(), buffer.size(), at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return base::ErrnoStatus(errno, "read layer");
    if (n == 0) return absl::DataLossError("layer is shorter than its file was");
    GANTRY_RETURN_IF_ERROR(
        applier->Write(absl::string_view(buffer.data(), static_cast<size_t>(n))));
    at += n;
  }
  return absl::OkStatus();
}

}  // namespace

Differ::Differ(ContentStore* content, std::string temp_dir)
    : content_(content), temp_dir_(std::move(temp_dir)) {}

absl::StatusOr<Descriptor> Differ::Apply(const Context& ctx, const Descriptor& layer,
                                         const std::vector<base::Mount>& mounts, bool sync_fs) {
  GANTRY_ASSIGN_OR_RETURN(BlobReader blob, content_->OpenReader(ctx, layer.digest));
  if (!IsLayerType(layer.media_type)) {
    return absl::UnimplementedError(
        absl::StrCat("failed to get stream processor for ", layer.media_type, ": not implemented"));
  }
  GANTRY_ASSIGN_OR_RETURN(ApplyTarget target, OpenApplyTarget(mounts, temp_dir_));
  base::UniqueFd sync(fcntl(target.root.get(), F_DUPFD_CLOEXEC, 0));
  if (!sync) return base::ErrnoStatus(errno, "duplicate descriptor");
  LayerApplierOptions options;
  options.whiteouts = target.whiteouts;
  options.lower_dirs = target.lower_dirs;
  options.hash_blob = layer.digest.algorithm() == "sha256";
  GANTRY_ASSIGN_OR_RETURN(auto applier, LayerApplier::Create(std::move(target.root), options));
  absl::Status fed = FeedBlob(blob, applier.get());
  if (!fed.ok()) return base::Annotate(fed, absl::StrCat("apply layer ", layer.digest.str()));
  auto result = applier->Finish();
  if (!result.ok())
    return base::Annotate(result.status(), absl::StrCat("apply layer ", layer.digest.str()));
  if (options.hash_blob && result->blob_digest != layer.digest) {
    return absl::FailedPreconditionError(
        absl::StrCat("layer ", layer.digest.str(), " is damaged on disk: it has the digest ",
                     result->blob_digest.str(), "; delete and fetch it again"));
  }
  if (sync_fs && syncfs(sync.get()) != 0) return base::ErrnoStatus(errno, "sync file system");
  return Descriptor{std::string(kOciLayer), result->diff_id, result->size, {}};
}

absl::StatusOr<Descriptor> Differ::Compare(const Context& ctx,
                                           const std::vector<base::Mount>& lower,
                                           const std::vector<base::Mount>& upper,
                                           const CompareOptions& options) {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  std::string media_type =
      options.media_type.empty() ? absl::StrCat(kOciLayer, "+gzip") : options.media_type;
  GANTRY_ASSIGN_OR_RETURN(Compression compression, CompressionOf(media_type));
  bool own_ref = options.ref.empty();
  std::string ref = own_ref ? absl::StrCat("diff-", base::RandomHex(8)) : options.ref;
  GANTRY_ASSIGN_OR_RETURN(auto writer, content_->OpenWriter(ctx, {ref, 0, {}}));
  absl::Cleanup abort = [&] {
    writer.reset();
    // If it fails the collector takes it after a day.
    if (own_ref) (void)content_->Abort(ctx, ref);
  };
  if (writer->offset() != 0) GANTRY_RETURN_IF_ERROR(writer->Truncate(0));

  auto compressor = archive::Compressor::Create(
      compression, [&](absl::string_view data) { return writer->Write(data); });
  base::Hasher hasher;
  ChangeWriter changes(
      [&](absl::string_view data) {
        hasher.Update(data);
        return compressor->Write(data);
      },
      options.source_date_epoch);
  GANTRY_RETURN_IF_ERROR(
      base::Annotate(WriteChanges(lower, upper, temp_dir_, &changes), "failed to write diff"));
  GANTRY_RETURN_IF_ERROR(compressor->Finish());

  Labels labels(options.labels.begin(), options.labels.end());
  labels[std::string(kUncompressedLabel)] = hasher.Finish().str();
  base::Digest digest = writer->Digest();
  int64_t size = writer->offset();
  absl::Status committed = writer->Commit(size, digest, labels).status();
  if (absl::IsAlreadyExists(committed)) {
    ContentInfo info;
    info.digest = digest;
    info.labels = labels;
    committed =
        content_->UpdateInfo(ctx, info, {absl::StrCat("labels.", kUncompressedLabel)}).status();
  }
  GANTRY_RETURN_IF_ERROR(base::Annotate(committed, "failed to commit"));
  std::move(abort).Cancel();
  return Descriptor{std::move(media_type), std::move(digest), size, {}};
}

}  // namespace gantry::services
