#ifndef GANTRY_SERVICES_TRANSFER_UNLOCKED_H_
#define GANTRY_SERVICES_TRANSFER_UNLOCKED_H_

#include <algorithm>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "services/transfer/transfer_deps.h"

namespace gantry::services {

inline const absl::Status& StatusOf(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

// What `write` returns as soon as that is not Unavailable, which is the content store's answer
// while another transfer has the same upload open. Cancelled when the job is.
template <typename Write>
auto OnceUnlocked(const TransferJob& job, Write write) -> decltype(write()) {
  for (absl::Duration wait = absl::Milliseconds(20);; wait = std::min(wait * 2, absl::Seconds(1))) {
    auto result = write();
    if (!absl::IsUnavailable(StatusOf(result))) return result;
    GANTRY_RETURN_IF_ERROR(job.CheckCancelled());
    absl::SleepFor(wait);
  }
}

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_TRANSFER_UNLOCKED_H_
