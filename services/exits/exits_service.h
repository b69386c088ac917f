#ifndef GANTRY_SERVICES_EXITS_EXITS_SERVICE_H_
#define GANTRY_SERVICES_EXITS_EXITS_SERVICE_H_

#include <memory>

namespace grpc {
class Service;
}

namespace gantry::services {

class ExitStore;

// gantry.services.exits.v1.Exits over `store`, which must outlive it.
std::unique_ptr<grpc::Service> MakeExitsService(const ExitStore* store);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_EXITS_EXITS_SERVICE_H_
