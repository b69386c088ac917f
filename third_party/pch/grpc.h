// The same for what speaks gRPC.
#ifndef GANTRY_THIRD_PARTY_PCH_GRPC_H_
#define GANTRY_THIRD_PARTY_PCH_GRPC_H_

#include "third_party/pch/common.h"

#include <grpcpp/grpcpp.h>

#endif  // GANTRY_THIRD_PARTY_PCH_GRPC_H_
