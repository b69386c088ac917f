#include "client/connection.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <chrono>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/unique_fd.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/support/channel_arguments.h"

namespace gantry::client {
namespace {

constexpr char kNamespaceHeader[] = "containerd-namespace";
constexpr char kLeaseHeader[] = "containerd-lease";
// Image layers travel in messages of at most this size (containerd's own limit).
constexpr int kMaxMessage = 16 << 20;

// The errno of a fresh connect(2) to the socket; 0 when somebody listens.
int ProbeSocket(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return ENAMETOOLONG;
  memcpy(address.sun_path, path.data(), path.size());
  base::UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return errno;
  int result = connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address));
  return result == 0 ? 0 : errno;
}

absl::Status ExplainSocket(const std::string& path, const std::string& cause) {
  switch (int error = ProbeSocket(path)) {
    case ENOENT:
      return absl::UnavailableError(
          absl::StrCat("no daemon at ", path,
                       ": the socket does not exist; start it (systemctl start gantryd, or run "
                       "gantryd as root), or name another socket with --address"));
    case ECONNREFUSED:
      return absl::UnavailableError(
          absl::StrCat("the daemon of ", path,
                       " is not running (the socket is a leftover); start it: systemctl start "
                       "gantryd, or run gantryd as root"));
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(
          absl::StrCat("no permission to use ", path, ": run this command as root"));
    case 0:
      return absl::UnavailableError(cause);
    default:
      return absl::UnavailableError(absl::StrCat("connect to ", path, ": ", strerror(error)));
  }
}

}  // namespace

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  auto code = static_cast<absl::StatusCode>(status.error_code());
  if (!status.error_message().empty()) return absl::Status(code, status.error_message());
  // gRPC's own answer for a service that is not there has no text.
  return absl::Status(code,
                      code == absl::StatusCode::kUnimplemented
                          ? "the daemon does not serve this call"
                          : absl::StrCat("the daemon answered ", absl::StatusCodeToString(code)));
}

Connection::Connection(std::shared_ptr<grpc::Channel> channel, std::string ns)
    : channel_(std::move(channel)), ns_(std::move(ns)) {}

Connection Connection::ToSocket(absl::string_view address, std::string ns) {
  std::string path(absl::StripPrefix(address, "unix://"));
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessage);
  arguments.SetMaxSendMessageSize(kMaxMessage);
  // Names of unix sockets are no host names; containerd's clients send this one.
  arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, "localhost");
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetServiceConfigJSON("{}");
  Connection connection(
      grpc::CreateCustomChannel("unix:" + path, grpc::InsecureChannelCredentials(), arguments),
      std::move(ns));
  connection.address_ = path;
  return connection;
}

Connection Connection::WithLease(std::string lease) const {
  Connection copy = *this;
  copy.lease_ = std::move(lease);
  return copy;
}

Connection Connection::WithNamespace(std::string ns) const {
  Connection copy = *this;
  copy.ns_ = std::move(ns);
  return copy;
}

void Connection::Prepare(grpc::ClientContext* context) const {
  if (!ns_.empty()) context->AddMetadata(kNamespaceHeader, ns_);
  if (!lease_.empty()) context->AddMetadata(kLeaseHeader, lease_);
}

void Connection::SetDeadline(grpc::ClientContext* context, absl::Duration timeout) {
  if (timeout == absl::InfiniteDuration()) return;
  context->set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(timeout));
}

absl::Status Connection::Explain(const grpc::Status& status) const {
  if (status.error_code() != grpc::StatusCode::UNAVAILABLE || address_.empty()) {
    return FromGrpc(status);
  }
  return ExplainSocket(address_, status.error_message());
}

Batch::~Batch() {
  for (Call& call : calls_) {
    if (!call.finished) call.context.TryCancel();
  }
  (void)WaitAll();
  queue_.Shutdown();
  void* tag;
  bool ok;
  while (queue_.Next(&tag, &ok)) {
  }
}

absl::Status Batch::Wait(size_t number) {
  Poll(number, absl::InfiniteDuration());
  return connection_.Explain(calls_[number].status);
}

bool Batch::Poll(size_t number, absl::Duration timeout) {
  Call& call = calls_[number];
  auto deadline = timeout == absl::InfiniteDuration()
                      ? std::chrono::system_clock::time_point::max()
                      : std::chrono::system_clock::now() + absl::ToChronoMilliseconds(timeout);
  while (!call.finished) {
    void* tag = nullptr;
    bool ok = false;
    if (queue_.AsyncNext(&tag, &ok, deadline) != grpc::CompletionQueue::GOT_EVENT) return false;
    static_cast<Call*>(tag)->finished = true;
  }
  return true;
}

absl::Status Batch::WaitAll() {
  absl::Status first;
  for (size_t i = 0; i < calls_.size(); ++i) first.Update(Wait(i));
  return first;
}

}  // namespace gantry::client
