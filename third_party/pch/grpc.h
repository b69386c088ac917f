// The same for what speaks gRPC.
#pragma once

#include "third_party/pch/common.h"

#include <grpcpp/grpcpp.h>
