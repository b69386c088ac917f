// gantryctl: a command line for everything that speaks containerd's API. Statically linked, with
// protobuf's lite runtime, without threads, and left by _exit().

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "ctl/command.h"
#include "ctl/help.h"
#include "ctl/output.h"

namespace gantry::ctl {
namespace {

constexpr char kDefaultAddress[] = "/run/gantry/gantry.sock";
constexpr char kDefaultNamespace[] = "default";

std::string FromEnvironment(const char* name, const char* otherwise) {
  const char* value = getenv(name);
  return value != nullptr && value[0] != '\0' ? value : otherwise;
}

int RunCommand(const Command& command, const Arguments& global,
               const std::vector<std::string>& rest) {
  auto args = ParseArguments(rest, command.flags, command.program_follows);
  if (!args.ok()) {
    PrintError(args.status());
    return command.failure == kExitFailure ? kExitUsage : command.failure;
  }
  if (args->Bool("help")) {
    PrintOut(CommandHelp(command));
    return 0;
  }
  Invocation call{
      client::Connection::ToSocket(
          global.String("address", FromEnvironment("GANTRY_ADDRESS", kDefaultAddress)),
          global.String("namespace", FromEnvironment("GANTRY_NAMESPACE", kDefaultNamespace))),
      *std::move(args)};
  absl::StatusOr<int> code = command.run(call);
  if (code.ok()) return *code;
  PrintError(code.status());
  return command.failure;
}

int Main(const std::vector<std::string>& args) {
  auto global = ParseArguments(args, GlobalFlags(), /*stop_at_positional=*/true);
  if (!global.ok()) {
    PrintError(global.status());
    return kExitUsage;
  }
  const std::vector<std::string>& words = global->positional();
  if (words.empty() || (words.size() == 1 && words[0] == "help")) {
    PrintOut(Overview());
    return words.empty() && !global->Bool("help") ? kExitUsage : 0;
  }
  bool help = words[0] == "help";
  const std::string& name = words[help ? 1 : 0];
  for (const Command& command : Commands()) {
    if (name != command.name) continue;
    if (help) {
      PrintOut(CommandHelp(command));
      return 0;
    }
    return RunCommand(command, *global, {words.begin() + 1, words.end()});
  }
  PrintError(absl::InvalidArgumentError(
      absl::StrCat("there is no command \"", name, "\"; gantryctl --help lists them")));
  return kExitUsage;
}

}  // namespace
}  // namespace gantry::ctl

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  // For development: it costs more than all our locking.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  int code = gantry::ctl::Main({argv + 1, argv + argc});
  fflush(stdout);
  fflush(stderr);
  // Nothing is left to do that the kernel does not do faster.
  _exit(code);
}
