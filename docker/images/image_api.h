#ifndef GANTRY_DOCKER_IMAGES_IMAGE_API_H_
#define GANTRY_DOCKER_IMAGES_IMAGE_API_H_

// Inside of docker/images: what its handlers share, and who registers which routes.

#include <memory>
#include <string>
#include <vector>

#include "client/transfer.h"
#include "docker/engine/context.h"
#include "docker/http/router.h"
#include "docker/images/image_store.h"
#include "docker/images/registry_auth.h"
#include "docker/images/registry_hosts.h"
#include "docker/images/remove_plan.h"

namespace gantry::docker {

// Thread-safe; lives as long as the routes.
struct ImageApi {
  explicit ImageApi(const Context& c);

  const Context& context;
  ImageStore& store;
  RegistryHosts hosts;

  // How the client's registry is reached and as whom.
  absl::StatusOr<client::TransferOptions> Transfer(const RegistryAuth& auth,
                                                   absl::string_view registry) const;
  // Containers and the images they were made from.
  absl::StatusOr<std::vector<ImageUser>> Users();
  // "image" events carry the image's labels, and a name.
  void Publish(const std::string& action, const std::string& id, const std::string& name,
               const ImageContent* content);
};

using ImageApiPtr = std::shared_ptr<ImageApi>;

void AddImageQueryRoutes(http::Router& router, const ImageApiPtr& api);   // list, inspect, history
void AddImageChangeRoutes(http::Router& router, const ImageApiPtr& api);  // tag, remove, prune
void AddImageTransferRoutes(http::Router& router, const ImageApiPtr& api);  // create, push
void AddImageArchiveRoutes(http::Router& router, const ImageApiPtr& api);   // load, save
void AddRegistryRoutes(http::Router& router, const ImageApiPtr& api);  // auth, search, distribution

// POST /images/create?fromSrc=…
absl::Status ImportImage(const ImageApiPtr& api, const std::shared_ptr<http::Exchange>& exchange);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_IMAGES_IMAGE_API_H_
