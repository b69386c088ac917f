#include "base/clock.h"

#include "absl/strings/str_cat.h"

namespace gantry::base {

std::string FormatRfc3339(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E*SZ", time, absl::UTCTimeZone());
}

std::string FormatRfc3339Fixed(absl::Time time, int digits) {
  return absl::FormatTime(absl::StrCat("%Y-%m-%dT%H:%M:%E", digits, "SZ"), time,
                          absl::UTCTimeZone());
}

absl::StatusOr<absl::Time> ParseRfc3339(absl::string_view text) {
  absl::Time time;
  std::string error;
  if (!absl::ParseTime(absl::RFC3339_full, text, &time, &error)) {
    return absl::InvalidArgumentError(
        absl::StrCat("not an RFC 3339 time: \"", text, "\": ", error));
  }
  return time;
}

}  // namespace gantry::base
