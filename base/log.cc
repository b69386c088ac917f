#include "base/log.h"

#include <unistd.h>

#include <atomic>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/clock.h"

namespace gantry::base {
namespace {

std::atomic<LogLevel> g_level{LogLevel::kInfo};

LogSink& Sink() {
  static LogSink* sink =
      new LogSink([](LogLevel level, absl::string_view message, LogFields fields) {
        std::string line = FormatLogfmt(level, message, fields) + "\n";
        [[maybe_unused]] ssize_t n = ::write(STDERR_FILENO, line.data(), line.size());
      });
  return *sink;
}

void AppendValue(std::string* out, absl::string_view value) {
  bool plain = !value.empty();
  for (char c : value) {
    if (static_cast<unsigned char>(c) <= ' ' || c == '"' || c == '=' || c == '\\' || c == 0x7f)
      plain = false;
  }
  if (plain) {
    absl::StrAppend(out, value);
    return;
  }
  out->push_back('"');
  for (char c : value) {
    unsigned char u = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out->push_back('\\');
      out->push_back(c);
    } else if (c == '\n') {
      out->append("\\n");
    } else if (u < ' ' || u == 0x7f) {
      absl::StrAppend(out, "\\x", absl::Hex(u, absl::kZeroPad2));
    } else {
      out->push_back(c);
    }
  }
  out->push_back('"');
}

}  // namespace

void SetLogSink(LogSink sink) { Sink() = std::move(sink); }
void SetLogLevel(LogLevel level) { g_level.store(level, std::memory_order_relaxed); }
bool LogEnabled(LogLevel level) { return level >= g_level.load(std::memory_order_relaxed); }

absl::string_view LogLevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kTrace:
      return "trace";
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarn:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "unknown";
}

std::string FormatLogfmt(LogLevel level, absl::string_view message, LogFields fields) {
  std::string line = absl::StrCat("time=\"", FormatRfc3339(absl::Now()),
                                  "\" level=", LogLevelName(level), " msg=");
  AppendValue(&line, message);
  for (const auto& [key, value] : fields) {
    absl::StrAppend(&line, " ", key, "=");
    AppendValue(&line, value);
  }
  return line;
}

void Log(LogLevel level, absl::string_view message, LogFields fields) {
  if (LogEnabled(level)) Sink()(level, message, fields);
}

}  // namespace gantry::base
