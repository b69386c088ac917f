#include "shim/zygote.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "gantry/shim/v1/zygote.pb.h"
#include "shim/launch.h"
#include "shim/oci/container.h"
#include "shim/oci/network_pool.h"

namespace gantry::shim {
namespace {

using gantry::shim::v1::SpawnReply;
using gantry::shim::v1::SpawnRequest;

absl::Status Check(const SpawnRequest& request) {
  if (request.namespace_().empty() || request.id().empty())
    return absl::InvalidArgumentError("spawn: namespace and id must be given");
  if (!absl::StartsWith(request.bundle(), "/"))
    return absl::InvalidArgumentError("spawn: bundle must be an absolute path");
  return absl::OkStatus();
}

// In the shim: nothing of the zygote's stays open.
[[noreturn]] void BecomeShim(int fd, std::optional<oci::NetworkPool>* networks,
                             ServeOptions options) {
  close(fd);
  if (networks->has_value()) oci::Container::LendNetwork((*networks)->Take());
  networks->reset();
  Serve(std::move(options));
}

absl::Status Spawn(int fd, std::optional<oci::NetworkPool>* networks, const std::string& packet,
                   SpawnReply* reply) {
  SpawnRequest request;
  if (!request.ParseFromString(packet))
    return absl::InvalidArgumentError("spawn: malformed request");
  GANTRY_RETURN_IF_ERROR(Check(request));
  ServeOptions options;
  options.socket_path =
      SocketPath(request.socket_dir().empty() ? kDefaultSocketDir : request.socket_dir(),
                 request.grpc_address(), request.namespace_(),
                 request.group().empty() ? request.id() : request.group());
  reply->set_address("unix://" + options.socket_path);
  GANTRY_ASSIGN_OR_RETURN(options.listener, BindShimSocket(options.socket_path));
  if (!options.listener) return absl::OkStatus();  // the group's shim lives
  options.ns = request.namespace_();
  options.bundle = request.bundle();
  options.ttrpc_address = request.ttrpc_address();
  options.debug = request.debug();
  std::string socket_path = options.socket_path;
  pid_t pid = fork();
  if (pid < 0) {
    int error = errno;
    unlink(socket_path.c_str());
    return base::ErrnoStatus(error, "fork");
  }
  if (pid == 0) BecomeShim(fd, networks, std::move(options));
  reply->set_pid(static_cast<uint32_t>(pid));
  return absl::OkStatus();
}

}  // namespace

int RunZygote(int fd) {
  prctl(PR_SET_NAME, "gantry-zygote");
  // Shims that end, and children that outlive theirs, are reaped by the kernel.
  signal(SIGCHLD, SIG_IGN);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  signal(SIGPIPE, SIG_IGN);
  oci::Container::Prepare();
  std::optional<oci::NetworkPool> networks;
  if (auto started = oci::NetworkPool::Start(); started.ok()) {
    networks.emplace(*std::move(started));
  } else {
    base::LogWarn("network namespaces are not made ahead",
                  {{"error", started.status().ToString()}});
  }
  std::string buffer(64 * 1024, '\0');
  while (true) {
    ssize_t n = recv(fd, buffer.data(), buffer.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return n == 0 ? 0 : 1;
    SpawnReply reply;
    absl::Status spawned = Spawn(fd, &networks, buffer.substr(0, static_cast<size_t>(n)), &reply);
    if (!spawned.ok()) {
      reply.Clear();
      reply.set_code(static_cast<int>(spawned.code()));
      reply.set_error(std::string(spawned.message()));
    }
    std::string bytes = reply.SerializeAsString();
    if (send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0 && errno != EINTR) return 1;
  }
}

}  // namespace gantry::shim
