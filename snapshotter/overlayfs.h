#ifndef GANTRY_SNAPSHOTTER_OVERLAYFS_H_
#define GANTRY_SNAPSHOTTER_OVERLAYFS_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "snapshotter/dir_pool.h"
#include "snapshotter/directory_driver.h"

namespace gantry::snapshotter {

// Layers stacked by the kernel's overlayfs. On disk as containerd has it:
// <root>/snapshots/<id>/fs holds the changes, …/work is overlayfs' scratch space (active ones
// only).
//
// Mounts: without parents a bind of fs; a view on one parent is a read-only bind of that;
// everything else is an overlay (views without upperdir). The option index=off is given where the
// kernel knows it (the same lower directories are in use by many mounts), userxattr inside a user
// namespace.
class OverlayDriver : public DirectoryDriver {
 public:
  static absl::StatusOr<std::unique_ptr<Driver>> Open(const DriverConfig& config);

  // Whether overlayfs works with directories in `root` (made if missing): the file system reports
  // d_type, and two layers can be mounted. FailedPrecondition says what is missing.
  static absl::Status Supported(const std::string& root);

  absl::string_view name() const override { return "overlayfs"; }
  absl::Status Create(const Spec& spec) override;
  std::vector<base::Mount> Mounts(const Spec& spec) const override;
  absl::StatusOr<Usage> Commit(const std::string& id, std::optional<Usage> known) override;
  absl::StatusOr<Usage> GetUsage(const std::string& id) const override;
  absl::StatusOr<std::string> LayerDir(const std::string& id) const override;

 private:
  OverlayDriver() = default;
  absl::Status Fill(const Spec& spec, bool from_pool);

  std::vector<std::string> common_options_;  // index=off, userxattr
  bool userxattr_ = false;
  std::unique_ptr<DirPool> pool_;  // of directories for active snapshots
};

}  // namespace gantry::snapshotter

#endif  // GANTRY_SNAPSHOTTER_OVERLAYFS_H_
