#include "shim/launch.h"

#include <signal.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/json.h"
#include "base/status.h"
#include "base/ttrpc/frame.h"
#include "shim/sha256.h"

namespace gantry::shim {

std::string SocketPath(absl::string_view dir, absl::string_view grpc_address, absl::string_view ns,
                       absl::string_view group) {
  constexpr size_t kMax = sizeof(sockaddr_un::sun_path) - 1;
  constexpr size_t kFewest = 32;  // digits that still tell all shims of a machine apart
  std::string name = Sha256Hex(absl::StrCat(grpc_address, "/", ns, "/", group));
  if (dir.size() + 1 + name.size() > kMax) {
    name.resize(dir.size() + 1 + kFewest < kMax ? kMax - dir.size() - 1 : kFewest);
  }
  return absl::StrCat(dir, "/", name);
}

absl::StatusOr<std::string> GroupOf(const std::string& bundle, const std::string& id) {
  absl::StatusOr<std::string> read = base::ReadFile(bundle + "/config.json");
  if (absl::IsNotFound(read.status())) return id;  // a sandbox may be made of nothing
  GANTRY_ASSIGN_OR_RETURN(std::string text, std::move(read));
  GANTRY_ASSIGN_OR_RETURN(base::Json spec, base::ParseJson(text));
  const base::Json& annotations = base::JsonAt(spec, "annotations");
  for (const char* key : {"io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"}) {
    std::string group = base::JsonString(annotations, key);
    if (!group.empty()) return group;
  }
  return id;
}

absl::StatusOr<base::UniqueFd> BindShimSocket(const std::string& path) {
  base::UniqueFd listener;
  absl::Status bound = base::ttrpc::ListenUnix(path, &listener);
  if (base::ErrnoOf(bound) == ENOENT) {
    GANTRY_RETURN_IF_ERROR(base::MakeDirs(path.substr(0, path.rfind('/')), 0711));
    bound = base::ttrpc::ListenUnix(path, &listener);
  }
  if (absl::IsAlreadyExists(bound)) {
    base::UniqueFd probe;
    if (base::ttrpc::ConnectUnix(path, &probe, /*wait=*/false).ok()) return base::UniqueFd();
    if (unlink(path.c_str()) != 0 && errno != ENOENT)
      return base::ErrnoStatus(errno, absl::StrCat("remove stale socket ", path));
    bound = base::ttrpc::ListenUnix(path, &listener);
  }
  GANTRY_RETURN_IF_ERROR(bound);
  return listener;
}

absl::StatusOr<pid_t> ForkShim(ServeOptions options) {
  pid_t pid = fork();
  if (pid < 0) {
    int error = errno;
    unlink(options.socket_path.c_str());
    return base::ErrnoStatus(error, "fork");
  }
  if (pid == 0) Serve(std::move(options));
  return pid;
}

}  // namespace gantry::shim
