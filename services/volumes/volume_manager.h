#ifndef GANTRY_SERVICES_VOLUMES_VOLUME_MANAGER_H_
#define GANTRY_SERVICES_VOLUMES_VOLUME_MANAGER_H_

// Volumes, without gRPC; the life cycle of containers uses this, too.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gantry/services/volumes/v1/volumes.pb.h"

namespace gantry::services {

class Db;

// The messages: volumes::Volume.
namespace volumes {
using namespace v1;
}

// All methods may block and may be called from any thread; what each does, and its errors, is said
// in volumes.proto.
class VolumeManager {
 public:
  struct Options {
    std::string root;  // volumes are ROOT/volumes/NS/NAME/_data
    // Calls `use(directory)` while the root file system of a container's snapshot is mounted
    // read-only at `directory`; for Populate(). Set by the wiring.
    std::function<absl::Status(
        const std::string& ns, const std::string& container_id,
        const std::function<absl::Status(const std::string& directory)>& use)>
        with_rootfs;
  };

  virtual ~VolumeManager() = default;

  virtual absl::StatusOr<volumes::CreateVolumeResponse> Create(const std::string& ns,
                                                               const volumes::Volume& volume) = 0;
  virtual absl::StatusOr<volumes::VolumeInfo> Get(const std::string& ns,
                                                  const std::string& name) = 0;
  virtual absl::StatusOr<std::vector<volumes::VolumeInfo>> List(const std::string& ns,
                                                                bool with_usage) = 0;
  virtual absl::Status Delete(const std::string& ns, const std::string& name, bool force) = 0;

  virtual absl::StatusOr<std::vector<volumes::Volume>> Acquire(
      const std::string& ns, const std::string& container_id,
      const std::vector<std::string>& names) = 0;
  virtual absl::Status Release(const std::string& ns, const std::string& container_id,
                               bool remove_anonymous) = 0;
  virtual absl::Status Mount(const std::string& ns, const std::string& container_id) = 0;
  virtual absl::Status Unmount(const std::string& ns, const std::string& container_id) = 0;
  virtual absl::Status Populate(const std::string& ns,
                                const volumes::PopulateVolumeRequest& request) = 0;

  // Before requests are served. `exists`: whether the container's record is there (uses of others
  // are forgotten); `alive`: whether its task runs (mounts of others are undone).
  using Question = std::function<bool(const std::string& ns, const std::string& id)>;
  virtual absl::Status Recover(const Question& exists, const Question& alive) = 0;
};

// `db` must outlive the manager.
absl::StatusOr<std::unique_ptr<VolumeManager>> OpenVolumeManager(Db* db,
                                                                 VolumeManager::Options options);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_VOLUMES_VOLUME_MANAGER_H_
