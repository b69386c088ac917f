#include "shim/oci/cgroup.h"

namespace gantry::oci {

absl::StatusOr<std::unique_ptr<Cgroup>> MakeCgroupV2(const CgroupSystem&, std::string) {
  return absl::UnimplementedError("cgroup v2 is not supported yet: boot with cgroup v1");
}

}  // namespace gantry::oci
