#ifndef GANTRY_DOCKER_ROUTES_H_
#define GANTRY_DOCKER_ROUTES_H_

#include "docker/containers/service.h"
#include "docker/engine/context.h"
#include "docker/http/router.h"

namespace gantry::docker {

// What the endpoints keep between requests.
class Services {
 public:
  explicit Services(const Context& context) : containers(context) {}
  ContainerService containers;
};

// Every endpoint there is. `context` and `services` must outlive the router.
void AddAllRoutes(http::Router& router, const Context& context, Services& services);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_ROUTES_H_
