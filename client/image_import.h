#ifndef GANTRY_CLIENT_IMAGE_IMPORT_H_
#define GANTRY_CLIENT_IMAGE_IMPORT_H_

// Images from tar archives, read on this side and stored through the content service: works with
// every daemon that speaks containerd's API.

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/connection.h"

namespace gantry::client {

struct ImportOptions {
  // Names images that carry only a tag, or nothing: BASE:TAG.
  std::string base_name;
  // Unpacked for it; empty: not unpacked.
  std::string snapshotter = "overlayfs";
  std::map<std::string, std::string> labels;
  std::function<void(const std::string& step)> progress;
  // The name for an image that has none in the archive, by the digest that it would point to. Null:
  // such an archive is InvalidArgument.
  std::function<std::string(const std::string& digest)> name_unnamed;
  // Called before a name is given to an image, which may take it from another. May be null.
  std::function<absl::Status(const std::string& name)> before_put;
};

// The next bytes of an archive; empty at its end.
using ByteSource = std::function<absl::StatusOr<std::string>()>;

struct ImportedImage {
  std::string name;
  std::string digest;
};

// Reads an OCI layout or docker-archive tar (plain or gzip) from `fd` to its end, once: pipes
// will do. Everything is written under a lease; images appear when all of it is there. Digests are
// verified by the daemon. InvalidArgument for archives that are neither, or damaged, or lack a
// blob; nothing in them is ever a path on this machine.
absl::StatusOr<std::vector<ImportedImage>> ImportImages(const Connection& connection, int fd,
                                                        const ImportOptions& options);
absl::StatusOr<std::vector<ImportedImage>> ImportImages(const Connection& connection,
                                                        const ByteSource& source,
                                                        const ImportOptions& options);

}  // namespace gantry::client

#endif  // GANTRY_CLIENT_IMAGE_IMPORT_H_
