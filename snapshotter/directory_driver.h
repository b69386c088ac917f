#ifndef GANTRY_SNAPSHOTTER_DIRECTORY_DRIVER_H_
#define GANTRY_SNAPSHOTTER_DIRECTORY_DRIVER_H_

#include <sys/stat.h>

#include <memory>
#include <string>
#include <vector>

#include "snapshotter/driver.h"
#include "snapshotter/trash.h"

namespace gantry::snapshotter {

// What drivers share that keep each snapshot in a directory of its own: <root>/snapshots/<id>, and
// <root>/trash for what was removed. Thread-safe, as Driver.
class DirectoryDriver : public Driver {
 public:
  absl::Status Remove(const std::string& id) override;
  absl::StatusOr<std::vector<std::string>> List() const override;
  absl::Status Sync() override;
  void WaitForRemovals() override { trash_->Wait(); }

 protected:
  // Makes the directories and starts the trash's thread. FailedPrecondition for a root that is not
  // absolute or has a character that mount options cannot carry (',', ':', '\\').
  absl::Status OpenRoot(const DriverConfig& config);

  const DriverConfig& config() const { return config_; }
  int snapshots_fd() const { return snapshots_.get(); }
  // <root>/snapshots/<path>
  std::string PathOf(absl::string_view path) const;

  // mkdir with exactly `mode`, whatever the umask. `path` is relative to <root>/snapshots.
  absl::Status MakeDir(const std::string& path, mode_t mode) const {
    return MakeDirAt(snapshots_fd(), path, mode);
  }
  static absl::Status MakeDirAt(int dir_fd, const std::string& path, mode_t mode);
  absl::StatusOr<struct stat> Stat(const std::string& path) const;

  // Owner and mode that the root directory of a new snapshot gets: from the mapping labels, else
  // from `parent_path` (relative, empty for none), else 0755 and us.
  absl::Status InheritRoot(const Spec& spec, const std::string& parent_path,
                           const std::string& path) const;

 private:
  DriverConfig config_;
  base::UniqueFd snapshots_;
  std::unique_ptr<Trash> trash_;
};

// 1 to 20 decimal digits; InvalidArgument otherwise.
absl::Status ValidateId(absl::string_view id);

// The host id that container id 0 has by a label value "CONTAINER:HOST:SIZE[,…]". InvalidArgument
// when malformed or when 0 is not mapped.
absl::StatusOr<uint32_t> MapRootId(absl::string_view mapping);

}  // namespace gantry::snapshotter

#endif  // GANTRY_SNAPSHOTTER_DIRECTORY_DRIVER_H_
