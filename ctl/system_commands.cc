// version, info, completion.

#include <sys/utsname.h>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "containerd/services/introspection/v1/introspection.grpc.pb.h"
#include "containerd/services/version/v1/version.grpc.pb.h"
#include "ctl/command.h"
#include "ctl/help.h"
#include "ctl/output.h"

namespace gantry::ctl {
namespace {

namespace version = containerd::services::version::v1;
namespace introspection = containerd::services::introspection::v1;
using google::protobuf::Empty;

absl::StatusOr<int> Version(const Invocation& call) {
  version::VersionResponse daemon;
  absl::Status status =
      call.connection.Call<version::Version>(&version::Version::Stub::Version, Empty(), &daemon);
  PrintOut(absl::StrCat("gantryctl  ", GANTRY_VERSION, "\n"));
  GANTRY_RETURN_IF_ERROR(status);
  PrintOut(absl::StrCat("daemon     ", Printable(daemon.version()),
                        daemon.revision().empty() ? "" : " (", Printable(daemon.revision()),
                        daemon.revision().empty() ? "" : ")", " at ", call.connection.address(),
                        "\n"));
  return 0;
}

absl::StatusOr<int> Completion(const Invocation& call) {
  GANTRY_RETURN_IF_ERROR(CheckCount(call, 1, 1, "a shell: bash, zsh or fish"));
  GANTRY_ASSIGN_OR_RETURN(std::string script, CompletionScript(call.args.positional()[0]));
  PrintOut(script);
  return 0;
}

}  // namespace

absl::Status CheckCount(const Invocation& call, size_t least, size_t most, const char* what) {
  size_t count = call.args.positional().size();
  if (count >= least && count <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(count < least ? "too few" : "too many", " arguments; expected ", what));
}

std::vector<Command> SystemCommands() {
  return {{"version",
           "System",
           "",
           "Show the versions of gantryctl and of the daemon",
           "gantryctl version",
           {},
           Version},
          {"completion",
           "System",
           "bash|zsh|fish",
           "Print a completion script for a shell",
           "gantryctl completion bash > /etc/bash_completion.d/gantryctl",
           {},
           Completion}};
}

}  // namespace gantry::ctl
