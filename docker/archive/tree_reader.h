#ifndef GANTRY_DOCKER_ARCHIVE_TREE_READER_H_
#define GANTRY_DOCKER_ARCHIVE_TREE_READER_H_

#include <string>

#include "absl/status/status.h"
#include "base/archive/byte_sink.h"

namespace gantry::docker {

struct TreeReadOptions {
  // What the root of the tree is called: "etc" gives "etc/", "etc/passwd"; "/" gives "/", "/etc/";
  // empty leaves the root itself out and gives "etc/".
  std::string name;
  // Whether to go into other mounts than the one that the tree begins in. File systems of the
  // kernel
  // (/proc, /sys) are never gone into: they show as empty directories.
  bool cross_mounts = true;
};

// Writes the object `fd` (O_PATH, of a directory, a file, a link, …) as a tar: owners, modes,
// times, hard links, devices and security.capability; sockets are left out. Names in a directory
// come in their order. The tree may change meanwhile: a file that grows is cut, one that shrinks is
// filled with zeros, one that vanishes is left out. No link is followed. ResourceExhausted for
// directories nested deeper than a thousand.
absl::Status WriteTree(int fd, const TreeReadOptions& options, const archive::ByteSink& sink);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_ARCHIVE_TREE_READER_H_
