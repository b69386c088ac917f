#ifndef GANTRY_SHIM_LOG_RECORD_H_
#define GANTRY_SHIM_LOG_RECORD_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace gantry::shim {

//   kJson   {"log":"text\n","stream":"stdout","time":"2026-01-02T03:04:05.123456789Z"}
//           as Docker writes it; a piece of a line comes without "\n"
//   kCri    2026-01-02T03:04:05.123456789Z stdout F text     (P: a piece of a line)
//   kFramed for targets that make records of their own (see NextFramed)
//   kRaw    the bytes as they are
enum class LogFormat { kRaw, kJson, kCri, kFramed };

// One record of any format but kRaw; those of kJson and kCri end with the only '\n' in them.
// `partial`: a piece of a line. `attributes`: of JsonAttributes(), for kJson.
std::string FormatLogRecord(LogFormat format, absl::string_view stream, absl::string_view text,
                            bool partial, absl::Time now, absl::string_view attributes = {});

// A JSON object, sorted by name; empty for none.
std::string JsonAttributes(std::vector<std::pair<std::string, std::string>> attributes);

struct FramedRecord {
  absl::string_view stream;  // "stdout" or "stderr"
  absl::string_view text;    // without '\n'
  bool partial = false;
  absl::Time time;
};

// Takes the first record of `records`; nothing when none is left.
std::optional<FramedRecord> NextFramed(absl::string_view* records);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_LOG_RECORD_H_
