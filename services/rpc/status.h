#ifndef GANTRY_SERVICES_RPC_STATUS_H_
#define GANTRY_SERVICES_RPC_STATUS_H_

// Only for *_service.cc: includes gRPC.

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace gantry::services {

// The same code and message. The texts that containerd ends its messages with ("…: not found") are
// part of the message already: who makes the error writes it whole.
grpc::Status ToGrpc(const absl::Status& status);

absl::Status FromGrpc(const grpc::Status& status);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_RPC_STATUS_H_
