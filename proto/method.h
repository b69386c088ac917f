#ifndef GANTRY_PROTO_METHOD_H_
#define GANTRY_PROTO_METHOD_H_

// What protoc-gen-gantry makes of every gRPC service in our .proto files: `x.methods.h` next to
// `x.pb.h` has a struct of constants for each service, TasksMethods::kWait for
// /containerd.services.tasks.v1.Tasks/Wait. The type says what goes in, what comes out and how
// often, so that a client cannot pair a path with the wrong messages. They work with the messages
// of either runtime (full or lite).

namespace gantry::proto {

// One request, one response.
template <typename RequestType, typename ResponseType>
struct UnaryMethod {
  using Request = RequestType;
  using Response = ResponseType;
  const char* path;
};

// One request, any number of responses.
template <typename RequestType, typename ResponseType>
struct ServerStreamMethod {
  using Request = RequestType;
  using Response = ResponseType;
  const char* path;
};

// Any number of requests, one response.
template <typename RequestType, typename ResponseType>
struct ClientStreamMethod {
  using Request = RequestType;
  using Response = ResponseType;
  const char* path;
};

// Any number of both, at the same time.
template <typename RequestType, typename ResponseType>
struct BidiMethod {
  using Request = RequestType;
  using Response = ResponseType;
  const char* path;
};

}  // namespace gantry::proto

#endif  // GANTRY_PROTO_METHOD_H_
