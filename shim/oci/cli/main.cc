// gantry-oci: the engine behind the command line of runc.

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/status.h"
#include "shim/oci/cli/commands.h"
#include "shim/oci/readonly_self.h"
#include "shim/oci/rootless.h"

namespace gantry::oci {
namespace {

const std::vector<Flag> kGlobalFlags = {
    {"root", 0, true},   {"log", 0, true},  {"log-format", 0, true}, {"systemd-cgroup", 0, false},
    {"debug", 0, false}, {"criu", 0, true}, {"rootless", 0, true},   {"version", 'v', false},
    {"help", 'h', false}};

std::vector<const Command*> AllCommands() {
  std::vector<const Command*> all;
  for (const Command& command : LifecycleCommands()) all.push_back(&command);
  for (const Command& command : InspectCommands()) all.push_back(&command);
  return all;
}

void PrintHelp() {
  puts(
      "usage: gantry-oci [--root DIR] [--log FILE] [--log-format text|json] [--systemd-cgroup]\n"
      "                  COMMAND [options] ...\n\ncommands:");
  for (const Command* command : AllCommands()) printf("  %s %s\n", command->name, command->usage);
  puts("\nexample:\n  gantry-oci run -b /path/to/bundle name");
}

void Report(const Args& globals, const absl::Status& status) {
  std::string message(status.message());
  fprintf(stderr, "gantry-oci: %s\n", message.c_str());
  std::string path = globals.Get("log");
  if (path.empty()) return;
  auto file = base::Open(path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK, 0644);
  if (!file.ok()) return;
  std::string time = base::FormatRfc3339(absl::Now());
  base::Json entry = {{"level", "error"}, {"msg", message}, {"time", time}};
  std::string line = globals.Get("log-format") == "json"
                         ? base::DumpJson(entry)
                         : absl::StrCat("time=\"", time, "\" level=error msg=\"", message, "\"");
  base::WriteAll(file->get(), line + "\n").IgnoreError();
}

std::string DefaultRoot() {
  if (!IsRootless()) return "/run/gantry-oci";
  const char* runtime = getenv("XDG_RUNTIME_DIR");
  if (runtime != nullptr && runtime[0] == '/') return absl::StrCat(runtime, "/gantry-oci");
  return absl::StrCat("/run/user/", geteuid(), "/gantry-oci");
}

int PrintUsage(const Command& command) {
  printf("Usage: gantry-oci [OPTION...] %s %s\n", command.name, command.usage);
  for (const Flag& flag : command.flags) {
    printf("  --%s%s", flag.name, flag.takes_value ? " VALUE" : "");
    if (flag.letter != 0) printf(", -%c%s", flag.letter, flag.takes_value ? " VALUE" : "");
    puts("");
  }
  return 0;
}

// Before anything is done: later nobody would read of a log that cannot be written.
absl::Status CheckLog(const Args& globals) {
  std::string format = globals.Get("log-format", "text"), path = globals.Get("log");
  if (format != "text" && format != "json") {
    return absl::InvalidArgumentError(
        absl::StrCat("invalid log-format \"", format, "\": text or json"));
  }
  if (path.empty()) return absl::OkStatus();
  return base::Open(path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK, 0644).status();
}

absl::StatusOr<int> Dispatch(const Args& globals, char** argv) {
  std::vector<std::string> words = globals.rest();
  for (const Command* command : AllCommands()) {
    if (words[0] != command->name) continue;
    words.erase(words.begin());
    if (!words.empty() && (words[0] == "--help" || words[0] == "-h")) return PrintUsage(*command);
    GANTRY_ASSIGN_OR_RETURN(Args args, Args::Parse(command->flags, words));
    if (command->enters) GANTRY_RETURN_IF_ERROR(ExecuteFromReadonlyMount(argv));
    Globals settings{globals.Get("root", DefaultRoot()), globals.Has("systemd-cgroup")};
    return command->run(settings, args);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown command \"", words[0], "\"; see gantry-oci --help"));
}

int Main(int argc, char** argv) {
  auto globals = Args::Parse(kGlobalFlags, std::vector<std::string>(argv + 1, argv + argc));
  if (!globals.ok()) {
    Report(Args(), globals.status());
    return 1;
  }
  if (globals->Has("version")) {
    puts("gantry-oci version 0.1.0\nspec: 1.2.0");
    return 0;
  }
  if (globals->Has("help") || globals->rest().empty() || globals->rest()[0] == "help") {
    PrintHelp();
    return 0;
  }
  absl::Status log = CheckLog(*globals);
  if (!log.ok()) {
    Report(Args(), log);
    return 1;
  }
  auto result = Dispatch(*globals, argv);
  if (result.ok()) return *result;
  Report(*globals, result.status());
  return 1;
}

}  // namespace
}  // namespace gantry::oci

int main(int argc, char** argv) {
  int status = gantry::oci::Main(argc, argv);
  fflush(nullptr);
  return status;
}
