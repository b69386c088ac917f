#ifndef GANTRY_SERVICES_METADATA_FILTER_SCANNER_H_
#define GANTRY_SERVICES_METADATA_FILTER_SCANNER_H_

// The tokens of the filter language (see filters.h). Internal to the parser.

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry::services::filter {

// A Unicode code point, or one of these.
using Rune = int32_t;
inline constexpr Rune kEof = -1;
inline constexpr Rune kIllegal = -2;

enum class TokenKind { kEof, kQuoted, kValue, kField, kSeparator, kOperator, kIllegal, kOther };

struct Token {
  TokenKind kind;
  size_t pos;              // of its first byte
  absl::string_view text;  // as written; empty for kEof and kOther
};

class Scanner {
 public:
  // `input` must outlive the scanner.
  explicit Scanner(absl::string_view input) : input_(input) {}

  Token Scan();
  // The next rune without consuming it (spaces are runes here).
  Rune Peek();
  // The bytes of the rune that Peek() gives.
  absl::string_view PeekText() const;
  size_t position() const { return next_; }
  // Why the last token was illegal.
  const std::string& error() const { return error_; }

 private:
  Rune Next();
  bool ScanQuoted(Rune quote);
  Rune ScanEscape(Rune quote, bool* legal);
  Rune ScanDigits(Rune rune, int base, int count, bool* legal);
  template <typename Predicate>
  void SkipWhile(Predicate predicate);
  absl::string_view TextFrom(size_t pos) const { return input_.substr(pos, next_ - pos); }
  void Error(absl::string_view message);

  absl::string_view input_;
  size_t current_ = 0;  // of the rune that Next() returned last
  size_t next_ = 0;
  bool expect_value_ = false;
  std::string error_;
};

// What a quoted token means: escapes as in a Go string; '/' and '|' quote like '"'.
// InvalidArgument "quote syntax error".
absl::StatusOr<std::string> Unquote(absl::string_view quoted);

}  // namespace gantry::services::filter

#endif  // GANTRY_SERVICES_METADATA_FILTER_SCANNER_H_
