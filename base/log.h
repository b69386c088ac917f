#ifndef GANTRY_BASE_LOG_H_
#define GANTRY_BASE_LOG_H_

// Logging for libraries: a level, a message, and fields. Where it goes is decided once in main()
// (gantryd: spdlog; the shim: logfmt lines into its log fifo; tests and tools: stderr).
//
//   LogInfo("image pulled", {{"ref", name}, {"bytes", absl::StrCat(n)}});
//
// Nothing secret may be passed in (registry credentials, environment of containers).

#include <functional>
#include <initializer_list>
#include <string>
#include <utility>
#include "absl/strings/string_view.h"

namespace gantry::base {

enum class LogLevel { kTrace, kDebug, kInfo, kWarn, kError };

using LogFields = std::initializer_list<std::pair<absl::string_view, absl::string_view>>;
using LogSink = std::function<void(LogLevel, absl::string_view message, LogFields fields)>;

// Replaces the sink; call it in main() before threads start. Default: logfmt to stderr.
void SetLogSink(LogSink sink);
// Messages below `level` are dropped before the sink sees them. Any thread. Default: kInfo.
void SetLogLevel(LogLevel level);
bool LogEnabled(LogLevel level);

void Log(LogLevel level, absl::string_view message, LogFields fields = {});
inline void LogDebug(absl::string_view m, LogFields f = {}) { Log(LogLevel::kDebug, m, f); }
inline void LogInfo(absl::string_view m, LogFields f = {}) { Log(LogLevel::kInfo, m, f); }
inline void LogWarn(absl::string_view m, LogFields f = {}) { Log(LogLevel::kWarn, m, f); }
inline void LogError(absl::string_view m, LogFields f = {}) { Log(LogLevel::kError, m, f); }

// time="…" level=info msg="…" key=value, without a newline; values are quoted where needed.
std::string FormatLogfmt(LogLevel level, absl::string_view message, LogFields fields);
absl::string_view LogLevelName(LogLevel level);

}  // namespace gantry::base

#endif  // GANTRY_BASE_LOG_H_
