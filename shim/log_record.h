#ifndef GANTRY_SHIM_LOG_RECORD_H_
#define GANTRY_SHIM_LOG_RECORD_H_

#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace gantry::shim {

//   kJson   {"log":"text\n","stream":"stdout","time":"2026-01-02T03:04:05.123456789Z"}
//           as Docker writes it; a piece of a line comes without "\n"
//   kCri    2026-01-02T03:04:05.123456789Z stdout F text     (P: a piece of a line)
//   kRaw    the bytes as they are
enum class LogFormat { kRaw, kJson, kCri };

// One record of kJson or kCri; it ends with the only '\n' in it. `partial`: a piece of a line.
std::string FormatLogRecord(LogFormat format, absl::string_view stream, absl::string_view text,
                            bool partial, absl::Time now);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_LOG_RECORD_H_
