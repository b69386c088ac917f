#include "client/transfer.h"

#include <memory>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/ids.h"
#include "base/status.h"
#include "client/image.h"
#include "containerd/services/streaming/v1/streaming.grpc.pb.h"
#include "containerd/services/transfer/v1/transfer.grpc.pb.h"
#include "containerd/types/transfer/imagestore.pb.h"
#include "containerd/types/transfer/registry.pb.h"

namespace gantry::client {
namespace {

namespace api = containerd::services::transfer::v1;
namespace streaming = containerd::services::streaming::v1;
namespace types = containerd::types::transfer;
using google::protobuf::Any;

// containerd's type URLs are bare message names.
template <typename Message>
Any Pack(const Message& message) {
  Any any;
  any.set_type_url(message.GetDescriptor()->full_name());
  any.set_value(message.SerializeAsString());
  return any;
}

template <typename Message>
bool Unpack(const Any& any, Message* message) {
  std::vector<absl::string_view> parts = absl::StrSplit(any.type_url(), '/');
  return parts.back() == Message::descriptor()->full_name() &&
         message->ParseFromString(any.value());
}

// A stream named to the daemon before the transfer starts; a thread handles what comes on it.
class SideStream {
 public:
  using Handler = std::function<void(const Any&, SideStream&)>;

  SideStream(const Connection& connection, Handler handler)
      : connection_(connection),
        stub_(connection.channel()),
        id_(absl::StrCat("gantryctl-", base::RandomHex(8))),
        handler_(std::move(handler)) {}
  ~SideStream() {
    if (!thread_.joinable()) return;
    context_.TryCancel();
    thread_.join();
  }
  SideStream(const SideStream&) = delete;
  SideStream& operator=(const SideStream&) = delete;

  absl::Status Open() {
    connection_.Prepare(&context_);
    stream_ = stub_.Stream(&context_);
    streaming::StreamInit init;
    init.set_id(id_);
    Any answer;
    // The daemon answers once the stream can be named in a request.
    if (!stream_->Write(Pack(init)) || !stream_->Read(&answer)) {
      absl::Status status = connection_.Explain(stream_->Finish());
      return status.ok() ? absl::UnavailableError("the daemon closed a stream") : status;
    }
    thread_ = std::thread([this] {
      Any message;
      while (stream_->Read(&message)) handler_(message, *this);
      (void)stream_->Finish();  // how a side stream ends says nothing about the transfer
    });
    return absl::OkStatus();
  }

  void Send(const Any& message) { (void)stream_->Write(message); }
  const std::string& id() const { return id_; }

 private:
  Connection connection_;
  streaming::Streaming::Stub stub_;
  std::string id_;
  Handler handler_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<Any, Any>> stream_;
  std::thread thread_;
};

absl::Status ExplainMissing(const absl::Status& status) {
  if (!absl::IsUnimplemented(status)) return status;
  return absl::UnimplementedError(
      "this daemon has no transfer service (containerd has it since 1.7), so it cannot pull or "
      "push "
      "for us; use gantryd, or bring the image as a tar: gantryctl import FILE");
}

std::unique_ptr<SideStream> Credentials(const Connection& connection, const std::string& text) {
  std::pair<std::string, std::string> pair = absl::StrSplit(text, absl::MaxSplits(':', 1));
  return std::make_unique<SideStream>(connection, [pair](const Any& message, SideStream& stream) {
    types::AuthRequest asked;
    if (!Unpack(message, &asked)) return;
    types::AuthResponse answer;
    answer.set_authtype(types::CREDENTIALS);
    answer.set_username(pair.first);
    answer.set_secret(pair.second);
    stream.Send(Pack(answer));
  });
}

absl::Status Transfer(const Connection& connection, api::TransferRequest request,
                      const ProgressCallback& progress) {
  SideStream stream(connection, [&](const Any& message, SideStream&) {
    Progress p;
    if (progress && Unpack(message, &p)) progress(p);
  });
  GANTRY_RETURN_IF_ERROR(ExplainMissing(stream.Open()));
  request.mutable_options()->set_progress_stream(stream.id());
  google::protobuf::Empty nothing;
  return ExplainMissing(
      connection.Call<api::Transfer>(&api::Transfer::Stub::Transfer, request, &nothing));
}

absl::StatusOr<types::OCIRegistry> Registry(const Connection& connection,
                                            const std::string& reference,
                                            const TransferOptions& options,
                                            std::unique_ptr<SideStream>* credentials) {
  types::OCIRegistry registry;
  registry.set_reference(reference);
  if (options.plain_http) registry.mutable_resolver()->set_default_scheme("http");
  if (!options.hosts_dir.empty()) registry.mutable_resolver()->set_host_dir(options.hosts_dir);
  if (!options.credentials.empty()) {
    *credentials = Credentials(connection, options.credentials);
    GANTRY_RETURN_IF_ERROR(ExplainMissing((*credentials)->Open()));
    registry.mutable_resolver()->set_auth_stream((*credentials)->id());
  }
  return registry;
}

void SetPlatform(containerd::types::Platform* platform) {
  platform->set_os("linux");
  platform->set_architecture(MachineArchitecture());
}

}  // namespace

absl::Status Pull(const Connection& connection, const std::string& reference,
                  const TransferOptions& options, const ProgressCallback& progress) {
  std::unique_ptr<SideStream> credentials;
  GANTRY_ASSIGN_OR_RETURN(types::OCIRegistry source,
                          Registry(connection, reference, options, &credentials));
  types::ImageStore store;
  store.set_name(reference);
  SetPlatform(store.add_platforms());
  if (!options.snapshotter.empty()) {
    auto* unpack = store.add_unpacks();
    SetPlatform(unpack->mutable_platform());
    unpack->set_snapshotter(options.snapshotter);
  }
  api::TransferRequest request;
  *request.mutable_source() = Pack(source);
  *request.mutable_destination() = Pack(store);
  return base::Annotate(Transfer(connection, request, progress), absl::StrCat("pull ", reference));
}

absl::Status Push(const Connection& connection, const std::string& local,
                  const std::string& reference, const TransferOptions& options,
                  const ProgressCallback& progress) {
  std::unique_ptr<SideStream> credentials;
  GANTRY_ASSIGN_OR_RETURN(types::OCIRegistry destination,
                          Registry(connection, reference, options, &credentials));
  types::ImageStore store;
  store.set_name(local);
  SetPlatform(store.add_platforms());
  api::TransferRequest request;
  *request.mutable_source() = Pack(store);
  *request.mutable_destination() = Pack(destination);
  return base::Annotate(Transfer(connection, request, progress), absl::StrCat("push ", reference));
}

}  // namespace gantry::client
