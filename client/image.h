#ifndef GANTRY_CLIENT_IMAGE_H_
#define GANTRY_CLIENT_IMAGE_H_

// What an image is made of: from its name to the manifest for this machine, its configuration, and
// the snapshot that its layers unpack to.

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/digest.h"
#include "base/json.h"
#include "client/connection.h"
#include "containerd/services/images/v1/images.pb.h"

namespace gantry::client {

using ImageRecord = ::containerd::services::images::v1::Image;

// Media types that gantry knows, of OCI and of Docker.
bool IsIndexType(absl::string_view media_type);
bool IsManifestType(absl::string_view media_type);
bool IsLayerType(absl::string_view media_type);

struct Descriptor {
  std::string media_type;
  base::Digest digest;
  int64_t size = 0;
  std::string os;  // of an index' entry; empty when it says nothing
  std::string architecture;
  std::string variant;

  // InvalidArgument for a malformed digest or a negative size.
  static absl::StatusOr<Descriptor> FromJson(const base::Json& json);
};

// The part of an OCI or Docker image configuration that a container is made from.
struct ImageConfig {
  std::vector<std::string> entrypoint;
  std::vector<std::string> cmd;
  std::vector<std::string> env;
  std::string working_dir;
  std::string user;
  std::string stop_signal;
  std::string os;
  std::string architecture;
  std::vector<base::Digest> diff_ids;

  static absl::StatusOr<ImageConfig> FromJson(const base::Json& json);
};

struct ImageManifest {
  base::Digest digest;
  Descriptor config;
  std::vector<Descriptor> layers;

  // InvalidArgument also for what could be taken for an index.
  static absl::StatusOr<ImageManifest> Parse(absl::string_view json, const base::Digest& digest);
};

struct ResolvedImage {
  std::string name;
  base::Digest target;
  ImageManifest manifest;
  ImageConfig config;
  std::string chain_id;  // name of the committed snapshot of all layers; empty without layers
};

// The OCI image specification's ChainID of the layers up to each: chain_ids[i] covers
// diff_ids[0..i].
std::vector<std::string> ChainIds(const std::vector<base::Digest>& diff_ids);

// This machine, as image indexes name it: "amd64", "arm64", …
std::string MachineArchitecture();

// An image index; InvalidArgument also for what could be taken for a manifest.
absl::StatusOr<base::Json> ParseIndex(absl::string_view json);

// Picks the manifest for this machine; NotFound with what the index offers when there is none.
absl::StatusOr<Descriptor> PickManifest(const base::Json& index);

// Candidates for what a person typed, most specific first: the reference as it is when it has a
// registry, else docker.io/… and gantry.local/…; ":latest" is added where neither tag nor digest
// is.
std::vector<std::string> ReferenceCandidates(absl::string_view typed);

// docker.io/library/busybox:latest for "busybox"; the reference to pull.
std::string NormalizeReference(absl::string_view typed);

// Finds an image by what a person typed: a candidate, a unique suffix ("busybox:1" for
// registry/x/busybox:1) or a unique prefix of its digest. NotFound, or FailedPrecondition when
// several match.
absl::StatusOr<ImageRecord> FindImage(const Connection& connection, absl::string_view typed);

// Reads manifest and configuration for this machine.
absl::StatusOr<ResolvedImage> ResolveImage(const Connection& connection, const ImageRecord& image);

// Makes the snapshot of each layer that is missing, by the daemon's diff service. `progress` (may
// be null) hears of each layer when it is done.
absl::Status UnpackImage(const Connection& connection, const ResolvedImage& image,
                         const std::string& snapshotter,
                         const std::function<void(const Descriptor&)>& progress = nullptr);

}  // namespace gantry::client

#endif  // GANTRY_CLIENT_IMAGE_H_
