#include "ctl/args.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace gantry::ctl {
namespace {

const Flag* FindLong(const std::vector<Flag>& flags, absl::string_view name) {
  for (const Flag& flag : flags) {
    if (name == flag.name) return &flag;
  }
  return nullptr;
}

const Flag* FindShort(const std::vector<Flag>& flags, char letter) {
  for (const Flag& flag : flags) {
    if (flag.letter != '\0' && flag.letter == letter) return &flag;
  }
  return nullptr;
}

absl::Status Unknown(absl::string_view given) {
  return absl::InvalidArgumentError(
      absl::StrCat("unknown flag ", given, "; --help lists the flags of this command"));
}

// Walks over the arguments.
class Parser {
 public:
  Parser(const std::vector<std::string>& args, const std::vector<Flag>& flags)
      : args_(args), flags_(flags) {}

  absl::StatusOr<Arguments> Run(bool stop_at_positional) {
    for (; next_ < args_.size(); ++next_) {
      const std::string& arg = args_[next_];
      if (flags_ended_ || arg.size() < 2 || arg[0] != '-') {
        result_.AddPositional(arg);
        if (stop_at_positional) flags_ended_ = true;
        continue;
      }
      if (arg == "--") {
        flags_ended_ = true;
        continue;
      }
      absl::Status status = arg[1] == '-' ? Long(arg) : Short(arg);
      if (!status.ok()) return status;
    }
    return std::move(result_);
  }

 private:
  absl::Status Long(absl::string_view arg) {
    size_t equals = arg.find('=');
    const Flag* flag = FindLong(flags_, arg.substr(2, equals == arg.npos ? arg.npos : equals - 2));
    if (flag == nullptr) return Unknown(arg.substr(0, equals));
    if (equals != arg.npos) return Set(*flag, std::string(arg.substr(equals + 1)));
    if (flag->kind == FlagKind::kBool) return Set(*flag, "true");
    return SetFromNext(*flag);
  }

  absl::Status Short(absl::string_view arg) {
    for (size_t i = 1; i < arg.size(); ++i) {
      const Flag* flag = FindShort(flags_, arg[i]);
      if (flag == nullptr) return Unknown(absl::StrCat("-", arg.substr(i, 1)));
      if (flag->kind == FlagKind::kBool) {
        absl::Status status = Set(*flag, "true");
        if (!status.ok()) return status;
        continue;
      }
      if (i + 1 == arg.size()) return SetFromNext(*flag);
      absl::string_view value = arg.substr(i + 1);
      if (value[0] == '=') value.remove_prefix(1);
      return Set(*flag, std::string(value));
    }
    return absl::OkStatus();
  }

  absl::Status SetFromNext(const Flag& flag) {
    if (next_ + 1 >= args_.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("flag --", flag.name, " needs a value (", flag.value, ")"));
    }
    return Set(flag, args_[++next_]);
  }

  absl::Status Set(const Flag& flag, std::string value) {
    if (flag.kind == FlagKind::kBool && value != "true" && value != "false") {
      return absl::InvalidArgumentError(
          absl::StrCat("flag --", flag.name, " is true or false, not \"", value, "\""));
    }
    result_.Add(flag.name, std::move(value));
    return absl::OkStatus();
  }

  const std::vector<std::string>& args_;
  const std::vector<Flag>& flags_;
  size_t next_ = 0;
  bool flags_ended_ = false;
  Arguments result_;
};

}  // namespace

bool Arguments::Has(absl::string_view flag) const { return values_.find(flag) != values_.end(); }

bool Arguments::Bool(absl::string_view flag) const { return String(flag) == "true"; }

std::string Arguments::String(absl::string_view flag, absl::string_view otherwise) const {
  auto it = values_.find(flag);
  return it == values_.end() ? std::string(otherwise) : it->second.back();
}

const std::vector<std::string>& Arguments::List(absl::string_view flag) const {
  static const std::vector<std::string>* const kNone = new std::vector<std::string>();
  auto it = values_.find(flag);
  return it == values_.end() ? *kNone : it->second;
}

void Arguments::Add(absl::string_view flag, std::string value) {
  values_[std::string(flag)].push_back(std::move(value));
}

absl::StatusOr<Arguments> ParseArguments(const std::vector<std::string>& args,
                                         const std::vector<Flag>& flags, bool stop_at_positional) {
  return Parser(args, flags).Run(stop_at_positional);
}

std::string FormatFlags(const std::vector<Flag>& flags) {
  std::vector<std::string> left;
  size_t width = 0;
  for (const Flag& flag : flags) {
    left.push_back(absl::StrCat(
        flag.letter == '\0' ? "    " : absl::StrCat("-", std::string(1, flag.letter), ", "), "--",
        flag.name, flag.value[0] == '\0' ? "" : " ", flag.value));
    width = std::max(width, left.back().size());
  }
  std::string text;
  for (size_t i = 0; i < flags.size(); ++i) {
    absl::StrAppend(&text, "  ", left[i], std::string(width + 2 - left[i].size(), ' '),
                    flags[i].help, "\n");
  }
  return text;
}

}  // namespace gantry::ctl
