#ifndef GANTRY_DOCKER_ARCHIVE_EXTRACTOR_H_
#define GANTRY_DOCKER_ARCHIVE_EXTRACTOR_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/archive/tar_reader.h"
#include "base/unique_fd.h"

namespace gantry::docker {

struct ExtractOptions {
  // A directory is not replaced by something else, nor something else by a directory.
  bool no_overwrite_dir_non_dir = false;
  // Instead of the owners in the archive: {uid, gid}.
  std::optional<std::pair<uint32_t, uint32_t>> owner;
};

// Unpacks a tar into a directory of a container, as `docker cp` does: what is there is replaced.
//
// Whatever the archive and the container's own processes do meanwhile, nothing outside the root is
// touched: every parent is opened anew beneath the root (openat2 RESOLVE_IN_ROOT), and the last
// component is never followed. Names that climb out of the directory are InvalidArgument, so are
// hard links to what lies outside of it. Nothing is written to file systems of the kernel
// (PermissionDenied). FailedPrecondition on read-only file systems: "container rootfs is marked
// read-only", "mounted volume is marked read-only". Not thread-safe.
class Extractor : public archive::TarSink {
 public:
  // `root_fd` is the container's root and must outlive the extractor; `directory` is absolute in
  // it, without links.
  Extractor(int root_fd, std::string directory, const ExtractOptions& options);

  absl::Status OnEntry(const archive::TarEntry& entry) override;
  absl::Status OnData(int64_t offset, absl::string_view data) override;
  absl::Status OnEntryEnd() override;
  // After the last entry: times of directories.
  absl::Status Finish();

 private:
  struct Place {
    base::UniqueFd parent;
    std::string name;  // empty: the directory itself
    std::string path;  // from the root
  };
  absl::StatusOr<std::string> PathOf(absl::string_view name) const;
  absl::StatusOr<Place> Open(const std::string& path);
  absl::Status MakeRoom(const Place& place, const archive::TarEntry& entry);
  absl::Status Create(const Place& place, const archive::TarEntry& entry);
  absl::Status CreateLink(const Place& place, const archive::TarEntry& entry);
  absl::Status SetAttributes(int fd, const archive::TarEntry& entry);

  const int root_fd_;
  const std::string directory_;
  const ExtractOptions options_;
  base::UniqueFd file_;
  archive::TarEntry entry_;
  std::vector<std::pair<std::string, timespec>> directory_times_;
};

// What an errno on the way to `fd` means to people: EROFS as above.
absl::Status ReadOnlyError(int root_fd, int fd);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_ARCHIVE_EXTRACTOR_H_
