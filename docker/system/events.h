#ifndef GANTRY_DOCKER_SYSTEM_EVENTS_H_
#define GANTRY_DOCKER_SYSTEM_EVENTS_H_

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/json.h"
#include "docker/engine/context.h"
#include "docker/http/router.h"
#include "docker/system/filters.h"
#include "gantry/types/object_event.pb.h"

namespace gantry::docker {

// An event as GET /events sends it, with the keys of today and, for containers and images, those of
// before API 1.22.
base::OrderedJson EventJson(const gantry::types::ObjectEvent& event, absl::Time time);

// Whether a client that gave `filters` wants it: type, event (also without what follows a colon),
// container, image, network, volume, daemon (id, beginning of an id, or name), label, scope.
bool EventMatches(const gantry::types::ObjectEvent& event, const Filters& filters);

// GET /events. `context` must outlive the router.
void AddEventRoutes(http::Router& router, const Context& context);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_SYSTEM_EVENTS_H_
