#ifndef GANTRY_SERVICES_NAMESPACES_NAMESPACES_SERVICE_H_
#define GANTRY_SERVICES_NAMESPACES_NAMESPACES_SERVICE_H_

#include <memory>

namespace grpc {
class Service;
}

namespace gantry::services {

class NamespaceStore;

// containerd.services.namespaces.v1.Namespaces. `store` must outlive it.
std::unique_ptr<grpc::Service> MakeNamespacesService(NamespaceStore* store);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_NAMESPACES_NAMESPACES_SERVICE_H_
