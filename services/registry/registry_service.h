#ifndef GANTRY_SERVICES_REGISTRY_REGISTRY_SERVICE_H_
#define GANTRY_SERVICES_REGISTRY_REGISTRY_SERVICE_H_

#include <memory>
#include <string>

namespace grpc {
class Service;
}

namespace gantry::services {

// gantry.services.registry.v1.Registries. `hosts_dir`: HostsOptions::config_dir for requests that
// name none.
std::unique_ptr<grpc::Service> MakeRegistryService(std::string hosts_dir);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_REGISTRY_REGISTRY_SERVICE_H_
