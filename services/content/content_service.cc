#include "services/content/content_service.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status.h"
#include "containerd/services/content/v1/content.grpc.pb.h"
#include "services/content/content_store.h"
#include "services/rpc/server_context.h"
#include "services/rpc/status.h"

namespace gantry::services {
namespace {

namespace api = containerd::services::content::v1;

constexpr int kListBlock = 100;
constexpr int64_t kReadChunk = 1 << 20;

absl::StatusOr<base::Digest> ParseDigest(const std::string& text) {
  auto digest = base::Digest::Parse(text);
  if (digest.ok()) return digest;
  return absl::InvalidArgumentError(
      absl::StrCat("\"", absl::CEscape(text.substr(0, 200)), "\" failed validation"));
}

void ToApi(const ContentInfo& info, api::Info* out) {
  out->set_digest(info.digest.str());
  out->set_size(info.size);
  base::SetTimestamp(out->mutable_created_at(), info.created_at);
  base::SetTimestamp(out->mutable_updated_at(), info.updated_at);
  out->mutable_labels()->insert(info.labels.begin(), info.labels.end());
}

void ToApi(const IngestStatus& status, api::Status* out) {
  base::SetTimestamp(out->mutable_started_at(), status.started_at);
  base::SetTimestamp(out->mutable_updated_at(), status.updated_at);
  out->set_ref(status.ref);
  out->set_offset(status.offset);
  out->set_total(status.total);
  out->set_expected(status.expected);
}

// One Write call: the messages of a client applied to one writer.
class WriteSession {
 public:
  WriteSession(ContentStore* store, Context ctx) : store_(store), ctx_(std::move(ctx)) {}

  absl::Status Begin(const api::WriteContentRequest& first) {
    if (first.ref().empty())
      return absl::InvalidArgumentError("first message must have a reference");
    ref_ = first.ref();
    total_ = first.total();
    if (!first.expected().empty()) {
      GANTRY_ASSIGN_OR_RETURN(expected_, ParseDigest(first.expected()));
    }
    GANTRY_ASSIGN_OR_RETURN(writer_, store_->OpenWriter(ctx_, {ref_, total_, expected_}));
    return absl::OkStatus();
  }

  // Fills `response`, which keeps what earlier messages put there, as containerd's does.
  absl::Status Handle(const api::WriteContentRequest& request,
                      api::WriteContentResponse* response) {
    response->set_action(request.action());
    response->set_offset(writer_->offset());
    if (!request.expected().empty()) GANTRY_RETURN_IF_ERROR(Expect(request.expected()));
    if (request.total() > 0) total_ = request.total();
    switch (request.action()) {
      case api::STAT:
        base::SetTimestamp(response->mutable_started_at(), writer_->status().started_at);
        base::SetTimestamp(response->mutable_updated_at(), writer_->status().updated_at);
        response->set_total(total_);
        response->set_digest(writer_->Digest().str());
        return absl::OkStatus();
      case api::WRITE:
        GANTRY_RETURN_IF_ERROR(Write(request, response));
        response->set_digest(writer_->Digest().str());
        return absl::OkStatus();
      case api::COMMIT:
        GANTRY_RETURN_IF_ERROR(Write(request, response));
        return Commit(request, response);
      default:
        return absl::OkStatus();
    }
  }

 private:
  absl::Status Expect(const std::string& text) {
    GANTRY_ASSIGN_OR_RETURN(expected_, ParseDigest(text));
    if (!store_->GetInfo(ctx_, expected_).ok()) return absl::OkStatus();
    writer_.reset();
    // Nobody needs the upload any more; if it cannot be removed now, the collector does it.
    (void)store_->Abort(ctx_, ref_);
    return absl::AlreadyExistsError(absl::StrCat("blob with expected digest ", text, " exists"));
  }

  absl::Status Write(const api::WriteContentRequest& request, api::WriteContentResponse* response) {
    if (request.offset() > 0 && request.offset() != writer_->offset()) {
      return absl::OutOfRangeError(absl::StrCat(
          "write @", request.offset(), " must occur at current offset ", writer_->offset()));
    }
    if (request.offset() < 0) return absl::InvalidArgumentError("negative offset");
    if (request.offset() == 0 && writer_->offset() > 0)
      GANTRY_RETURN_IF_ERROR(base::Annotate(writer_->Truncate(0), "truncate failed"));
    GANTRY_RETURN_IF_ERROR(writer_->Write(request.data()));
    response->set_offset(writer_->offset());
    return absl::OkStatus();
  }

  absl::Status Commit(const api::WriteContentRequest& request,
                      api::WriteContentResponse* response) {
    Labels labels(request.labels().begin(), request.labels().end());
    GANTRY_ASSIGN_OR_RETURN(base::Digest digest, writer_->Commit(total_, expected_, labels));
    response->set_digest(digest.str());
    return absl::OkStatus();
  }

  ContentStore* store_;
  const Context ctx_;
  std::string ref_;
  int64_t total_ = 0;
  base::Digest expected_;
  std::unique_ptr<ContentWriter> writer_;
};

class ContentService final : public api::Content::Service {
 public:
  explicit ContentService(ContentStore* store) : store_(store) {}

  grpc::Status Info(grpc::ServerContext* server, const api::InfoRequest* request,
                    api::InfoResponse* response) override {
    return ToGrpc([&]() -> absl::Status {
      GANTRY_ASSIGN_OR_RETURN(base::Digest digest, ParseDigest(request->digest()));
      GANTRY_ASSIGN_OR_RETURN(ContentInfo info,
                              store_->GetInfo(FromServerContext(*server), digest));
      ToApi(info, response->mutable_info());
      return absl::OkStatus();
    }());
  }

