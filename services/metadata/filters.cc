#include "services/metadata/filters.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "re2/re2.h"
#include "services/metadata/filter_scanner.h"

namespace gantry::services {
namespace {

using filter::Rune;
using filter::Scanner;
using filter::Token;
using filter::TokenKind;

enum class Operator { kPresent, kEqual, kNotEqual, kMatches };

struct Selector {
  std::vector<std::string> fieldpath;
  Operator op = Operator::kPresent;
  std::string value;
  std::unique_ptr<re2::RE2> regex;  // for kMatches

  bool Match(FieldLookup lookup) const {
    std::optional<std::string> field = lookup(fieldpath);
    switch (op) {
      case Operator::kPresent:
        return field.has_value();
      case Operator::kEqual:
        return field.has_value() && *field == value;
      case Operator::kNotEqual:
        return field.value_or("") != value;
      case Operator::kMatches:
        // containerd takes an absent field for an empty one here, and a pattern that does not
        // compile for one that matches nothing.
        return regex->ok() && re2::RE2::PartialMatch(field.value_or(""), *regex);
    }
    return false;
  }
};

using Conjunction = std::vector<Selector>;

class Parser {
 public:
  explicit Parser(const std::string& input) : input_(input), scanner_(input) {}

  absl::StatusOr<Conjunction> Parse() {
    Conjunction selectors;
    while (true) {
      GANTRY_ASSIGN_OR_RETURN(Selector selector, ParseSelector());
      selectors.push_back(std::move(selector));
      const Rune next = scanner_.Peek();
      if (next == filter::kEof) return selectors;
      if (next != ',') {
        return Error(scanner_.position(),
                     absl::StrCat("unexpected input: ", absl::string_view(scanner_.PeekText())));
      }
      scanner_.Scan();
    }
  }

 private:
  absl::StatusOr<Selector> ParseSelector() {
    Selector selector;
    GANTRY_ASSIGN_OR_RETURN(selector.fieldpath, ParseFieldpath());
    const Rune next = scanner_.Peek();
    if (next == ',' || next == filter::kEof) return selector;
    GANTRY_ASSIGN_OR_RETURN(selector.op, ParseOperator());
    const bool regex = selector.op == Operator::kMatches;
    GANTRY_ASSIGN_OR_RETURN(selector.value, ParseValue(regex));
    if (regex) {
      re2::RE2::Options options;
      options.set_log_errors(false);
      selector.regex = std::make_unique<re2::RE2>(selector.value, options);
    }
    return selector;
  }

  absl::StatusOr<std::vector<std::string>> ParseFieldpath() {
    std::vector<std::string> path;
    while (true) {
      GANTRY_ASSIGN_OR_RETURN(std::string field, ParseField());
      path.push_back(std::move(field));
      if (scanner_.Peek() != '.') return path;
      scanner_.Scan();
    }
  }

  absl::StatusOr<std::string> ParseField() {
    Token token = scanner_.Scan();
    if (token.kind == TokenKind::kField) return std::string(token.text);
    if (token.kind == TokenKind::kQuoted) return ParseQuoted(token, false);
    if (token.kind == TokenKind::kIllegal) return Error(token.pos, scanner_.error());
    return Error(token.pos, "expected field or quoted");
  }

  absl::StatusOr<Operator> ParseOperator() {
    Token token = scanner_.Scan();
    if (token.kind == TokenKind::kIllegal) return Error(token.pos, scanner_.error());
    if (token.kind != TokenKind::kOperator) {
      return Error(token.pos, R"(expected an operator ("=="|"!="|"~="))");
    }
    if (token.text == "==") return Operator::kEqual;
    if (token.text == "!=") return Operator::kNotEqual;
    if (token.text == "~=") return Operator::kMatches;
    return Error(token.pos, absl::StrCat("unsupported operator \"", token.text, "\""));
  }

  absl::StatusOr<std::string> ParseValue(bool allow_alternative_quotes) {
    Token token = scanner_.Scan();
    if (token.kind == TokenKind::kValue || token.kind == TokenKind::kField) {
      return std::string(token.text);
    }
    if (token.kind == TokenKind::kQuoted) return ParseQuoted(token, allow_alternative_quotes);
    if (token.kind == TokenKind::kIllegal) return Error(token.pos, scanner_.error());
    return Error(token.pos, "expected value or quoted");
  }

  absl::StatusOr<std::string> ParseQuoted(const Token& token, bool allow_alternative_quotes) {
    if (!allow_alternative_quotes && token.text.front() != '"') {
      return Error(token.pos, "invalid quote encountered");
    }
    absl::StatusOr<std::string> text = filter::Unquote(token.text);
    if (!text.ok()) {
      return Error(token.pos, absl::StrCat("unquoting failed: ", text.status().message()));
    }
    return text;
  }

  absl::Status Error(size_t pos, absl::string_view message) const {
    std::string where = input_;
    if (pos < input_.size()) {
      where = absl::StrCat(input_.substr(0, pos), " >|", input_.substr(pos, 1), "|< ",
                           input_.substr(pos + 1));
    }
    return absl::InvalidArgumentError(
        absl::StrCat("filters: parse error: [", where, "]: ", message, ": invalid argument"));
  }

  const std::string& input_;
  Scanner scanner_;
};

}  // namespace

struct Filter::Rep {
  std::vector<Conjunction> alternatives;
};

absl::StatusOr<Filter> Filter::ParseAll(const std::vector<std::string>& filters) {
  auto rep = std::make_shared<Rep>();
  bool match_all = filters.empty();
  for (const std::string& text : filters) {
    if (text.empty()) {
      match_all = true;
      continue;
    }
    GANTRY_ASSIGN_OR_RETURN(Conjunction selectors, Parser(text).Parse());
    rep->alternatives.push_back(std::move(selectors));
  }
  Filter result;
  if (!match_all) result.rep_ = std::move(rep);
  return result;
}

bool Filter::Match(FieldLookup lookup) const {
  if (rep_ == nullptr) return true;
  for (const Conjunction& selectors : rep_->alternatives) {
    bool all = true;
    for (const Selector& selector : selectors) {
      if (!selector.Match(lookup)) {
        all = false;
        break;
      }
    }
    if (all) return true;
  }
  return false;
}

std::optional<std::string> LookupLabel(
    const google::protobuf::Map<std::string, std::string>& labels,
    absl::Span<const std::string> rest) {
  auto it = labels.find(absl::StrJoin(rest, "."));
  if (it == labels.end()) return std::nullopt;
  return it->second;
}

}  // namespace gantry::services
