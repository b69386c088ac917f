#ifndef GANTRY_SERVICES_CONTAINERS_CONTAINERS_SERVICE_H_
#define GANTRY_SERVICES_CONTAINERS_CONTAINERS_SERVICE_H_

#include <memory>

namespace grpc {
class Service;
}

namespace gantry::services {

class ContainerStore;

// containerd.services.containers.v1.Containers. `store` must outlive it.
std::unique_ptr<grpc::Service> MakeContainersService(ContainerStore* store);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_CONTAINERS_CONTAINERS_SERVICE_H_
