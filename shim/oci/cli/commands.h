#ifndef GANTRY_SHIM_OCI_CLI_COMMANDS_H_
#define GANTRY_SHIM_OCI_CLI_COMMANDS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "shim/oci/cli/args.h"
#include "shim/oci/cli/store.h"

namespace gantry::oci {

// What the flags before the command say.
struct Globals {
  std::string root;
  bool systemd_cgroup = false;
};

// A command of the runc-compatible command line; `run` returns the exit status of the program.
struct Command {
  const char* name;
  const char* usage;
  std::vector<Flag> flags;
  absl::StatusOr<int> (*run)(const Globals& globals, const Args& args);
  bool enters;  // its process becomes one of the container: run it from a read-only mount
};

const std::vector<Command>& LifecycleCommands();  // create start run exec kill delete
const std::vector<Command>& InspectCommands();    // state list ps pause resume update features spec

Command UpdateCommand();
Command EventsCommand();

// The first word behind the flags.
absl::StatusOr<std::string> IdOf(const Args& args);

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_CLI_COMMANDS_H_