  grpc::Status Update(grpc::ServerContext* server, const api::UpdateRequest* request,
                      api::UpdateResponse* response) override {
    return ToGrpc([&]() -> absl::Status {
      ContentInfo info;
      GANTRY_ASSIGN_OR_RETURN(info.digest, ParseDigest(request->info().digest()));
      info.labels.insert(request->info().labels().begin(), request->info().labels().end());
      const auto& paths = request->update_mask().paths();
      GANTRY_ASSIGN_OR_RETURN(
          ContentInfo updated,
          store_->UpdateInfo(FromServerContext(*server), info, {paths.begin(), paths.end()}));
      ToApi(updated, response->mutable_info());
      return absl::OkStatus();
    }());
  }

  grpc::Status List(grpc::ServerContext* server, const api::ListContentRequest* request,
                    grpc::ServerWriter<api::ListContentResponse>* out) override {
    api::ListContentResponse block;
    std::vector<std::string> filters(request->filters().begin(), request->filters().end());
    absl::Status walked =
        store_->Walk(FromServerContext(*server), filters, [&](const ContentInfo& info) {
          ToApi(info, block.add_info());
          if (block.info_size() < kListBlock) return absl::OkStatus();
          bool sent = out->Write(block);
          block.Clear();
          return sent ? absl::OkStatus() : absl::CancelledError("client went away");
        });
    if (walked.ok() && block.info_size() > 0) out->Write(block);
    return ToGrpc(walked);
  }

  grpc::Status Delete(grpc::ServerContext* server, const api::DeleteContentRequest* request,
                      google::protobuf::Empty*) override {
    auto digest = ParseDigest(request->digest());
    if (!digest.ok()) return ToGrpc(digest.status());
    return ToGrpc(store_->Delete(FromServerContext(*server), *digest));
  }

  grpc::Status Read(grpc::ServerContext* server, const api::ReadContentRequest* request,
                    grpc::ServerWriter<api::ReadContentResponse>* out) override {
    return ToGrpc([&]() -> absl::Status {
      GANTRY_ASSIGN_OR_RETURN(base::Digest digest, ParseDigest(request->digest()));
      GANTRY_ASSIGN_OR_RETURN(BlobReader reader,
                              store_->OpenReader(FromServerContext(*server), digest));
      int64_t offset = std::max<int64_t>(request->offset(), 0);
      if (offset > reader.size) {
        return absl::OutOfRangeError(
            absl::StrCat("read past object length ", reader.size, " bytes"));
      }
      int64_t size = reader.size - offset;
      if (request->size() > 0) size = std::min(size, request->size());
      return Send(reader.fd.get(), offset, size, out);
    }());
  }

  grpc::Status Status(grpc::ServerContext* server, const api::StatusRequest* request,
                      api::StatusResponse* response) override {
    auto status = store_->GetStatus(FromServerContext(*server), request->ref());
    if (!status.ok()) {
      return ToGrpc(base::Annotate(
          status.status(), absl::StrCat("could not get status for ref \"", request->ref(), "\"")));
    }
    ToApi(*status, response->mutable_status());
    return grpc::Status::OK;
  }

  grpc::Status ListStatuses(grpc::ServerContext* server, const api::ListStatusesRequest* request,
                            api::ListStatusesResponse* response) override {
    auto statuses = store_->ListStatuses(FromServerContext(*server),
                                         {request->filters().begin(), request->filters().end()});
    if (!statuses.ok()) return ToGrpc(statuses.status());
    for (const IngestStatus& status : *statuses) ToApi(status, response->add_statuses());
    return grpc::Status::OK;
  }

  grpc::Status Write(grpc::ServerContext* server,
                     grpc::ServerReaderWriter<api::WriteContentResponse, api::WriteContentRequest>*
                         stream) override {
    api::WriteContentRequest request;
    api::WriteContentResponse response;
    if (!stream->Read(&request)) return grpc::Status::OK;
    WriteSession session(store_, FromServerContext(*server));
    absl::Status status = session.Begin(request);
    if (!status.ok()) return ToGrpc(status);
    do {
      status = session.Handle(request, &response);
      if (!status.ok()) return ToGrpc(status);
      if (!stream->Write(response)) return ToGrpc(absl::CancelledError("client went away"));
      if (request.action() == api::COMMIT) return grpc::Status::OK;
    } while (stream->Read(&request));
    return grpc::Status::OK;
  }

  grpc::Status Abort(grpc::ServerContext* server, const api::AbortRequest* request,
                     google::protobuf::Empty*) override {
    return ToGrpc(store_->Abort(FromServerContext(*server), request->ref()));
  }

 private:
  // Offsets in the messages count from the first byte sent, as containerd's do.
  static absl::Status Send(int fd, int64_t offset, int64_t size,
                           grpc::ServerWriter<api::ReadContentResponse>* out) {
    api::ReadContentResponse chunk;
    for (int64_t sent = 0; sent < size;) {
      std::string* data = chunk.mutable_data();
      data->resize(static_cast<size_t>(std::min(kReadChunk, size - sent)));
      ssize_t n = pread(fd, data->data(), data->size(), offset + sent);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return base::ErrnoStatus(errno, "read content");
      if (n == 0) return absl::DataLossError("content is shorter than recorded");
      data->resize(static_cast<size_t>(n));
      chunk.set_offset(sent);
      if (!out->Write(chunk)) return absl::CancelledError("client went away");
      sent += n;
    }
    return absl::OkStatus();
  }

  ContentStore* store_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeContentService(ContentStore* store) {
  return std::make_unique<ContentService>(store);
}

}  // namespace gantry::services
