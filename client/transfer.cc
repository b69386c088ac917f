#include "client/transfer.h"

#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/ids.h"
#include "base/status.h"
#include "client/any.h"
#include "client/image.h"
#include "containerd/services/streaming/v1/streaming.methods.h"
#include "containerd/services/transfer/v1/transfer.methods.h"
#include "containerd/types/transfer/imagestore.pb.h"
#include "containerd/types/transfer/registry.pb.h"

namespace gantry::client {
namespace {

namespace api = containerd::services::transfer::v1;
namespace streaming = containerd::services::streaming::v1;
namespace types = containerd::types::transfer;
using google::protobuf::Any;

// A stream named to the daemon before the transfer starts.
class SideStream {
 public:
  using Handler = std::function<void(const Any&, SideStream&)>;

  SideStream(const Connection& connection, Handler handler)
      : id_(absl::StrCat("gantryctl-", base::RandomHex(8))),
        handler_(std::move(handler)),
        stream_(connection.Open(streaming::StreamingMethods::kStream)) {}

  absl::Status Open() {
    streaming::StreamInit init;
    init.set_id(id_);
    Any answer;
    // The daemon answers once the stream can be named in a request.
    if (stream_.Write(PackAny(init)) && stream_.Read(&answer)) return absl::OkStatus();
    absl::Status status = stream_.Finish();
    return status.ok() ? absl::UnavailableError("the daemon closed a stream") : status;
  }

  // Handles what has come. How a side stream ends says nothing about the transfer.
  void Handle() {
    Any message;
    while (stream_.TryRead(&message)) handler_(message, *this);
  }
  void Send(const Any& message) { (void)stream_.Write(message); }
  const std::string& id() const { return id_; }

 private:
  std::string id_;
  Handler handler_;
  rpc::ReaderWriter<Any, Any> stream_;
};

absl::Status ExplainMissing(const absl::Status& status) {
  if (!absl::IsUnimplemented(status)) return status;
  return absl::UnimplementedError(
      "this daemon has no transfer service (containerd has it since 1.7), so it cannot pull or "
      "push "
      "for us; use gantryd, or bring the image as a tar: gantryctl import FILE");
}

types::AuthResponse AnswerOf(const TransferOptions& options) {
  types::AuthResponse answer;
  if (!options.registry_token.empty()) {
    answer.set_authtype(types::HEADER);
    answer.set_secret(absl::StrCat("Bearer ", options.registry_token));
  } else if (!options.identity_token.empty()) {
    answer.set_authtype(types::REFRESH);
    answer.set_secret(options.identity_token);
  } else {
    std::pair<std::string, std::string> pair =
        absl::StrSplit(options.credentials, absl::MaxSplits(':', 1));
    answer.set_authtype(types::CREDENTIALS);
    answer.set_username(pair.first);
    answer.set_secret(pair.second);
  }
  return answer;
}

std::unique_ptr<SideStream> Credentials(const Connection& connection,
                                        const TransferOptions& options) {
  return std::make_unique<SideStream>(
      connection, [answer = AnswerOf(options)](const Any& message, SideStream& stream) {
        types::AuthRequest asked;
        if (UnpackAny(message, &asked)) stream.Send(PackAny(answer));
      });
}

absl::Status Transfer(const Connection& connection, api::TransferRequest request,
                      SideStream* credentials, const TransferOptions& options,
                      const ProgressCallback& progress) {
  SideStream stream(connection, [&](const Any& message, SideStream&) {
    Progress p;
    if (progress && UnpackAny(message, &p)) progress(p);
  });
  GANTRY_RETURN_IF_ERROR(ExplainMissing(stream.Open()));
  request.mutable_options()->set_progress_stream(stream.id());
  rpc::Call call = connection.Start(api::TransferMethods::kTransfer.path, &request);
  while (!call.finished()) {
    call.WaitForAnything();
    if (credentials != nullptr) credentials->Handle();
    stream.Handle();
    if (options.cancelled && options.cancelled()) call.Cancel();
  }
  google::protobuf::Empty nothing;
  return ExplainMissing(call.FinishUnary(&nothing));
}

absl::StatusOr<types::OCIRegistry> Registry(const Connection& connection,
                                            const std::string& reference,
                                            const TransferOptions& options,
                                            std::unique_ptr<SideStream>* credentials) {
  types::OCIRegistry registry;
  registry.set_reference(reference);
  if (options.plain_http) registry.mutable_resolver()->set_default_scheme("http");
  if (!options.hosts_dir.empty()) registry.mutable_resolver()->set_host_dir(options.hosts_dir);
  if (!options.credentials.empty() || !options.identity_token.empty() ||
      !options.registry_token.empty()) {
    *credentials = Credentials(connection, options);
    GANTRY_RETURN_IF_ERROR(ExplainMissing((*credentials)->Open()));
    registry.mutable_resolver()->set_auth_stream((*credentials)->id());
  }
  return registry;
}

void SetPlatform(const TransferOptions& options, containerd::types::Platform* platform) {
  platform->set_os("linux");
  platform->set_architecture(options.architecture.empty() ? MachineArchitecture()
                                                          : options.architecture);
  platform->set_variant(options.variant);
}

}  // namespace

absl::Status Pull(const Connection& connection, const std::string& reference,
                  const TransferOptions& options, const ProgressCallback& progress) {
  std::unique_ptr<SideStream> credentials;
  GANTRY_ASSIGN_OR_RETURN(types::OCIRegistry source,
                          Registry(connection, reference, options, &credentials));
  types::ImageStore store;
  store.set_name(reference);
  SetPlatform(options, store.add_platforms());
  if (!options.snapshotter.empty()) {
    auto* unpack = store.add_unpacks();
    SetPlatform(options, unpack->mutable_platform());
    unpack->set_snapshotter(options.snapshotter);
  }
  api::TransferRequest request;
  *request.mutable_source() = PackAny(source);
  *request.mutable_destination() = PackAny(store);
  return base::Annotate(Transfer(connection, request, credentials.get(), options, progress),
                        absl::StrCat("pull ", reference));
}

absl::Status Push(const Connection& connection, const std::string& local,
                  const std::string& reference, const TransferOptions& options,
                  const ProgressCallback& progress) {
  std::unique_ptr<SideStream> credentials;
  GANTRY_ASSIGN_OR_RETURN(types::OCIRegistry destination,
                          Registry(connection, reference, options, &credentials));
  types::ImageStore store;
  store.set_name(local);
  SetPlatform(options, store.add_platforms());
  api::TransferRequest request;
  *request.mutable_source() = PackAny(store);
  *request.mutable_destination() = PackAny(destination);
  return base::Annotate(Transfer(connection, request, credentials.get(), options, progress),
                        absl::StrCat("push ", reference));
}

}  // namespace gantry::client
