#ifndef GANTRY_DOCKER_IMAGES_NEW_IMAGE_H_
#define GANTRY_DOCKER_IMAGES_NEW_IMAGE_H_

// Images that are made here: from a tar (import) and from a container (commit).

#include <string>

#include "absl/status/statusor.h"
#include "client/connection.h"
#include "client/image.h"
#include "docker/images/image_store.h"

namespace gantry::docker {

// A layer in the content store with its uncompressed digest.
struct NewLayer {
  client::Descriptor blob;
  base::Digest diff_id;
};

// The media type of a layer by its first bytes: plain, gzip or zstd. InvalidArgument for what
// gantryd cannot unpack (bzip2, xz).
absl::StatusOr<std::string> LayerMediaType(absl::string_view head);

// Unpacks `layer` on the snapshot `parent` (empty: none) and names the result by its chain id.
// Returns the layer's diff id. `connection` must carry a lease.
absl::StatusOr<base::Digest> UnpackNewLayer(const client::Connection& connection,
                                            const std::string& snapshotter,
                                            const client::Descriptor& layer,
                                            const std::string& parent);

// Writes configuration and manifest for `layers`, with what the collector needs. Returns the
// manifest. `chain_id`: of all layers, empty without any.
absl::StatusOr<client::Descriptor> WriteImage(const client::Connection& connection,
                                              const std::string& snapshotter,
                                              const base::Json& config,
                                              const std::vector<client::Descriptor>& layers,
                                              const std::string& chain_id);

// {"architecture", "os", "created", "rootfs", "history", "config", …}: the start of a
// configuration.
base::Json NewImageConfig(const std::vector<base::Digest>& diff_ids, absl::Time created);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_IMAGES_NEW_IMAGE_H_
