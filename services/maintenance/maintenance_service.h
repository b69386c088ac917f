#ifndef GANTRY_SERVICES_MAINTENANCE_MAINTENANCE_SERVICE_H_
#define GANTRY_SERVICES_MAINTENANCE_MAINTENANCE_SERVICE_H_

#include <memory>

namespace grpc {
class Service;
}

namespace gantry::services {

class Fsck;

// gantry.services.maintenance.v1.Maintenance over `fsck`, which must outlive it.
std::unique_ptr<grpc::Service> MakeMaintenanceService(const Fsck* fsck);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_MAINTENANCE_MAINTENANCE_SERVICE_H_
