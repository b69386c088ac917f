#include "docker/containers/signals.h"

#include <csignal>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/ids.h"
#include "base/status.h"

namespace gantry::docker {
namespace {

constexpr uint64_t kLastSignal = 64;
constexpr uint64_t kMaxSize = 65535;

// "RTMIN+3", "RTMAX-1".
bool RealTimeSignal(absl::string_view name, uint32_t* number) {
  bool from_min = absl::ConsumePrefix(&name, "RTMIN");
  if (!from_min && !absl::ConsumePrefix(&name, "RTMAX")) return false;
  uint32_t offset = 0;
  if (!name.empty()) {
    if (name[0] != (from_min ? '+' : '-') || !absl::SimpleAtoi(name.substr(1), &offset)) {
      return false;
    }
  }
  uint32_t first = 34, last = kLastSignal;  // what programs see; libc keeps 32 and 33
  if (offset > last - first) return false;
  *number = from_min ? first + offset : last - offset;
  return true;
}

absl::StatusOr<uint32_t> ReadSize(const http::Query& query, const char* key) {
  auto size = base::ParseDecimal(query.Get(key), kMaxSize);
  if (size.ok()) return static_cast<uint32_t>(*size);
  return absl::InvalidArgumentError(absl::StrCat(
      "invalid resize ", key[0] == 'h' ? "height" : "width", " \"", query.Get(key), "\""));
}

}  // namespace

absl::StatusOr<uint32_t> ParseSignal(absl::string_view text) {
  absl::Status bad = absl::InvalidArgumentError(absl::StrCat("invalid signal: ", text));
  if (!text.empty() && absl::ascii_isdigit(static_cast<unsigned char>(text[0]))) {
    auto number = base::ParseDecimal(text, kLastSignal);
    if (!number.ok() || *number == 0) return bad;
    return static_cast<uint32_t>(*number);
  }
  std::string name = absl::AsciiStrToUpper(text);
  absl::string_view rest = absl::StripPrefix(name, "SIG");
  uint32_t number = 0;
  if (RealTimeSignal(rest, &number)) return number;
  for (int i = 1; i < 32; ++i) {
    const char* known = sigabbrev_np(i);
    if (known != nullptr && rest == known) return static_cast<uint32_t>(i);
  }
  return bad;
}

absl::StatusOr<TerminalSize> ReadTerminalSize(const http::Query& query) {
  TerminalSize size;
  GANTRY_ASSIGN_OR_RETURN(size.height, ReadSize(query, "h"));
  GANTRY_ASSIGN_OR_RETURN(size.width, ReadSize(query, "w"));
  return size;
}

}  // namespace gantry::docker
