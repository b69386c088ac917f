#include "shim/flags.h"

#include <map>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace gantry::shim {

absl::StatusOr<Flags> ParseFlags(const std::vector<std::string>& arguments) {
  Flags flags;
  const std::map<std::string, std::string*> texts = {
      {"namespace", &flags.ns},    {"id", &flags.id},
      {"address", &flags.address}, {"publish-binary", &flags.publish_binary},
      {"bundle", &flags.bundle},   {"socket", &flags.socket}};
  const std::map<std::string, bool*> switches = {{"debug", &flags.debug},
                                                 {"v", &flags.version},
                                                 {"version", &flags.version},
                                                 {"info", &flags.info},
                                                 {"zygote", &flags.zygote}};
  for (size_t i = 0; i < arguments.size(); ++i) {
    absl::string_view word = arguments[i];
    if (!absl::StartsWith(word, "-") || word == "-" || word == "--") {
      flags.action = std::string(word);
      return flags;
    }
    if (!absl::ConsumePrefix(&word, "--")) absl::ConsumePrefix(&word, "-");
    size_t equals = word.find('=');
    std::string name(word.substr(0, equals));
    bool has_value = equals != absl::string_view::npos;
    std::string value = has_value ? std::string(word.substr(equals + 1)) : "";
    if (auto found = switches.find(name); found != switches.end()) {
      *found->second = !has_value || value == "true" || value == "1";
    } else if (auto text = texts.find(name); text != texts.end()) {
      if (!has_value) {
        if (i + 1 >= arguments.size())
          return absl::InvalidArgumentError(absl::StrCat("flag needs an argument: -", name));
        value = arguments[++i];
      }
      *text->second = value;
    } else {
      return absl::InvalidArgumentError(absl::StrCat("flag provided but not defined: -", name));
    }
  }
  return flags;
}

}  // namespace gantry::shim
