#include "docker/archive/container_root.h"

#include <algorithm>

#include "base/status.h"
#include "containerd/services/snapshots/v1/snapshots.methods.h"

namespace gantry::docker {
namespace {

namespace snapshots = containerd::services::snapshots::v1;

}  // namespace

absl::StatusOr<std::vector<base::Mount>> SnapshotMounts(const Context& context,
                                                        const FoundContainer& container) {
  snapshots::MountsRequest request;
  request.set_snapshotter(container.container.snapshotter());
  request.set_key(container.container.snapshot_key());
  snapshots::MountsResponse response;
  GANTRY_RETURN_IF_ERROR(
      context.gantryd.Call(snapshots::SnapshotsMethods::kMounts, request, &response));
  std::vector<base::Mount> mounts;
  for (const auto& mount : response.mounts()) {
    mounts.push_back({mount.type(),
                      mount.source(),
                      mount.target(),
                      {mount.options().begin(), mount.options().end()}});
  }
  return mounts;
}

absl::Status WithContainerRoot(const Context& context, const FoundContainer& container,
                               const RootOptions& options,
                               const std::function<absl::Status(int)>& work) {
  if (container.running()) {
    const pid_t pid = static_cast<pid_t>(container.state().pid());
    auto root = OpenProcessRoot(pid, [&] {
      auto again = FindRecord(context, container.id());
      return again.ok() && static_cast<pid_t>(again->state().pid()) == pid;
    });
    GANTRY_RETURN_IF_ERROR(root.status());
    return work(root->get());
  }
  GANTRY_ASSIGN_OR_RETURN(std::vector<base::Mount> mounts, SnapshotMounts(context, container));
  std::vector<ExtraMount> extra;
  for (const MountPoint& point : container.document.mounts) {
    if (!options.with_volumes || (point.type != "bind" && point.type != "volume")) continue;
    extra.push_back({point.source, point.destination, !point.rw});
  }
  std::stable_sort(extra.begin(), extra.end(), [](const ExtraMount& a, const ExtraMount& b) {
    return a.destination < b.destination;  // parents first
  });
  const bool read_only =
      options.with_volumes && container.document.host.value("ReadonlyRootfs", false);
  return WithMounts(mounts, extra, read_only, work);
}

}  // namespace gantry::docker
