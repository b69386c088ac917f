#ifndef GANTRY_SERVICES_STREAMING_STREAMING_SERVICE_H_
#define GANTRY_SERVICES_STREAMING_STREAMING_SERVICE_H_

#include <memory>

namespace grpc {
class Service;
}

namespace gantry::services {

class StreamManager;

// containerd.services.streaming.v1.Streaming: the first message names the stream, which is then
// found in `streams` (which must outlive the service); it is answered with an Empty. Open streams
// hold no thread.
std::unique_ptr<grpc::Service> MakeStreamingService(StreamManager* streams);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_STREAMING_STREAMING_SERVICE_H_
