#ifndef GANTRY_CTL_COMMAND_H_
#define GANTRY_CTL_COMMAND_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/connection.h"
#include "ctl/args.h"

namespace gantry::ctl {

// Exit codes of our own, where a program's are passed through (the conventions of Docker and of
// shells).
inline constexpr int kExitFailure = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitDaemon = 125;  // run, exec: we failed, not the program
inline constexpr int kExitNotRunnable = 126;
inline constexpr int kExitNotFound = 127;

// What a command gets.
struct Invocation {
  client::Connection connection;
  Arguments args;
};

// The exit code of the process, or the error to print.
using CommandFunction = absl::StatusOr<int> (*)(const Invocation&);

struct Command {
  const char* name;
  const char* group;     // heading in the overview
  const char* usage;     // what follows the name
  const char* summary;   // one line
  const char* examples;  // lines, may be empty
  std::vector<Flag> flags;
  CommandFunction run;
  bool program_follows = false;  // flags end at the first argument
  // The exit code when `run` fails.
  int failure = kExitFailure;
};

// Every command, in the order of the overview. Built once.
const std::vector<Command>& Commands();

// Parts of the table, each in the file of its subject.
std::vector<Command> ImageCommands();
std::vector<Command> RunCommands();
std::vector<Command> ContainerCommands();
std::vector<Command> ObjectCommands();
std::vector<Command> NetworkCommands();
std::vector<Command> VolumeCommands();
std::vector<Command> SystemCommands();

// InvalidArgument unless there are `least` to `most` positional arguments.
absl::Status CheckCount(const Invocation& call, size_t least, size_t most, const char* what);

}  // namespace gantry::ctl

#endif  // GANTRY_CTL_COMMAND_H_
