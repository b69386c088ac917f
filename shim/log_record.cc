#include "shim/log_record.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/clock.h"

namespace gantry::shim {
namespace {

// Length of the valid UTF-8 sequence at the start of `text`, 0 if there is none.
size_t Utf8Length(absl::string_view text) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  auto tail = [&](size_t i) { return i < text.size() && (byte(i) & 0xc0) == 0x80; };
  unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead < 0xe0) return tail(1) ? 2 : 0;
  if (lead >= 0xe0 && lead < 0xf0) {
    if (!tail(1) || !tail(2)) return 0;
    if ((lead == 0xe0 && byte(1) < 0xa0) || (lead == 0xed && byte(1) >= 0xa0)) return 0;
    return 3;
  }
  if (lead >= 0xf0 && lead < 0xf5) {
    if (!tail(1) || !tail(2) || !tail(3)) return 0;
    if ((lead == 0xf0 && byte(1) < 0x90) || (lead == 0xf4 && byte(1) >= 0x90)) return 0;
    return 4;
  }
  return 0;
}

// As Docker's encoder: bytes that are no UTF-8 become U+FFFD, and <, >, & and U+2028/9 are escaped.
void AppendJsonString(std::string* out, absl::string_view text) {
  out->push_back('"');
  while (!text.empty()) {
    size_t length = Utf8Length(text);
    unsigned char c = static_cast<unsigned char>(text[0]);
    if (length == 0) {
      out->append("\\ufffd");
      length = 1;
    } else if (length > 1) {
      absl::string_view rune = text.substr(0, length);
      if (rune == "\xe2\x80\xa8") {
        out->append("\\u2028");
      } else if (rune == "\xe2\x80\xa9") {
        out->append("\\u2029");
      } else {
        out->append(rune.data(), rune.size());
      }
    } else if (c == '"' || c == '\\') {
      out->push_back('\\');
      out->push_back(static_cast<char>(c));
    } else if (c == '\n') {
      out->append("\\n");
    } else if (c == '\r') {
      out->append("\\r");
    } else if (c == '\t') {
      out->append("\\t");
    } else if (c < ' ' || c == '<' || c == '>' || c == '&' || c == 0x7f) {
      if (c == 0x7f) {
        out->push_back('\x7f');
      } else {
        absl::StrAppend(out, "\\u", absl::Hex(c, absl::kZeroPad4));
      }
    } else {
      out->push_back(static_cast<char>(c));
    }
    text.remove_prefix(length);
  }
  out->push_back('"');
}

// Before the text of a framed record.
struct FrameHeader {
  uint32_t length;
  bool is_stderr;
  bool partial;
  int64_t nanos;
};

std::string FrameRecord(absl::string_view stream, absl::string_view text, bool partial,
                        absl::Time now) {
  FrameHeader header;
  memset(&header, 0, sizeof header);
  header.length = static_cast<uint32_t>(text.size());
  header.is_stderr = stream == "stderr";
  header.partial = partial;
  header.nanos = absl::ToUnixNanos(now);
  std::string record(reinterpret_cast<const char*>(&header), sizeof header);
  record.append(text.data(), text.size());
  return record;
}

}  // namespace

std::string JsonAttributes(std::vector<std::pair<std::string, std::string>> attributes) {
  if (attributes.empty()) return "";
  std::sort(attributes.begin(), attributes.end());
  std::string json;
  for (const auto& [name, value] : attributes) {
    json.append(json.empty() ? "{" : ",");
    AppendJsonString(&json, name);
    json.push_back(':');
    AppendJsonString(&json, value);
  }
  json.push_back('}');
  return json;
}

std::optional<FramedRecord> NextFramed(absl::string_view* records) {
  FrameHeader header;
  if (records->size() < sizeof header) return std::nullopt;
  memcpy(&header, records->data(), sizeof header);
  records->remove_prefix(sizeof header);
  FramedRecord record{header.is_stderr ? "stderr" : "stdout", records->substr(0, header.length),
                      header.partial, absl::FromUnixNanos(header.nanos)};
  records->remove_prefix(record.text.size());
  return record;
}

std::string FormatLogRecord(LogFormat format, absl::string_view stream, absl::string_view text,
                            bool partial, absl::Time now, absl::string_view attributes) {
  if (format == LogFormat::kFramed) return FrameRecord(stream, text, partial, now);
  std::string record;
  record.reserve(text.size() + 96);
  if (format == LogFormat::kCri) {
    absl::StrAppend(&record, base::FormatRfc3339Fixed(now, 9), " ", stream, partial ? " P " : " F ",
                    text, "\n");
    return record;
  }
  record.append("{\"log\":");
  AppendJsonString(&record, partial ? std::string(text) : absl::StrCat(text, "\n"));
  absl::StrAppend(&record, ",\"stream\":\"", stream, "\"");
  if (!attributes.empty()) absl::StrAppend(&record, ",\"attrs\":", attributes);
  absl::StrAppend(&record, ",\"time\":\"", base::FormatRfc3339(now), "\"}\n");
  return record;
}

}  // namespace gantry::shim
