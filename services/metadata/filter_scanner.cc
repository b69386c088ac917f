#include "services/metadata/filter_scanner.h"

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace gantry::services::filter {
namespace {

struct Decoded {
  Rune rune;  // kIllegal when the bytes are not UTF-8
  size_t length;
};

Decoded DecodeUtf8(absl::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  if (byte(0) < 0x80) return {byte(0), 1};
  const size_t length = byte(0) >= 0xf0 ? 4 : byte(0) >= 0xe0 ? 3 : 2;
  if (byte(0) < 0xc2 || byte(0) > 0xf4 || text.size() < length) return {kIllegal, 1};
  Rune rune = byte(0) & (0x7f >> length);
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {kIllegal, 1};
    rune = rune << 6 | (byte(i) & 0x3f);
  }
  const bool overlong = (length == 3 && rune < 0x800) || (length == 4 && rune < 0x10000);
  if (overlong || rune > 0x10ffff || (rune >= 0xd800 && rune < 0xe000)) return {kIllegal, 1};
  return {rune, length};
}

void AppendUtf8(Rune rune, std::string* out) {
  if (rune >= 0xd800 && rune < 0xe000) rune = 0xfffd;
  if (rune < 0x80) {
    out->push_back(static_cast<char>(rune));
  } else if (rune < 0x800) {
    out->append({static_cast<char>(0xc0 | rune >> 6), static_cast<char>(0x80 | (rune & 0x3f))});
  } else if (rune < 0x10000) {
    out->append({static_cast<char>(0xe0 | rune >> 12), static_cast<char>(0x80 | (rune >> 6 & 0x3f)),
                 static_cast<char>(0x80 | (rune & 0x3f))});
  } else {
    out->append(
        {static_cast<char>(0xf0 | rune >> 18), static_cast<char>(0x80 | (rune >> 12 & 0x3f)),
         static_cast<char>(0x80 | (rune >> 6 & 0x3f)), static_cast<char>(0x80 | (rune & 0x3f))});
  }
}

bool IsSpace(Rune r) {
  if (r == ' ' || (r >= '\t' && r <= '\r') || r == 0x85 || r == 0xa0) return true;
  return r == 0x1680 || (r >= 0x2000 && r <= 0x200a) || r == 0x2028 || r == 0x2029 || r == 0x202f ||
         r == 0x205f || r == 0x3000;
}

bool IsFieldRune(Rune r) {
  return r >= 0 && r < 0x80 && (r == '_' || absl::ascii_isalnum(static_cast<unsigned char>(r)));
}

// Printable, no space, no comma. Beyond Latin-1 all that is not a space counts as printable.
bool IsValueRune(Rune r) {
  if (r <= ' ' || r == ',' || IsSpace(r)) return false;
  return r < 0x7f || r > 0xa0;
}

bool IsOperatorRune(Rune r) { return r == '=' || r == '!' || r == '~'; }
bool IsQuoteRune(Rune r) { return r == '/' || r == '|' || r == '"'; }
bool IsSeparatorRune(Rune r) { return r == ',' || r == '.'; }

int DigitValue(Rune r) {
  if (r >= '0' && r <= '9') return r - '0';
  if (r >= 'a' && r <= 'f') return r - 'a' + 10;
  if (r >= 'A' && r <= 'F') return r - 'A' + 10;
  return 16;
}

absl::Status QuoteError() { return absl::InvalidArgumentError("quote syntax error"); }

// Takes `count` digits of `base` off `text`.
absl::StatusOr<uint32_t> TakeDigits(absl::string_view* text, size_t count, int base) {
  if (text->size() < count) return QuoteError();
  uint32_t value = 0;
  for (size_t i = 0; i < count; ++i) {
    int digit = DigitValue(static_cast<unsigned char>((*text)[i]));
    if (digit >= base) return QuoteError();
    value = value * base + digit;
  }
  text->remove_prefix(count);
  return value;
}

// Takes the escape after a backslash off `text` and appends what it means.
absl::Status TakeEscape(absl::string_view* text, char quote, std::string* out) {
  if (text->empty()) return QuoteError();
  const char c = text->front();
  constexpr absl::string_view kNames = "abfnrtv\\";
  constexpr absl::string_view kMeanings = "\a\b\f\n\r\t\v\\";
  if (size_t i = kNames.find(c); i != absl::string_view::npos || c == quote) {
    out->push_back(c == quote ? c : kMeanings[i]);
    text->remove_prefix(1);
    return absl::OkStatus();
  }
  if (c >= '0' && c <= '7') {
    GANTRY_ASSIGN_OR_RETURN(uint32_t value, TakeDigits(text, 3, 8));
    if (value > 255) return QuoteError();
    out->push_back(static_cast<char>(value));
    return absl::OkStatus();
  }
  if (c != 'x' && c != 'u' && c != 'U') return QuoteError();
  text->remove_prefix(1);
  GANTRY_ASSIGN_OR_RETURN(uint32_t value, TakeDigits(text, c == 'x' ? 2 : c == 'u' ? 4 : 8, 16));
  if (c == 'x') {
    out->push_back(static_cast<char>(value));
    return absl::OkStatus();
  }
  if (value > 0x10ffff) return QuoteError();
  AppendUtf8(static_cast<Rune>(value), out);
  return absl::OkStatus();
}

}  // namespace

