#include "services/networks/network_events.h"

#include "absl/strings/str_cat.h"
#include "gantry/types/object_event.pb.h"

namespace gantry::services {

void AddNetworkEvent(Tx& tx, const std::string& ns, absl::string_view action,
                     const gantry::services::networks::v1::Network& network,
                     const std::string& container) {
  gantry::types::ObjectEvent event;
  event.set_kind("network");
  event.set_action(std::string(action));
  event.set_id(network.id());
  (*event.mutable_attributes())["name"] = network.name();
  (*event.mutable_attributes())["type"] = network.driver();
  if (!container.empty()) (*event.mutable_attributes())["container"] = container;
  tx.AddEvent(ns, absl::StrCat("/network/", action), event);
}

}  // namespace gantry::services
