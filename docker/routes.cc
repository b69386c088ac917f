#include "docker/routes.h"

#include "docker/images/routes.h"
#include "docker/system/version.h"

namespace gantry::docker {

void AddAllRoutes(http::Router& router, const Context& context) {
  AddVersionRoutes(router, context);
  AddImageRoutes(router, context);
}

}  // namespace gantry::docker
