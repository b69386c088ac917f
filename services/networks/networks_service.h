#ifndef GANTRY_SERVICES_NETWORKS_NETWORKS_SERVICE_H_
#define GANTRY_SERVICES_NETWORKS_NETWORKS_SERVICE_H_

#include <memory>

namespace grpc {
class Service;
}

namespace gantry::services {

class NetworkManager;

// gantry.services.networks.v1.Networks; `manager` must outlive it.
std::unique_ptr<grpc::Service> MakeNetworksService(NetworkManager* manager);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_NETWORKS_NETWORKS_SERVICE_H_
