#ifndef GANTRY_SERVICES_CONTENT_CONTENT_SERVICE_H_
#define GANTRY_SERVICES_CONTENT_CONTENT_SERVICE_H_

#include <memory>

namespace grpc {
class Service;
}

namespace gantry::services {

class ContentStore;

// containerd.services.content.v1.Content over `store`, which must outlive it.
std::unique_ptr<grpc::Service> MakeContentService(ContentStore* store);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_CONTENT_CONTENT_SERVICE_H_
