#ifndef GANTRY_SERVICES_LIFECYCLE_LIFECYCLE_SERVICE_H_
#define GANTRY_SERVICES_LIFECYCLE_LIFECYCLE_SERVICE_H_

#include <memory>

namespace grpc {
class Service;
}

namespace gantry::services {

class LifecycleManager;

// gantry.services.lifecycle.v1.Lifecycle. No call holds a thread. `manager` must outlive the
// server.
std::unique_ptr<grpc::Service> MakeLifecycleService(LifecycleManager* manager);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_LIFECYCLE_LIFECYCLE_SERVICE_H_
