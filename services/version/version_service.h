#ifndef GANTRY_SERVICES_VERSION_VERSION_SERVICE_H_
#define GANTRY_SERVICES_VERSION_VERSION_SERVICE_H_

#include <memory>

namespace grpc {
class Service;
}

namespace gantry::services {

// containerd.services.version.v1.Version.
std::unique_ptr<grpc::Service> MakeVersionService();

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_VERSION_VERSION_SERVICE_H_
