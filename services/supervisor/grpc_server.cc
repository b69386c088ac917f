#include "services/supervisor/grpc_server.h"

#include <grpcpp/ext/health_check_service_server_builder_option.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/service_type.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace gantry::services {
namespace {

// Whether somebody accepts connections at the path.
absl::StatusOr<bool> IsAnswered(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return absl::InvalidArgumentError(absl::StrCat("socket path ", path, " is longer than ",
                                                   sizeof address.sun_path - 1, " bytes"));
  }
  memcpy(address.sun_path, path.data(), path.size());
  base::UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return base::ErrnoStatus(errno, "socket");
  return connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
}

class GrpcServerImpl final : public GrpcServer {
 public:
  explicit GrpcServerImpl(std::vector<std::unique_ptr<grpc::Service>> services)
      : services_(std::move(services)) {}
  ~GrpcServerImpl() override { Shutdown(absl::ZeroDuration()); }

  absl::Status Listen(const GrpcServerOptions& options) {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::ServerBuilder builder;
    builder.AddListeningPort(absl::StrCat("unix:", options.address),
                             grpc::InsecureServerCredentials());
    builder.SetMaxReceiveMessageSize(options.max_recv_message_size);
    builder.SetMaxSendMessageSize(options.max_send_message_size);
    // One completion queue with few pollers is quickest for short calls and idles in little memory.
    builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::NUM_CQS, 1);
    builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MIN_POLLERS, 1);
    // Those beyond two stay for a burst of calls instead of being made anew for each.
    builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MAX_POLLERS, 6);
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    for (const auto& service : services_) builder.RegisterService(service.get());
    mode_t before = umask(0117);
    server_ = builder.BuildAndStart();
    umask(before);
    if (server_ == nullptr) {
      return absl::UnavailableError(
          absl::StrCat("cannot listen on ", options.address,
                       ": bind failed; is the directory there and writable?"));
    }
    if (chown(options.address.c_str(), options.uid, options.gid) != 0) {
      return base::ErrnoStatus(errno, absl::StrCat("chown ", options.address));
    }
    return absl::OkStatus();
  }

  void Shutdown(absl::Duration grace) override {
    if (server_ == nullptr) return;
    server_->Shutdown(absl::ToChronoTime(absl::Now() + grace));
    server_->Wait();
    server_.reset();
  }

 private:
  std::vector<std::unique_ptr<grpc::Service>> services_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(
    const GrpcServerOptions& options, std::vector<std::unique_ptr<grpc::Service>> services) {
  GANTRY_ASSIGN_OR_RETURN(bool answered, IsAnswered(options.address));
  if (answered) {
    return absl::FailedPreconditionError(
        absl::StrCat("another server answers on ", options.address, "; stop it or use --address"));
  }
  auto server = std::make_unique<GrpcServerImpl>(std::move(services));
  GANTRY_RETURN_IF_ERROR(server->Listen(options));
  return server;
}

}  // namespace gantry::services
