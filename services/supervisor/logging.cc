#include "services/supervisor/logging.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"

namespace gantry::services {
namespace {

std::string FormatJson(base::LogLevel level, absl::string_view message, base::LogFields fields) {
  base::OrderedJson line;
  line["time"] = base::FormatRfc3339(absl::Now());
  line["level"] = std::string(base::LogLevelName(level));
  line["msg"] = std::string(message);
  for (const auto& [key, value] : fields) line[std::string(key)] = std::string(value);
  return line.dump(-1, ' ', false, base::OrderedJson::error_handler_t::replace);
}

absl::StatusOr<base::LogLevel> ParseLevel(absl::string_view level) {
  if (level == "trace") return base::LogLevel::kTrace;
  if (level == "debug") return base::LogLevel::kDebug;
  if (level.empty() || level == "info") return base::LogLevel::kInfo;
  if (level == "warn" || level == "warning") return base::LogLevel::kWarn;
  if (level == "error" || level == "fatal" || level == "panic") return base::LogLevel::kError;
  return absl::InvalidArgumentError(
      absl::StrCat("log level \"", level, "\" is unknown; use trace, debug, info, warn or error"));
}

}  // namespace

absl::Status SetupLogging(absl::string_view level, absl::string_view format) {
  auto parsed = ParseLevel(level);
  if (!parsed.ok()) return parsed.status();
  if (!format.empty() && format != "text" && format != "json") {
    return absl::InvalidArgumentError(
        absl::StrCat("log format \"", format, "\" is unknown; use text or json"));
  }
  auto logger = std::make_shared<spdlog::logger>("gantryd",
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("%v");
  logger->set_level(spdlog::level::trace);
  bool json = format == "json";
  base::SetLogSink(
      [logger, json](base::LogLevel level, absl::string_view message, base::LogFields fields) {
        std::string line =
            json ? FormatJson(level, message, fields) : base::FormatLogfmt(level, message, fields);
        logger->log(spdlog::level::info, spdlog::string_view_t(line.data(), line.size()));
      });
  base::SetLogLevel(*parsed);
  return absl::OkStatus();
}

absl::Status ChangeLogLevel(absl::string_view level) {
  auto parsed = ParseLevel(level);
  if (!parsed.ok()) return parsed.status();
  base::SetLogLevel(*parsed);
  return absl::OkStatus();
}

}  // namespace gantry::services
