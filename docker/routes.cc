#include "docker/routes.h"

#include "docker/system/version.h"

namespace gantry::docker {

void AddAllRoutes(http::Router& router, const Context& context, Services& services) {
  AddVersionRoutes(router, context);
  services.containers.AddRoutes(router);
}

}  // namespace gantry::docker
