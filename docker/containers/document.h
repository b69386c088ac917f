#ifndef GANTRY_DOCKER_CONTAINERS_DOCUMENT_H_
#define GANTRY_DOCKER_CONTAINERS_DOCUMENT_H_

// What Docker's clients know of a container and gantryd has no place for: kept as one JSON document
// in the container's record, so that every frontend that comes later reads the same.

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/json.h"
#include "docker/types/container_config.h"
#include "docker/types/host_config.h"

namespace gantry::docker {

// Extension of the container's record.
inline constexpr char kDocumentExtension[] = "docker";

// As `docker inspect` has it in "Mounts".
struct MountPoint {
  std::string type;  // "bind", "volume", "tmpfs"
  std::string name;  // of a volume
  std::string source;
  std::string destination;
  std::string driver;
  std::string mode;
  bool rw = true;
  std::string propagation;
  bool anonymous = false;

  base::OrderedJson ToJson() const;
};

struct ContainerDocument {
  ContainerConfig config;  // merged with the image's
  base::OrderedJson host;  // CompleteHostConfig()
  std::string image_id;    // "sha256:…"
  std::string path;        // the program
  StringList args;
  std::vector<MountPoint> mounts;
  std::string driver;    // the snapshotter, as Docker calls its driver
  std::string chain_id;  // of the image's layers

  std::string Serialize() const;
  // DataLoss for what Serialize() has not written.
  static absl::StatusOr<ContainerDocument> Parse(absl::string_view json);
  // `host`, typed.
  absl::StatusOr<HostConfig> Host() const;
};

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_CONTAINERS_DOCUMENT_H_
