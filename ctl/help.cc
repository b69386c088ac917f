#include "ctl/help.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace gantry::ctl {

const std::vector<Flag>& GlobalFlags() {
  static const std::vector<Flag>* const kFlags = new std::vector<Flag>{
      {"address", 'a', FlagKind::kString, "SOCKET",
       "socket of the daemon (default /run/gantry/gantry.sock; GANTRY_ADDRESS)"},
      {"namespace", 'n', FlagKind::kString, "NS",
       "namespace of images and containers (default \"default\"; GANTRY_NAMESPACE)"},
      {"help", 'h', FlagKind::kBool, "", "show help"}};
  return *kFlags;
}

const std::vector<Command>& Commands() {
  static const std::vector<Command>* const kCommands = [] {
    auto* all = new std::vector<Command>();
    for (auto* part : {RunCommands}) {
      for (Command& command : part()) {
        command.flags.push_back({"help", 'h', FlagKind::kBool, "", "show this help"});
        all->push_back(std::move(command));
      }
    }
    return all;
  }();
  return *kCommands;
}

std::string Overview() {
  std::string text =
      "gantryctl runs containers with gantryd, or any daemon that speaks containerd's API.\n\n"
      "Usage: gantryctl [-a SOCKET] [-n NAMESPACE] COMMAND [FLAGS] [ARGUMENTS]\n";
  absl::string_view group;
  for (const Command& command : Commands()) {
    if (group != command.group) {
      group = command.group;
      absl::StrAppend(&text, "\n", group, ":\n");
    }
    std::string name = command.name;
    name.resize(12, ' ');
    absl::StrAppend(&text, "  ", name, command.summary, "\n");
  }
  absl::StrAppend(&text, "\nFlags:\n", FormatFlags(GlobalFlags()),
                  "\ngantryctl COMMAND --help shows flags and examples of a command.\n");
  return text;
}

std::string CommandHelp(const Command& command) {
  std::string text = absl::StrCat(command.summary, "\n\nUsage: gantryctl ", command.name);
  if (command.usage[0] != '\0') absl::StrAppend(&text, " ", command.usage);
  absl::StrAppend(&text, "\n\nFlags:\n", FormatFlags(command.flags));
  if (command.examples[0] != '\0') {
    absl::StrAppend(&text, "\nExamples:\n");
    for (absl::string_view line : absl::StrSplit(command.examples, '\n')) {
      absl::StrAppend(&text, "  ", line, "\n");
    }
  }
  return text;
}

}  // namespace gantry::ctl
