#ifndef GANTRY_SERVICES_REGISTRY_IMAGE_H_
#define GANTRY_SERVICES_REGISTRY_IMAGE_H_

// The documents that images consist of: OCI image index, manifest and config, and Docker's schema 2
// equivalents. All of them come from strangers: sizes, depth and counts are capped, digests are
// checked, and a document that could be read as two things is refused.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/digest.h"
#include "base/json.h"
#include "services/registry/platform.h"

namespace gantry::services {

inline constexpr char kOciIndex[] = "application/vnd.oci.image.index.v1+json";
inline constexpr char kOciManifest[] = "application/vnd.oci.image.manifest.v1+json";
inline constexpr char kOciConfig[] = "application/vnd.oci.image.config.v1+json";
inline constexpr char kOciLayer[] = "application/vnd.oci.image.layer.v1.tar";
inline constexpr char kOciLayerGzip[] = "application/vnd.oci.image.layer.v1.tar+gzip";
inline constexpr char kDockerList[] = "application/vnd.docker.distribution.manifest.list.v2+json";
inline constexpr char kDockerManifest[] = "application/vnd.docker.distribution.manifest.v2+json";
inline constexpr char kDockerConfig[] = "application/vnd.docker.container.image.v1+json";
inline constexpr char kDockerLayer[] = "application/vnd.docker.image.rootfs.diff.tar";
inline constexpr char kDockerLayerGzip[] = "application/vnd.docker.image.rootfs.diff.tar.gzip";
inline constexpr char kDockerSchema1[] = "application/vnd.docker.distribution.manifest.v1+json";
inline constexpr char kDockerSchema1Signed[] =
    "application/vnd.docker.distribution.manifest.v1+prettyjws";

// No manifest or index is read beyond this (CVE-2017-14992).
inline constexpr size_t kMaxManifestBytes = 4u << 20;
inline constexpr size_t kMaxConfigBytes = 8u << 20;

struct ImageDescriptor {
  std::string media_type;
  base::Digest digest;
  int64_t size = 0;
  std::map<std::string, std::string> annotations;
  std::vector<std::string> urls;
  std::optional<Platform> platform;
};

bool IsIndexType(absl::string_view media_type);
bool IsManifestType(absl::string_view media_type);
bool IsConfigType(absl::string_view media_type);
bool IsLayerType(absl::string_view media_type);
// Layers that may not be pushed (old Windows base layers).
bool IsNonDistributable(absl::string_view media_type);

struct ImageIndex {
  std::vector<ImageDescriptor> manifests;
};
struct ImageManifest {
  ImageDescriptor config;
  std::vector<ImageDescriptor> layers;
};
struct ImageConfig {
  Platform platform;
  std::vector<base::Digest> diff_ids;
};

// InvalidArgument: malformed, or ambiguous: with both the members of an index and those of a
// manifest (CVE-2021-41190), or with a mediaType other than the `media_type` it was announced by.
absl::StatusOr<ImageIndex> ParseIndex(absl::string_view json, absl::string_view media_type);
absl::StatusOr<ImageManifest> ParseManifest(absl::string_view json, absl::string_view media_type);
absl::StatusOr<ImageConfig> ParseConfig(absl::string_view json);

// The media type a document says or shows to be of; InvalidArgument as above.
absl::StatusOr<std::string> DetectManifestType(absl::string_view json);

base::OrderedJson DescriptorJson(const ImageDescriptor& descriptor);

// The identity of a stack of layers, as the OCI image specification defines it; one per layer.
std::vector<base::Digest> ChainIds(const std::vector<base::Digest>& diff_ids);

// For each of `wanted` in turn those of an index's entries that suit it best (several if they are
// equally good: other versions of the same platform), then the entries without a platform. No
// `wanted`: all entries.
std::vector<ImageDescriptor> SelectManifests(const ImageIndex& index,
                                             const std::vector<Platform>& wanted);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_REGISTRY_IMAGE_H_
