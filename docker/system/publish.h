#ifndef GANTRY_DOCKER_SYSTEM_PUBLISH_H_
#define GANTRY_DOCKER_SYSTEM_PUBLISH_H_

#include <map>
#include <string>

#include "client/connection.h"

namespace gantry::docker {

// Tells of what happened to an object in gantryd's history of events, as gantry.types.ObjectEvent
// under "/KIND/ACTION". Best effort: that it happened does not depend on the telling; a failure is
// logged.
void PublishEvent(const client::Connection& gantryd, const std::string& kind,
                  const std::string& action, const std::string& id,
                  const std::map<std::string, std::string>& attributes);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_SYSTEM_PUBLISH_H_
