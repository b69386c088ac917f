// version, info, doctor, completion.

#include <sys/utsname.h>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "client/container.h"
#include "client/image.h"
#include "containerd/services/introspection/v1/introspection.methods.h"
#include "containerd/services/version/v1/version.methods.h"
#include "ctl/command.h"
#include "ctl/doctor.h"
#include "ctl/fsck.h"
#include "ctl/help.h"
#include "ctl/output.h"
#include "ctl/task_ops.h"

namespace gantry::ctl {
namespace {

namespace version = containerd::services::version::v1;
namespace introspection = containerd::services::introspection::v1;
using google::protobuf::Empty;

absl::StatusOr<int> Version(const Invocation& call) {
  version::VersionResponse daemon;
  absl::Status status = call.connection.Call(version::VersionMethods::kVersion, Empty(), &daemon);
  PrintOut(absl::StrCat("gantryctl  ", GANTRY_VERSION, "\n"));
  GANTRY_RETURN_IF_ERROR(status);
  PrintOut(absl::StrCat("daemon     ", Printable(daemon.version()),
                        daemon.revision().empty() ? "" : " (", Printable(daemon.revision()),
                        daemon.revision().empty() ? "" : ")", " at ", call.connection.address(),
                        "\n"));
  return 0;
}

absl::StatusOr<int> Info(const Invocation& call) {
  version::VersionResponse daemon;
  GANTRY_RETURN_IF_ERROR(call.connection.Call(version::VersionMethods::kVersion, Empty(), &daemon));
  introspection::ServerResponse server;
  GANTRY_RETURN_IF_ERROR(
      call.connection.Call(introspection::IntrospectionMethods::kServer, Empty(), &server));
  GANTRY_ASSIGN_OR_RETURN(auto records, client::ListContainers(call.connection));
  GANTRY_ASSIGN_OR_RETURN(auto list, ListTasks(call.connection));
  utsname system = {};
  uname(&system);
  bool v2 = base::Exists("/sys/fs/cgroup/cgroup.controllers");
  base::OrderedJson json = {{"client", GANTRY_VERSION},
                            {"daemon", daemon.version()},
                            {"revision", daemon.revision()},
                            {"socket", call.connection.address()},
                            {"uuid", server.uuid()},
                            {"pid", server.pid()},
                            {"namespace", call.connection.ns()},
                            {"containers", records.size()},
                            {"tasks", list.size()},
                            {"kernel", system.release},
                            {"architecture", client::MachineArchitecture()},
                            {"cgroups", v2 ? "v2" : "v1"}};
  GANTRY_ASSIGN_OR_RETURN(Format format, ListFormat(call.args));
  if (format == Format::kJson) {
    PrintOut(DumpOrdered(json) + "\n");
    return 0;
  }
  for (const auto& [key, value] : json.items()) {
    std::string name = key;
    name.resize(14, ' ');
    std::string text = value.is_string() ? value.get<std::string>() : value.dump();
    PrintOut(absl::StrCat(name, Printable(text), "\n"));
  }
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
  return {
      {"version",
       "System",
       "",
       "Show the versions of gantryctl and of the daemon",
       "gantryctl version",
       {},
       Version},
      {"info", "System", "[FLAGS]", "Show facts about the daemon and the machine",
       "gantryctl info --format json", ListFlags(), Info},
      {"doctor",
       "System",
       "[FLAGS]",
       "Find what keeps containers from running, and say what to do",
       "gantryctl doctor",
       {{"root", '\0', FlagKind::kString, "DIR", "the daemon's --root (default /var/lib/gantry)"}},
       Doctor},
      {"fsck",
       "System",
       "[FLAGS]",
       "Check that every object of the daemon has an owner, and mend",
       "gantryctl fsck\ngantryctl fsck --verify --repair",
       {{"repair", '\0', FlagKind::kBool, "",
         "remove what has no owner, and records without object"},
        {"verify", '\0', FlagKind::kBool, "", "read all content and compare it with its digests"},
        {"young", '\0', FlagKind::kBool, "",
         "also what is younger than a minute; only while nothing else goes on"},
        {"format", '\0', FlagKind::kString, "table|json", "how to print"}},
       Fsck},
      {"completion",
       "System",
       "bash|zsh|fish",
       "Print a completion script for a shell",
       "gantryctl completion bash > /etc/bash_completion.d/gantryctl",
       {},
       Completion}};
}

}  // namespace gantry::ctl
