#ifndef GANTRY_SNAPSHOTTER_NATIVE_H_
#define GANTRY_SNAPSHOTTER_NATIVE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "snapshotter/directory_driver.h"

namespace gantry::snapshotter {

// Full copies in plain directories, for file systems on which overlayfs does not work:
// <root>/snapshots/<id> is the whole tree. An active snapshot starts as a copy of its nearest
// parent (reflinks where the file system has them); a view is a read-only bind of the parent
// itself.
class NativeDriver : public DirectoryDriver {
 public:
  static absl::StatusOr<std::unique_ptr<Driver>> Open(const DriverConfig& config);

  absl::string_view name() const override { return "native"; }
  absl::Status Create(const Spec& spec) override;
  std::vector<base::Mount> Mounts(const Spec& spec) const override;
  absl::StatusOr<Usage> Commit(const std::string& id, std::optional<Usage> known) override;
  absl::StatusOr<Usage> GetUsage(const std::string& id) const override;
  absl::StatusOr<std::string> LayerDir(const std::string& id) const override;

 private:
  NativeDriver() = default;
  absl::Status Fill(const Spec& spec);
};

}  // namespace gantry::snapshotter

#endif  // GANTRY_SNAPSHOTTER_NATIVE_H_
