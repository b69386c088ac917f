#ifndef GANTRY_SERVICES_INTROSPECTION_INTROSPECTION_SERVICE_H_
#define GANTRY_SERVICES_INTROSPECTION_INTROSPECTION_SERVICE_H_

#include <memory>

namespace grpc {
class Service;
}

namespace gantry::services {

class Introspection;

// containerd.services.introspection.v1.Introspection. `introspection` must outlive the server.
std::unique_ptr<grpc::Service> MakeIntrospectionService(const Introspection* introspection);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_INTROSPECTION_INTROSPECTION_SERVICE_H_
