#include "services/lifecycle/signals.h"

#include <signal.h>
#include <string.h>

#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/ids.h"

namespace gantry::services::lifecycle {
namespace {

// Linux' own numbers: those of the C library begin two later.
constexpr uint32_t kRtMin = 34;
constexpr uint32_t kRtMax = 64;

}  // namespace

absl::StatusOr<uint32_t> ParseSignal(absl::string_view text) {
  const absl::Status bad = absl::InvalidArgumentError(absl::StrCat("invalid signal: ", text));
  if (auto number = base::ParseDecimal(text, kRtMax); number.ok()) {
    if (*number == 0) return bad;
    return static_cast<uint32_t>(*number);
  }
  std::string upper = absl::AsciiStrToUpper(text);
  absl::string_view name = absl::StripPrefix(upper, "SIG");
  if (name == "RTMIN") return kRtMin;
  if (name == "RTMAX") return kRtMax;
  const bool from_low = absl::ConsumePrefix(&name, "RTMIN+");
  if (from_low || absl::ConsumePrefix(&name, "RTMAX-")) {
    auto offset = base::ParseDecimal(name, kRtMax - kRtMin);
    if (!offset.ok()) return bad;
    const uint32_t by = static_cast<uint32_t>(*offset);
    return from_low ? kRtMin + by : kRtMax - by;
  }
  if (name == "IOT") return SIGABRT;
  if (name == "CLD") return SIGCHLD;
  for (int number = 1; number < 32; ++number) {
    const char* abbreviation = sigabbrev_np(number);
    if (abbreviation != nullptr && name == abbreviation) return static_cast<uint32_t>(number);
  }
  return bad;
}

}  // namespace gantry::services::lifecycle
