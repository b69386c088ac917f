#ifndef GANTRY_SERVICES_TRANSFER_TRANSFER_SERVICE_H_
#define GANTRY_SERVICES_TRANSFER_TRANSFER_SERVICE_H_

#include <memory>

namespace grpc {
class Service;
}

namespace gantry::services {

class Transferrer;

// containerd.services.transfer.v1.Transfer over `transferrer`, which must outlive it. Each transfer
// runs on a thread of its own, none of gRPC's; one whose client goes away is cancelled. Destroying
// the service cancels and awaits those that run.
std::unique_ptr<grpc::Service> MakeTransferService(Transferrer* transferrer);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_TRANSFER_TRANSFER_SERVICE_H_
