#ifndef GANTRY_SERVICES_TRANSFER_WORKER_POOL_H_
#define GANTRY_SERVICES_TRANSFER_WORKER_POOL_H_

#include <cstddef>
#include <functional>

#include "absl/status/status.h"

namespace gantry::services {

// Calls `work` for 0 … count-1, in this order, on at most `width` threads. After the first failure
// no further one is begun; returns that failure when all that had begun are over.
absl::Status RunParallel(int width, size_t count, const std::function<absl::Status(size_t)>& work);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_TRANSFER_WORKER_POOL_H_
