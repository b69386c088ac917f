#include "docker/http/request.h"

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace gantry::docker::http {
namespace {

const std::string& Empty() {
  static const std::string* const empty = new std::string;
  return *empty;
}

const std::string& Find(const std::map<std::string, std::string>& map, absl::string_view key) {
  auto found = map.find(std::string(key));
  return found == map.end() ? Empty() : found->second;
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool SmallNumber(absl::string_view text, int* value) {
  if (text.empty() || text.size() > 4) return false;
  for (char c : text) {
    if (!absl::ascii_isdigit(static_cast<unsigned char>(c))) return false;
  }
  return absl::SimpleAtoi(text, value);
}

}  // namespace

absl::StatusOr<ApiVersion> ApiVersion::Parse(absl::string_view text) {
  ApiVersion version;
  std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(text, absl::MaxSplits('.', 1));
  if (!SmallNumber(parts.first, &version.major) || !SmallNumber(parts.second, &version.minor)) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is no API version"));
  }
  return version;
}

std::string ApiVersion::str() const { return absl::StrCat(major, ".", minor); }

std::string UrlDecode(absl::string_view text, bool plus) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && HexDigit(text[i + 1]) >= 0 &&
        HexDigit(text[i + 2]) >= 0) {
      out.push_back(static_cast<char>(HexDigit(text[i + 1]) * 16 + HexDigit(text[i + 2])));
      i += 2;
    } else {
      out.push_back(plus && text[i] == '+' ? ' ' : text[i]);
    }
  }
  return out;
}

Query Query::Parse(absl::string_view text) {
  Query query;
  for (absl::string_view pair : absl::StrSplit(text, '&', absl::SkipEmpty())) {
    std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(pair, absl::MaxSplits('=', 1));
    query.pairs_.emplace_back(UrlDecode(parts.first, true), UrlDecode(parts.second, true));
  }
  return query;
}

bool Query::Has(absl::string_view key) const {
  for (const auto& [name, value] : pairs_) {
    if (name == key) return true;
  }
  return false;
}

const std::string& Query::Get(absl::string_view key) const {
  for (const auto& [name, value] : pairs_) {
    if (name == key) return value;
  }
  return Empty();
}

std::vector<std::string> Query::All(absl::string_view key) const {
  std::vector<std::string> values;
  for (const auto& [name, value] : pairs_) {
    if (name == key) values.push_back(value);
  }
  return values;
}

bool Query::Bool(absl::string_view key, bool otherwise) const {
  if (!Has(key)) return otherwise;
  std::string value = absl::AsciiStrToLower(absl::StripAsciiWhitespace(Get(key)));
  return !(value.empty() || value == "0" || value == "no" || value == "false" || value == "none");
}

const std::string& Request::Header(absl::string_view name) const { return Find(headers, name); }
const std::string& Request::Var(absl::string_view name) const { return Find(vars, name); }

}  // namespace gantry::docker::http
