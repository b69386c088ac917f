#include "docker/routes.h"

#include "docker/system/version.h"

namespace gantry::docker {

void AddAllRoutes(http::Router& router, const Context& context) {
  AddVersionRoutes(router, context);
}

}  // namespace gantry::docker
