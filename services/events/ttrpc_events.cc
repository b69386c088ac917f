#include "services/events/ttrpc_events.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/event_loop.h"
#include "base/log.h"
#include "base/status.h"
#include "base/ttrpc/server.h"
#include "base/unique_fd.h"
#include "containerd/services/ttrpc/events/v1/events.pb.h"
#include "services/events/event_hub.h"

namespace gantry::services {
namespace {

namespace api = containerd::services::events::ttrpc::v1;
using base::UniqueFd;

constexpr char kService[] = "containerd.services.events.ttrpc.v1.Events";

absl::StatusOr<sockaddr_un> AddressOf(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return absl::InvalidArgumentError(absl::StrCat("socket path ", path, " is too long: at most ",
                                                   sizeof address.sun_path - 1, " bytes"));
  }
  memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

// Removes what a dead process left at `path`.
absl::Status RemoveStale(const std::string& path, const sockaddr_un& address) {
  UniqueFd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!probe) return base::ErrnoStatus(errno, "socket");
  if (connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    return absl::AlreadyExistsError(
        absl::StrCat("another process serves ", path, "; stop it or choose another --address"));
  }
  if (unlink(path.c_str()) != 0 && errno != ENOENT) {
    return base::ErrnoStatus(errno, absl::StrCat("remove ", path));
  }
  return absl::OkStatus();
}

absl::StatusOr<UniqueFd> ListenOn(const std::string& path) {
  GANTRY_ASSIGN_OR_RETURN(sockaddr_un address, AddressOf(path));
  GANTRY_RETURN_IF_ERROR(RemoveStale(path, address));
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return base::ErrnoStatus(errno, "socket");
  // The mode of the socket's file before it exists, so that it is never open to others.
  fchmod(fd.get(), 0600);
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return base::ErrnoStatus(errno, absl::StrCat("bind ", path));
  }
  if (chmod(path.c_str(), 0600) != 0) return base::ErrnoStatus(errno, absl::StrCat("chmod ", path));
  if (listen(fd.get(), 1024) != 0) return base::ErrnoStatus(errno, absl::StrCat("listen ", path));
  return fd;
}

class ServerImpl final : public TtrpcEventServer {
 public:
  ServerImpl(std::string path, EventHub* hub) : path_(std::move(path)), hub_(hub) {}

  absl::Status Listen() {
    GANTRY_ASSIGN_OR_RETURN(UniqueFd listener, ListenOn(path_));
    server_.Register(kService, [this](std::shared_ptr<base::ttrpc::Call> call) { Handle(*call); });
    GANTRY_RETURN_IF_ERROR(server_.Listen(std::move(listener)));
    thread_ = std::thread([this] {
      absl::Status status = loop_.Run();
      if (!status.ok()) base::LogError("event socket stopped", {{"error", status.message()}});
    });
    return absl::OkStatus();
  }

  ~ServerImpl() override {
    if (!thread_.joinable()) return;
    loop_.Stop();
    thread_.join();
    unlink(path_.c_str());
  }

 private:
  void Handle(base::ttrpc::Call& call) {
    if (call.method() != "Forward") {
      call.Fail(absl::UnimplementedError(absl::StrCat("method ", call.method())));
      return;
    }
    api::ForwardRequest request;
    absl::string_view payload = call.payload();
    if (!request.ParseFromArray(payload.data(), static_cast<int>(payload.size()))) {
      call.Fail(absl::InvalidArgumentError("the request is not a ForwardRequest"));
      return;
    }
    absl::Status status = hub_->Forward(request.envelope());
    if (status.ok()) {
      call.Reply("");
    } else {
      base::LogWarn("event of a shim refused",
                    {{"topic", request.envelope().topic()}, {"error", status.message()}});
      call.Fail(status);
    }
  }

  const std::string path_;
  EventHub* const hub_;
  base::EventLoop loop_;
  base::ttrpc::Server server_{&loop_};
  std::thread thread_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<TtrpcEventServer>> TtrpcEventServer::Start(const std::string& path,
                                                                          EventHub* hub) {
  auto server = std::make_unique<ServerImpl>(path, hub);
  GANTRY_RETURN_IF_ERROR(base::Annotate(server->Listen(), "serve the events of shims"));
  return server;
}

}  // namespace gantry::services
