#include "services/transfer/transfer.h"

#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/crash_point.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/status.h"
#include "containerd/types/transfer/imagestore.pb.h"
#include "containerd/types/transfer/importexport.pb.h"
#include "containerd/types/transfer/registry.pb.h"
#include "gantry/metadata/v1/records.pb.h"
#include "services/metadata/image_store.h"
#include "services/metadata/intents.h"
#include "services/metadata/lease_store.h"
#include "services/registry/client.h"
#include "services/snapshots/snapshots.h"
#include "services/streaming/stream.h"
#include "services/transfer/exporter.h"
#include "services/transfer/image_saver.h"
#include "services/transfer/importer.h"
#include "services/transfer/progress.h"
#include "services/transfer/puller.h"
#include "services/transfer/pusher.h"

namespace gantry::services {
namespace {

namespace pb = containerd::types::transfer;

constexpr absl::Duration kLeaseLife = absl::Hours(24);
constexpr absl::Duration kAuthTimeout = absl::Seconds(60);
constexpr absl::Duration kReportTimeout = absl::Seconds(2);  // of a client that does not read

// How long what was fetched waits for another attempt.
constexpr absl::Duration kResumeLife = absl::Hours(1);
constexpr absl::string_view kTransferIntent = "transfer";
constexpr char kExpireLabel[] = "containerd.io/gc.expire";

// The lease of one transfer, unless the client brought its own.
class LeaseGuard {
 public:
  explicit LeaseGuard(LeaseStore* leases) : leases_(leases) {}
  absl::Status Acquire(Context* ctx, const std::string& id) {
    LabelMap labels;
    labels[kExpireLabel] = base::FormatRfc3339(absl::Now() + kLeaseLife);
    GANTRY_RETURN_IF_ERROR(leases_->Create(*ctx, id, labels).status());
    ctx->lease = id;
    ctx_ = *ctx;
    return absl::OkStatus();
  }
  ~LeaseGuard() {
    if (ctx_.lease.empty()) return;
    Context plain{ctx_.ns, ""};
    absl::Status status = leases_->Delete(plain, ctx_.lease);
    if (!status.ok()) {
      base::LogWarn("cannot delete the lease of a transfer; it will expire",
                    {{"lease", ctx_.lease}, {"error", status.message()}});
    }
  }

 private:
  LeaseStore* leases_;
  Context ctx_;
};

// Closes a stream at the end, whatever the end is, and waits for its last messages to be under way.
class StreamCloser {
 public:
  explicit StreamCloser(std::shared_ptr<Stream> stream,
                        absl::Duration patience = absl::ZeroDuration())
      : stream_(std::move(stream)), patience_(patience) {}
  ~StreamCloser() {
    if (stream_ != nullptr) stream_->CloseAndWait(patience_);
  }
  StreamCloser(const StreamCloser&) = delete;
  StreamCloser& operator=(const StreamCloser&) = delete;

 private:
  std::shared_ptr<Stream> stream_;
  absl::Duration patience_;
};

// One of the things that can be source or destination.
struct Party {
  std::optional<pb::OCIRegistry> registry;
  std::optional<pb::ImageStore> store;
  std::optional<pb::ImageImportStream> import_from;
  std::optional<pb::ImageExportStream> export_to;
};

template <typename M>
bool Take(const google::protobuf::Any& any, std::optional<M>* to, absl::Status* status) {
  M message;
  if (TypeNameOf(any) != message.GetTypeName()) return false;
  if (!message.ParseFromString(any.value())) {
    *status = absl::InvalidArgumentError(absl::StrCat("malformed ", any.type_url()));
  }
  *to = std::move(message);
  return true;
}

// For the log.
std::string NameOf(const Party& party) {
  if (party.registry) return absl::StrCat("registry ", party.registry->reference());
  if (party.store) return absl::StrCat("image ", party.store->name());
  return "stream";
}

absl::StatusOr<Party> PartyOf(const google::protobuf::Any& any) {
  Party out;
  absl::Status status;
  bool known = Take(any, &out.registry, &status) || Take(any, &out.store, &status) ||
               Take(any, &out.import_from, &status) || Take(any, &out.export_to, &status);
  GANTRY_RETURN_IF_ERROR(status);
  if (!known) {
    return absl::UnimplementedError(
        absl::StrCat("type with url ", any.type_url(), ": not implemented"));
  }
  return out;
}

// Asks the client over its auth stream; one question at a time.
CredentialProvider AskClient(std::shared_ptr<Stream> stream, std::string reference) {
  auto mu = std::make_shared<absl::Mutex>();
  return [stream, reference, mu](
             const std::string& host,
             const std::vector<std::string>& challenges) -> absl::StatusOr<Credentials> {
    absl::MutexLock lock(mu.get());
    pb::AuthRequest request;
    request.set_host(host);
    request.set_reference(reference);
    for (const std::string& challenge : challenges) request.add_wwwauthenticate(challenge);
    GANTRY_RETURN_IF_ERROR(stream->Send(PackBare(request)));
    GANTRY_ASSIGN_OR_RETURN(auto answer, stream->Receive(kAuthTimeout));
    pb::AuthResponse response;
    if (!answer.has_value() || !UnpackBare(*answer, &response)) {
      return absl::UnauthenticatedError("the client gave no credentials");
    }
    switch (response.authtype()) {
      case pb::CREDENTIALS:
        return Credentials{response.username(), response.secret(), ""};
      case pb::REFRESH:
        return Credentials{"", response.secret(), ""};
      case pb::HEADER:
        return Credentials{"", "", response.secret()};
      default:
        return Credentials{};
    }
  };
}

// One Transfer() call.
class Run {
 public:
  Run(const TransferDeps& deps, TransferJob* job) : deps_(deps), job_(*job) {}

