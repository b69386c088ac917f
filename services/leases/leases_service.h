#ifndef GANTRY_SERVICES_LEASES_LEASES_SERVICE_H_
#define GANTRY_SERVICES_LEASES_LEASES_SERVICE_H_

#include <memory>

namespace grpc {
class Service;
}

namespace gantry::services {

class GcRunner;
class LeaseStore;

// containerd.services.leases.v1.Leases. A deletion with `sync` answers after a garbage collection.
// `store` and `gc` must outlive it.
std::unique_ptr<grpc::Service> MakeLeasesService(LeaseStore* store, GcRunner* gc);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_LEASES_LEASES_SERVICE_H_
