#ifndef GANTRY_SERVICES_SNAPSHOTS_SNAPSHOTS_SERVICE_H_
#define GANTRY_SERVICES_SNAPSHOTS_SNAPSHOTS_SERVICE_H_

#include <memory>

namespace grpc {
class Service;
}

namespace gantry::services {

class Snapshots;

// containerd.services.snapshots.v1.Snapshots over `snapshots`, which must outlive it.
std::unique_ptr<grpc::Service> MakeSnapshotsService(Snapshots* snapshots);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_SNAPSHOTS_SNAPSHOTS_SERVICE_H_
