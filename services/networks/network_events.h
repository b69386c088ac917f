#ifndef GANTRY_SERVICES_NETWORKS_NETWORK_EVENTS_H_
#define GANTRY_SERVICES_NETWORKS_NETWORK_EVENTS_H_

#include <string>

#include "absl/strings/string_view.h"
#include "gantry/services/networks/v1/networks.pb.h"
#include "services/metadata/db.h"

namespace gantry::services {

// "create", "destroy", or with a container "connect" and "disconnect", in the transaction that
// makes the change.
void AddNetworkEvent(Tx& tx, const std::string& ns, absl::string_view action,
                     const gantry::services::networks::v1::Network& network,
                     const std::string& container);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_NETWORKS_NETWORK_EVENTS_H_
