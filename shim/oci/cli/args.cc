#include "shim/oci/cli/args.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace gantry::oci {
namespace {

const Flag* Find(const std::vector<Flag>& flags, absl::string_view name) {
  for (const Flag& flag : flags) {
    if (name == flag.name || (name.size() == 1 && name[0] == flag.letter)) return &flag;
  }
  return nullptr;
}

}  // namespace

absl::StatusOr<Args> Args::Parse(const std::vector<Flag>& flags,
                                 const std::vector<std::string>& words) {
  Args args;
  size_t i = 0;
  for (; i < words.size(); ++i) {
    absl::string_view word = words[i];
    if (word == "--") {
      ++i;
      break;
    }
    if (word.size() < 2 || word[0] != '-') break;
    word.remove_prefix(absl::StartsWith(word, "--") ? 2 : 1);
    size_t equals = word.find('=');
    const Flag* flag = Find(flags, word.substr(0, equals));
    if (flag == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat("flag provided but not defined: ", words[i]));
    }
    std::string value = "true";
    if (equals != absl::string_view::npos) {
      value = std::string(word.substr(equals + 1));
    } else if (flag->takes_value) {
      if (++i == words.size()) {
        return absl::InvalidArgumentError(absl::StrCat("flag needs an argument: --", flag->name));
      }
      value = words[i];
    }
    if (!flag->takes_value && value == "false") continue;
    args.values_[flag->name].push_back(value);
  }
  args.rest_.assign(words.begin() + static_cast<long>(i), words.end());
  return args;
}

std::string Args::Get(absl::string_view name, absl::string_view otherwise) const {
  auto found = values_.find(std::string(name));
  return found == values_.end() ? std::string(otherwise) : found->second.back();
}

std::vector<std::string> Args::All(absl::string_view name) const {
  auto found = values_.find(std::string(name));
  return found == values_.end() ? std::vector<std::string>() : found->second;
}

}  // namespace gantry::oci
