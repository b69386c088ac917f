#ifndef GANTRY_SERVICES_RPC_SERVER_CONTEXT_H_
#define GANTRY_SERVICES_RPC_SERVER_CONTEXT_H_

// Only for *_service.cc: includes gRPC.

#include "grpcpp/server_context.h"
#include "services/metadata/context.h"

namespace gantry::services {

// Namespace and lease from the headers containerd-namespace and containerd-lease (the first of
// each, as containerd takes it). Whether the namespace is needed is for the callee to say.
Context FromServerContext(const grpc::ServerContextBase& server);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_RPC_SERVER_CONTEXT_H_
