#ifndef GANTRY_SERVICES_DIFF_DIFF_SERVICE_H_
#define GANTRY_SERVICES_DIFF_DIFF_SERVICE_H_

#include <memory>

namespace grpc {
class Service;
}

namespace gantry::services {

class Differ;

// containerd.services.diff.v1.Diff over `differ`, which must outlive it.
std::unique_ptr<grpc::Service> MakeDiffService(Differ* differ);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_DIFF_DIFF_SERVICE_H_
