#include "shim/stdio_uri.h"

#include <cctype>
#include <cstdint>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/ids.h"
#include "base/status.h"

namespace gantry::shim {
namespace {

absl::StatusOr<std::string> Unescape(absl::string_view text, bool plus_is_space) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+' && plus_is_space) {
      out.push_back(' ');
    } else if (text[i] != '%') {
      out.push_back(text[i]);
    } else if (i + 2 < text.size() && isxdigit(static_cast<unsigned char>(text[i + 1])) &&
               isxdigit(static_cast<unsigned char>(text[i + 2]))) {
      out.push_back(static_cast<char>(std::stoi(std::string(text.substr(i + 1, 2)), nullptr, 16)));
      i += 2;
    } else {
      return absl::InvalidArgumentError(absl::StrCat("invalid URL escape in \"", text, "\""));
    }
  }
  return out;
}

}  // namespace

const std::string* StdioUri::Find(absl::string_view key) const {
  for (const auto& [name, value] : query) {
    if (name == key) return &value;
  }
  return nullptr;
}

absl::StatusOr<StdioUri> ParseStdioUri(absl::string_view text) {
  StdioUri uri;
  if (text.empty()) return uri;
  size_t colon = text.find("://");
  if (colon == absl::string_view::npos) {
    uri.scheme = "fifo";
    uri.path = std::string(text);
  } else {
    uri.scheme = std::string(text.substr(0, colon));
    absl::string_view rest = text.substr(colon + 3);
    std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(rest, absl::MaxSplits('?', 1));
    GANTRY_ASSIGN_OR_RETURN(uri.path, Unescape(parts.first, false));
    for (absl::string_view pair : absl::StrSplit(parts.second, '&', absl::SkipEmpty())) {
      std::pair<absl::string_view, absl::string_view> kv =
          absl::StrSplit(pair, absl::MaxSplits('=', 1));
      GANTRY_ASSIGN_OR_RETURN(std::string key, Unescape(kv.first, true));
      GANTRY_ASSIGN_OR_RETURN(std::string value, Unescape(kv.second, true));
      uri.query.emplace_back(std::move(key), std::move(value));
    }
  }
  if (uri.scheme != "fifo" && uri.scheme != "file" && uri.scheme != "binary" &&
      uri.scheme != "json-file" && uri.scheme != "cri" && uri.scheme != "attach" &&
      uri.scheme != "syslog" && uri.scheme != "journald")
    return absl::InvalidArgumentError(absl::StrCat("unknown STDIO scheme ", uri.scheme));
  if (!absl::StartsWith(uri.path, "/") || absl::StrContains(uri.path, '\0'))
    return absl::InvalidArgumentError(
        absl::StrCat("stdio \"", text, "\": the path is not absolute"));
  return uri;
}

absl::StatusOr<uint64_t> ParseSize(absl::string_view text) {
  std::string lower = absl::AsciiStrToLower(text);
  absl::string_view digits = lower;
  absl::ConsumeSuffix(&digits, "b");
  int shift = 0;
  if (absl::ConsumeSuffix(&digits, "k")) {
    shift = 10;
  } else if (absl::ConsumeSuffix(&digits, "m")) {
    shift = 20;
  } else if (absl::ConsumeSuffix(&digits, "g")) {
    shift = 30;
  }
  GANTRY_ASSIGN_OR_RETURN(uint64_t number,
                          base::ParseDecimal(digits, std::numeric_limits<int64_t>::max() >> shift));
  return number << shift;
}

}  // namespace gantry::shim
