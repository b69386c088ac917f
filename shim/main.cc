// gantry-shim: one process per container (or pod) that holds its namespaces, stdio and exit status,
// for gantryd or any containerd. See actions.h, zygote.h and task_service.h.

#include <unistd.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/file.h"
#include "base/status.h"
#include "shim/actions.h"
#include "shim/flags.h"
#include "shim/oci/readonly_self.h"
#include "shim/zygote.h"

namespace gantry::shim {
namespace {

constexpr size_t kMaxStdin = 10u << 20;
constexpr int kZygoteSocket = 3;

// The daemon reads stdout and stderr as one: on success nothing but the answer may be printed.
int Print(const absl::StatusOr<std::string>& text) {
  absl::Status status = text.status();
  if (status.ok()) status = base::WriteAll(STDOUT_FILENO, *text);
  if (status.ok()) return 0;
  std::string line = "gantry-shim: " + std::string(status.message()) + "\n";
  (void)base::WriteAll(STDERR_FILENO, line);
  return 1;
}

absl::StatusOr<std::string> Dispatch(const Flags& flags) {
  if (flags.version) return std::string("gantry-shim 0.1.0\n");
  if (flags.info) {
    GANTRY_ASSIGN_OR_RETURN(std::string input, base::ReadFd(STDIN_FILENO, kMaxStdin));
    return Info(input);
  }
  if (flags.action == "start") {
    GANTRY_ASSIGN_OR_RETURN(std::string input, base::ReadFd(STDIN_FILENO, kMaxStdin));
    return Start(flags, input);
  }
  if (flags.action == "delete") {
    GANTRY_ASSIGN_OR_RETURN(auto response, Delete(flags));
    return response.SerializeAsString();
  }
  return absl::InvalidArgumentError(
      "usage: gantry-shim -namespace NS -address SOCKET -id ID [-bundle DIR] [-debug] "
      "start|delete, or -info, -v, -zygote");
}

int Main(int argc, char** argv) {
  absl::StatusOr<Flags> flags = ParseFlags({argv + 1, argv + argc});
  if (!flags.ok()) return Print(flags.status());
  // Once per zygote or started shim: what it forks enters containers, and shows there the program
  // that is executed here.
  if (flags->zygote || flags->action == "start") {
    if (absl::Status status = oci::ExecuteFromReadonlyMount(argv); !status.ok())
      return Print(status);
  }
  if (flags->zygote) return RunZygote(kZygoteSocket);
  return Print(Dispatch(*flags));
}

}  // namespace
}  // namespace gantry::shim

int main(int argc, char** argv) {
  // No destructors of statics: the process is short-lived, or it never comes here.
  _exit(gantry::shim::Main(argc, argv));
}
