#ifndef GANTRY_SERVICES_EVENTS_EVENTS_SERVICE_H_
#define GANTRY_SERVICES_EVENTS_EVENTS_SERVICE_H_

#include <memory>

namespace grpc {
class Service;
}

namespace gantry::services {

class EventHub;

// containerd.services.events.v1.Events. No call holds a thread. `hub` must outlive the server.
std::unique_ptr<grpc::Service> MakeEventsService(EventHub* hub);

// gantry.services.events.v1.EventHistory.
std::unique_ptr<grpc::Service> MakeEventHistoryService(EventHub* hub);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_EVENTS_EVENTS_SERVICE_H_
