#ifndef GANTRY_CTL_HELP_H_
#define GANTRY_CTL_HELP_H_

#include <string>
#include <vector>

#include "ctl/command.h"

namespace gantry::ctl {

// Flags before the command.
const std::vector<Flag>& GlobalFlags();
std::string Overview();
std::string CommandHelp(const Command& command);
// A completion script for "bash", "zsh" or "fish"; InvalidArgument for other shells.
absl::StatusOr<std::string> CompletionScript(absl::string_view shell);

}  // namespace gantry::ctl

#endif  // GANTRY_CTL_HELP_H_
