#include "ctl/help.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
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
    for (auto* part : {RunCommands, ContainerCommands, ImageCommands, ObjectCommands,
                       NetworkCommands, VolumeCommands, SystemCommands}) {
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
    if (command.group[0] == '\0') continue;  // not for people
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

namespace {

std::string CommandNames() {
  std::vector<std::string> names;
  for (const Command& command : Commands()) names.emplace_back(command.name);
  return absl::StrJoin(names, " ");
}

std::string LongFlags(const Command& command) {
  std::vector<std::string> names;
  for (const Flag& flag : command.flags) names.push_back(absl::StrCat("--", flag.name));
  return absl::StrJoin(names, " ");
}

// Images and containers complete by asking the daemon.
absl::string_view Operands(absl::string_view command) {
  for (absl::string_view name : {"run", "create", "rmi", "tag", "push"}) {
    if (command == name) return "$(gantryctl images -q 2>/dev/null)";
  }
  for (absl::string_view name : {"start", "exec", "attach", "logs", "inspect", "kill", "stop", "rm",
                                 "pause", "resume", "stats"}) {
    if (command == name) return "$(gantryctl ps -a -q 2>/dev/null)";
  }
  return "";
}

std::string BashCompletion() {
  std::string text =
      "_gantryctl() {\n"
      "  local cur=${COMP_WORDS[COMP_CWORD]} cmd= i\n"
      "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
      "    case ${COMP_WORDS[i]} in\n"
      "      -a|-n|--address|--namespace) ((i++));;\n"
      "      -*) ;;\n"
      "      *) cmd=${COMP_WORDS[i]}; break;;\n"
      "    esac\n"
      "  done\n"
      "  local flags= words=\n"
      "  case $cmd in\n";
  absl::StrAppend(&text, "    '') flags='--address --namespace --help' words='", CommandNames(),
                  "';;\n");
  for (const Command& command : Commands()) {
    absl::StrAppend(&text, "    ", command.name, ") flags='", LongFlags(command), "' words=\"",
                    Operands(command.name), "\";;\n");
  }
  absl::StrAppend(&text,
                  "  esac\n"
                  "  case $cur in -*) words=$flags;; esac\n"
                  "  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
                  "}\n"
                  "complete -o default -F _gantryctl gantryctl\n");
  return text;
}

std::string FishCompletion() {
  std::string text = "complete -c gantryctl -f\n";
  for (const Command& command : Commands()) {
    absl::StrAppend(&text, "complete -c gantryctl -n __fish_use_subcommand -a ", command.name,
                    " -d '", command.summary, "'\n");
    for (const Flag& flag : command.flags) {
      absl::StrAppend(&text, "complete -c gantryctl -n '__fish_seen_subcommand_from ", command.name,
                      "' -l ", flag.name,
                      flag.letter == '\0' ? "" : absl::StrCat(" -s ", std::string(1, flag.letter)),
                      "\n");
    }
  }
  return text;
}

}  // namespace

absl::StatusOr<std::string> CompletionScript(absl::string_view shell) {
  if (shell == "bash") return BashCompletion();
  if (shell == "fish") return FishCompletion();
  if (shell == "zsh") {
    return absl::StrCat("autoload -U +X bashcompinit && bashcompinit\n", BashCompletion());
  }
  return absl::InvalidArgumentError(
      absl::StrCat("no completion for \"", shell, "\"; there is one for bash, zsh and fish"));
}

}  // namespace gantry::ctl
