#ifndef GANTRY_SERVICES_SANDBOX_SANDBOX_SERVICE_H_
#define GANTRY_SERVICES_SANDBOX_SANDBOX_SERVICE_H_

#include <memory>

namespace grpc {
class Service;
}

namespace gantry::services {

class SandboxController;
class SandboxStore;

// containerd.services.sandbox.v1.Store. `store` must outlive the server.
std::unique_ptr<grpc::Service> MakeSandboxStoreService(SandboxStore* store);
// containerd.services.sandbox.v1.Controller. No call holds a thread. `controller` must outlive the
// server.
std::unique_ptr<grpc::Service> MakeSandboxControllerService(SandboxController* controller);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_SANDBOX_SANDBOX_SERVICE_H_