  absl::Status Do(const Party& from, const Party& to) {
    if (from.registry && to.store) return Pull(*from.registry, *to.store);
    if (from.store && to.registry) return Push(*from.store, *to.registry);
    if (from.store && to.export_to) return Export(*from.store, *to.export_to);
    if (from.store && to.store) return Tag(*from.store, *to.store);
    if (from.import_from && to.store) return Import(*from.import_from, *to.store);
    if (from.import_from && to.export_to) return Echo(*from.import_from, *to.export_to);
    return absl::UnimplementedError(
        "method Transfer not implemented for this source and destination");
  }

 private:
  absl::StatusOr<std::unique_ptr<RegistryClient>> Registry(const pb::OCIRegistry& request);
  absl::Status Pull(const pb::OCIRegistry& from, const pb::ImageStore& to);
  absl::Status Push(const pb::ImageStore& from, const pb::OCIRegistry& to);
  absl::Status Import(const pb::ImageImportStream& from, const pb::ImageStore& to);
  absl::Status Export(const pb::ImageStore& from, const pb::ImageExportStream& to);
  absl::Status Tag(const pb::ImageStore& from, const pb::ImageStore& to);
  absl::Status Echo(const pb::ImageImportStream& from, const pb::ImageExportStream& to);

  const TransferDeps& deps_;
  TransferJob& job_;
  std::optional<StreamCloser> auth_;
};

absl::StatusOr<std::unique_ptr<RegistryClient>> Run::Registry(const pb::OCIRegistry& request) {
  GANTRY_ASSIGN_OR_RETURN(Reference reference, ParseReference(request.reference()));
  RegistryOptions options;
  const pb::RegistryResolver& resolver = request.resolver();
  options.hosts.config_dir =
      resolver.host_dir().empty() ? deps_.config.hosts_dir : resolver.host_dir();
  options.hosts.default_scheme = resolver.default_scheme();
  for (const auto& [name, value] : resolver.headers()) {
    if ((name + value).find_first_of("\r\n") != std::string::npos) {
      return absl::InvalidArgumentError("line break in a header");
    }
    options.endpoint.headers.emplace_back(name, value);
  }
  options.endpoint.cancelled = job_.cancelled;
  if (!resolver.auth_stream().empty()) {
    GANTRY_ASSIGN_OR_RETURN(auto stream, deps_.streams->Get(job_.ctx, resolver.auth_stream()));
    auth_.emplace(stream);
    options.endpoint.credentials = AskClient(stream, request.reference());
  }
  if (resolver.http_debug() != pb::DISABLED) {
    base::LogWarn("HTTP debugging of a transfer was asked for and is not supported");
    // Its reader waits for the end of the stream.
    auto logs = deps_.streams->Get(job_.ctx, resolver.logs_stream());
    if (logs.ok()) (*logs)->Close();
  }
  return RegistryClient::Create(reference, options);
}

absl::Status Run::Pull(const pb::OCIRegistry& from, const pb::ImageStore& to) {
  GANTRY_ASSIGN_OR_RETURN(std::unique_ptr<RegistryClient> registry, Registry(from));
  return PullImage(job_, registry.get(), to);
}

absl::Status Run::Push(const pb::ImageStore& from, const pb::OCIRegistry& to) {
  GANTRY_ASSIGN_OR_RETURN(std::unique_ptr<RegistryClient> registry, Registry(to));
  return PushImage(job_, registry.get(), from);
}

absl::Status Run::Import(const pb::ImageImportStream& from, const pb::ImageStore& to) {
  GANTRY_ASSIGN_OR_RETURN(std::shared_ptr<Stream> stream,
                          deps_.streams->Get(job_.ctx, from.stream()));
  StreamCloser closer(stream);
  auto read = [&stream](std::function<absl::Status(absl::string_view)> sink) {
    return ReceiveBytes(stream.get(), sink);
  };
  return ImportImages(job_, from.force_compress(), read, to);
}

absl::Status Run::Export(const pb::ImageStore& from, const pb::ImageExportStream& to) {
  GANTRY_ASSIGN_OR_RETURN(std::shared_ptr<Stream> stream,
                          deps_.streams->Get(job_.ctx, to.stream()));
  StreamCloser closer(stream);
  std::vector<std::string> names;
  if (!from.name().empty()) names.push_back(from.name());
  for (const auto& reference : from.extra_references()) {
    if (reference.is_prefix()) {
      return absl::UnimplementedError("prefix lookup on export not implemented: not implemented");
    }
    names.push_back(reference.name());
  }
  ByteSender sender(stream.get());
  return ExportImages(job_, names, to, [&](absl::string_view data) { return sender.Write(data); });
}

absl::Status Run::Tag(const pb::ImageStore& from, const pb::ImageStore& to) {
  GANTRY_ASSIGN_OR_RETURN(ImageStore::Image image, deps_.images->Get(job_.ctx, from.name()));
  GANTRY_ASSIGN_OR_RETURN(ImageDescriptor target, FromProto(image.target()));
  return SaveImage(job_, to, target).status();
}

absl::Status Run::Echo(const pb::ImageImportStream& from, const pb::ImageExportStream& to) {
  GANTRY_ASSIGN_OR_RETURN(std::shared_ptr<Stream> in, deps_.streams->Get(job_.ctx, from.stream()));
  GANTRY_ASSIGN_OR_RETURN(std::shared_ptr<Stream> out, deps_.streams->Get(job_.ctx, to.stream()));
  StreamCloser close_in(in), close_out(out);
  ByteSender sender(out.get());
  return ReceiveBytes(in.get(), [&](absl::string_view data) { return sender.Write(data); });
}

}  // namespace

absl::Status Transferrer::Transfer(
    const Context& ctx, const containerd::services::transfer::v1::TransferRequest& request,
    const std::function<bool()>& cancelled) {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  std::shared_ptr<Stream> reports;
  if (!request.options().progress_stream().empty()) {
    GANTRY_ASSIGN_OR_RETURN(reports, deps_.streams->Get(ctx, request.options().progress_stream()));
  }
  // A client stops listening when the call returns: the last report must not come after that.
  StreamCloser closer(reports, kReportTimeout);
  GANTRY_ASSIGN_OR_RETURN(Party from, PartyOf(request.source()));
  GANTRY_ASSIGN_OR_RETURN(Party to, PartyOf(request.destination()));
  Progress progress(reports);
  TransferJob job{&deps_, ctx, absl::StrCat("extract-", base::RandomHex(6), "-"), &progress,
                  cancelled ? cancelled : [] { return false; }};
  gantry::metadata::v1::TransferIntent begun;
  begun.set_namespace_(ctx.ns);
  begun.set_own_lease(ctx.lease.empty());
  begun.set_lease(ctx.lease.empty() ? absl::StrCat("transfer-", base::RandomHex(8)) : ctx.lease);
  begun.set_unpack_prefix(job.unpack_prefix);
  begun.set_source(NameOf(from));
  begun.set_destination(NameOf(to));
  // Only what goes into the store leaves anything there. Not synced: what a power loss takes of the
  // intent it takes of the records as well, and files without records are found at start.
  IntentScope intent;
  if (to.store.has_value()) {
    GANTRY_ASSIGN_OR_RETURN(intent, IntentScope::Begin(deps_.db, kTransferIntent, begun));
  }
  LeaseGuard lease(deps_.leases);
  if (begun.own_lease()) GANTRY_RETURN_IF_ERROR(lease.Acquire(&job.ctx, begun.lease()));
  base::CrashPoint("transfer.begun");
  absl::Status status = Run(deps_, &job).Do(from, to);
  base::CrashPoint("transfer.done");
  return status;
}

absl::Status Transferrer::Recover() {
  using gantry::metadata::v1::TransferIntent;
  return ReplayIntents<
      TransferIntent>(deps_.db, kTransferIntent, [this](const TransferIntent& begun) {
    base::LogInfo(
        "a transfer was cut off: removing what it had half unpacked, keeping the rest for a while",
        {{"namespace", begun.namespace_()},
         {"source", begun.source()},
         {"destination", begun.destination()}});
    const Context ctx{begun.namespace_(), begun.own_lease() ? begun.lease() : ""};
    GANTRY_RETURN_IF_ERROR(deps_.snapshots->RemoveUnfinished(ctx, begun.unpack_prefix()));
    if (!begun.own_lease()) return absl::OkStatus();
    absl::Status shortened = deps_.leases->SetLabel(ctx, begun.lease(), kExpireLabel,
                                                    base::FormatRfc3339(absl::Now() + kResumeLife));
    return absl::IsNotFound(shortened) ? absl::OkStatus() : shortened;
  });
}

}  // namespace gantry::services
