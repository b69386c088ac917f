#ifndef GANTRY_SERVICES_IMAGES_IMAGES_SERVICE_H_
#define GANTRY_SERVICES_IMAGES_IMAGES_SERVICE_H_

#include <memory>

namespace grpc {
class Service;
}

namespace gantry::services {

class GcRunner;
class ImageStore;

// containerd.services.images.v1.Images. A deletion with `sync` answers after a garbage collection.
// `store` and `gc` must outlive it.
std::unique_ptr<grpc::Service> MakeImagesService(ImageStore* store, GcRunner* gc);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_IMAGES_IMAGES_SERVICE_H_
