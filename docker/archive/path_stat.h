#ifndef GANTRY_DOCKER_ARCHIVE_PATH_STAT_H_
#define GANTRY_DOCKER_ARCHIVE_PATH_STAT_H_

// Paths in a container as `docker cp` sees them. Everything is opened beneath the container's root
// (openat2, RESOLVE_IN_ROOT), never by a path of the host.

#include <sys/stat.h>

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"

namespace gantry::docker {

struct PathStat {
  std::string name;  // the last component as it was asked for; "/" for the root
  struct stat st = {};
  std::string link_target;  // of a symbolic link: where it leads to in the container, absolute
};

// A path taken apart: the directory part is resolved, the last component is not followed, but for
// one that ends in "/" or "/.".
struct OpenedPath {
  base::UniqueFd fd;  // O_PATH, of the object itself
  PathStat stat;
};

// NotFound when nothing is there. `root_fd`: the container's root.
absl::StatusOr<OpenedPath> OpenPath(int root_fd, absl::string_view path);

// "/a/../b/./c" is "/b/c"; a "/" or "/." at the end stays.
std::string CleanPath(absl::string_view path);

// Where `path` leads when all links are followed inside the root; what does not exist is taken as
// it is. At most 255 links.
std::string ResolveLinks(int root_fd, absl::string_view path);

// st_mode in the bits of Go's os.FileMode, which the API has.
uint32_t GoFileMode(mode_t mode);

// The value of X-Docker-Container-Path-Stat: JSON in base64.
std::string PathStatHeader(const PathStat& stat);

// Whether a descriptor is of a file system that is an interface of the kernel: /proc, /sys,
// cgroups.
bool IsKernelFileSystem(int fd);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_ARCHIVE_PATH_STAT_H_
