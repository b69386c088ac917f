#ifndef GANTRY_SERVICES_VOLUMES_VOLUMES_SERVICE_H_
#define GANTRY_SERVICES_VOLUMES_VOLUMES_SERVICE_H_

#include <memory>

namespace grpc {
class Service;
}  // namespace grpc

namespace gantry::services {

class VolumeManager;

// gantry.services.volumes.v1.Volumes over the manager, which must outlive it.
std::unique_ptr<grpc::Service> MakeVolumesService(VolumeManager* manager);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_VOLUMES_VOLUMES_SERVICE_H_
