#include "shim/oci/json_slice.h"

#include <algorithm>
#include <cstddef>

namespace gantry::oci {
namespace {

constexpr absl::string_view kSpace = " \t\r\n";
constexpr absl::string_view kEndOfScalar = " \t\r\n\"{}[],:";

class Scanner {
 public:
  explicit Scanner(absl::string_view text) : text_(text) {}

  bool Take(char wanted) {
    if (Peek() != wanted) return false;
    ++at_;
    return true;
  }

  // The text of the next value, or nothing where none begins.
  absl::string_view TakeValue() {
    char first = Peek();
    size_t start = at_;
    int depth = 0;
    do {
      switch (Peek()) {
        case '"':
          if (!SkipString()) return {};
          break;
        case '{':
        case '[':
          ++depth;
          ++at_;
          break;
        case '}':
        case ']':
          --depth;
          ++at_;
          break;
        case ',':
        case ':':
          if (depth == 0) return {};
          ++at_;
          break;
        case '\0':
          return {};
        default:
          at_ = std::min(text_.find_first_of(kEndOfScalar, at_), text_.size());
      }
    } while (depth > 0);
    if (depth < 0 || first == '\0') return {};
    return text_.substr(start, at_ - start);
  }

 private:
  // What comes after white space; NUL at the end, and for a NUL, which JSON has none of.
  char Peek() {
    at_ = std::min(text_.find_first_not_of(kSpace, at_), text_.size());
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool SkipString() {
    for (++at_; at_ < text_.size(); ++at_) {
      if (text_[at_] == '\\') {
        ++at_;
      } else if (text_[at_] == '"') {
        ++at_;
        return true;
      }
    }
    return false;
  }

  const absl::string_view text_;
  size_t at_ = 0;
};

// The member `key` of the object `text`. Keys that are written with escapes are not recognized.
absl::string_view Member(absl::string_view text, absl::string_view key) {
  Scanner scanner(text);
  if (!scanner.Take('{')) return {};
  while (true) {
    absl::string_view name = scanner.TakeValue();
    if (name.size() < 2 || name[0] != '"' || !scanner.Take(':')) return {};
    absl::string_view value = scanner.TakeValue();
    if (value.empty() || name.substr(1, name.size() - 2) == key) return value;
    if (!scanner.Take(',')) return {};
  }
}

}  // namespace

absl::string_view SliceJson(absl::string_view text, absl::Span<const absl::string_view> path) {
  for (absl::string_view key : path) text = Member(text, key);
  return text;
}

}  // namespace gantry::oci
