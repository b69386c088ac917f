#ifndef GANTRY_SERVICES_EVENTS_TTRPC_EVENTS_H_
#define GANTRY_SERVICES_EVENTS_TTRPC_EVENTS_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace gantry::services {

class EventHub;

// The socket on which shims deliver their events: containerd.services.events.ttrpc.v1.Events, on a
// thread of its own. Events of one connection are stored in the order in which they came.
class TtrpcEventServer {
 public:
  // Listens on `path` (mode 0600; a socket that nobody serves any more is replaced) until
  // destroyed. `hub` must outlive it. Errors are those of bind(2); AlreadyExists when another
  // process serves the socket.
  static absl::StatusOr<std::unique_ptr<TtrpcEventServer>> Start(const std::string& path,
                                                                 EventHub* hub);
  virtual ~TtrpcEventServer() = default;  // stops the thread and removes the socket
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_EVENTS_TTRPC_EVENTS_H_