void Scanner::Error(absl::string_view message) {
  if (error_.empty()) error_ = std::string(message);
}

Rune Scanner::Next() {
  current_ = next_;
  if (next_ >= input_.size()) return kEof;
  Decoded decoded = DecodeUtf8(input_.substr(next_));
  next_ += decoded.length;
  if (decoded.rune == kIllegal) Error("rune error");
  if (decoded.rune == 0) {
    Error("unexpected null");
    return kIllegal;
  }
  return decoded.rune;
}

Rune Scanner::Peek() {
  const size_t current = current_;
  const size_t next = next_;
  Rune rune = Next();
  current_ = current;
  next_ = next;
  return rune;
}

absl::string_view Scanner::PeekText() const {
  if (next_ >= input_.size()) return "";
  return input_.substr(next_, DecodeUtf8(input_.substr(next_)).length);
}

template <typename Predicate>
void Scanner::SkipWhile(Predicate predicate) {
  while (predicate(Peek())) Next();
}

Token Scanner::Scan() {
  Rune rune = Next();
  while (rune >= 0 && IsSpace(rune)) rune = Next();
  const size_t pos = current_;
  if (rune == kEof) return {TokenKind::kEof, pos, ""};
  if (rune == kIllegal) return {TokenKind::kIllegal, pos, ""};
  if (IsQuoteRune(rune)) {
    const bool legal = ScanQuoted(rune);
    return {legal ? TokenKind::kQuoted : TokenKind::kIllegal, pos, TextFrom(pos)};
  }
  if (IsSeparatorRune(rune)) {
    expect_value_ = false;
    return {TokenKind::kSeparator, pos, TextFrom(pos)};
  }
  if (IsOperatorRune(rune)) {
    SkipWhile(IsOperatorRune);
    expect_value_ = true;
    return {TokenKind::kOperator, pos, TextFrom(pos)};
  }
  if (expect_value_) {
    SkipWhile(IsValueRune);
    expect_value_ = false;
    return {TokenKind::kValue, pos, TextFrom(pos)};
  }
  if (IsFieldRune(rune)) {
    SkipWhile(IsFieldRune);
    return {TokenKind::kField, pos, TextFrom(pos)};
  }
  return {TokenKind::kOther, pos, ""};
}

bool Scanner::ScanQuoted(Rune quote) {
  bool legal = true;
  Rune rune = Next();
  while (rune != quote) {
    if (rune == '\n' || rune < 0) {
      Error("quoted literal not terminated");
      return false;
    }
    rune = rune == '\\' ? ScanEscape(quote, &legal) : Next();
  }
  return legal;
}

// Returns the rune after the escape.
Rune Scanner::ScanEscape(Rune quote, bool* legal) {
  const Rune rune = Next();
  if (rune == quote || rune == '\\' ||
      (rune > 0 && rune < 0x80 && absl::StrContains("abfnrtv", static_cast<char>(rune)))) {
    return Next();
  }
  if (rune >= '0' && rune <= '7') return ScanDigits(rune, 8, 3, legal);
  if (rune == 'x') return ScanDigits(Next(), 16, 2, legal);
  if (rune == 'u') return ScanDigits(Next(), 16, 4, legal);
  if (rune == 'U') return ScanDigits(Next(), 16, 8, legal);
  Error("illegal escape sequence");
  *legal = false;
  return rune;
}

Rune Scanner::ScanDigits(Rune rune, int base, int count, bool* legal) {
  while (count > 0 && DigitValue(rune) < base) {
    rune = Next();
    --count;
  }
  if (count > 0) {
    Error("illegal numeric escape sequence");
    *legal = false;
  }
  return rune;
}

absl::StatusOr<std::string> Unquote(absl::string_view quoted) {
  if (quoted.size() < 2 || quoted.front() != quoted.back()) return QuoteError();
  const char quote = quoted.front();
  absl::string_view text = quoted.substr(1, quoted.size() - 2);
  std::string out;
  while (!text.empty()) {
    const char c = text.front();
    text.remove_prefix(1);
    if (c == quote || c == '\n') return QuoteError();
    if (c == '\\') {
      GANTRY_RETURN_IF_ERROR(TakeEscape(&text, quote, &out));
    } else {
      out.push_back(c);
    }
  }
  return out;
}

}  // namespace gantry::services::filter
