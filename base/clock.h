#ifndef GANTRY_BASE_CLOCK_H_
#define GANTRY_BASE_CLOCK_H_

#include <string>
#include "absl/strings/string_view.h"

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace gantry::base {

// RFC 3339 in UTC with nanoseconds as Go's RFC3339Nano prints them: trailing zeros of the fraction
// are dropped, "2026-01-02T03:04:05.123Z".
std::string FormatRfc3339(absl::Time time);
// With the given fixed number of fraction digits (0 to 9), as log formats need them.
std::string FormatRfc3339Fixed(absl::Time time, int digits);
absl::StatusOr<absl::Time> ParseRfc3339(absl::string_view text);

// For protobuf Timestamps of either runtime (full or lite): any type with set_seconds and
// set_nanos.
template <typename Timestamp>
void SetTimestamp(Timestamp* to, absl::Time time) {
  absl::Duration since = time - absl::UnixEpoch();
  int64_t seconds = absl::ToUnixSeconds(time);
  to->set_seconds(seconds);
  to->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(since - absl::Seconds(seconds))));
}
template <typename Timestamp>
absl::Time GetTimestamp(const Timestamp& from) {
  return absl::FromUnixSeconds(from.seconds()) + absl::Nanoseconds(from.nanos());
}

}  // namespace gantry::base

#endif  // GANTRY_BASE_CLOCK_H_
