#include "docker/routes.h"

#include "docker/archive/routes.h"
#include "docker/images/commit.h"
#include "docker/images/routes.h"
#include "docker/networks/routes.h"
#include "docker/system/disk_usage.h"
#include "docker/system/events.h"
#include "docker/system/info.h"
#include "docker/system/swarm.h"
#include "docker/system/version.h"
#include "docker/volumes/routes.h"

namespace gantry::docker {

void AddAllRoutes(http::Router& router, const Context& context, Services& services) {
  AddVersionRoutes(router, context);
  services.containers.AddRoutes(router);
  AddImageRoutes(router, context);
  AddCommitRoutes(router, context);
  AddArchiveRoutes(router, context);
  AddVolumeRoutes(router, context);
  AddNetworkRoutes(router, context);
  AddInfoRoutes(router, context);
  AddEventRoutes(router, context);
  AddDiskUsageRoutes(router, context);
  AddAbsentRoutes(router);
}

}  // namespace gantry::docker
