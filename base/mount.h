#ifndef GANTRY_BASE_MOUNT_H_
#define GANTRY_BASE_MOUNT_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace gantry::base {

// A mount as containerd describes it (containerd.types.Mount): fstab-like options, flags and data
// mixed.
struct Mount {
  std::string type;  // "overlay", "bind", "erofs", "tmpfs", …
  std::string source;
  std::string target;  // relative to the root given to MountAll; usually empty
  std::vector<std::string> options;

  friend bool operator==(const Mount&, const Mount&) = default;
};

// Options split as mount(2) wants them.
struct MountOptions {
  unsigned long flags = 0;        // MS_*
  unsigned long propagation = 0;  // MS_SHARED, … with or without MS_REC; set by a second call
  std::vector<std::string> data;  // what is left for the file system
};
MountOptions ParseMountOptions(const std::vector<std::string>& options);

// Mounts each in order on `root` + target. `root` is a directory of ours; targets are resolved
// beneath it without leaving it. Uses fsopen(2) when the data is longer than a page (many overlay
// layers). On failure what was mounted by this call is unmounted again.
absl::Status MountAll(const std::vector<Mount>& mounts, const std::string& root);

// Detaches everything mounted on `target` (umount2 MNT_DETACH|UMOUNT_NOFOLLOW until nothing is
// left). OK when nothing is mounted or the path does not exist.
absl::Status UnmountAll(const std::string& target);

// Mounts on a fresh private temporary directory and unmounts and removes it when destroyed.
class TemporaryMount {
 public:
  // `base` is an existing directory of ours on which the temporary directory is made.
  static absl::StatusOr<TemporaryMount> Create(const std::vector<Mount>& mounts,
                                               const std::string& base);
  // Unmounts and removes what processes that are gone left in `base`, which is ours alone.
  static absl::Status Sweep(const std::string& base);
  TemporaryMount(TemporaryMount&& other) noexcept : path_(std::move(other.path_)) {
    other.path_.clear();
  }
  TemporaryMount& operator=(TemporaryMount&&) = delete;
  ~TemporaryMount();

  const std::string& path() const { return path_; }

 private:
  explicit TemporaryMount(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace gantry::base

#endif  // GANTRY_BASE_MOUNT_H_
