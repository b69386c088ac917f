#include "client/content.h"

#include <memory>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "containerd/services/content/v1/content.methods.h"

namespace gantry::client {
namespace {

namespace api = containerd::services::content::v1;

// A message holds at most this much of a blob.
constexpr size_t kChunk = 1u << 20;

}  // namespace

absl::Status StreamBlob(const Connection& connection, const base::Digest& digest,
                        const std::function<absl::Status(absl::string_view)>& sink) {
  api::ReadContentRequest request;
  request.set_digest(digest.str());
  auto stream = connection.Open(api::ContentMethods::kRead, request);
  api::ReadContentResponse part;
  while (stream.Read(&part)) GANTRY_RETURN_IF_ERROR(sink(part.data()));
  return base::Annotate(stream.Finish(), absl::StrCat("read ", digest.str()));
}

absl::StatusOr<std::string> ReadBlob(const Connection& connection, const base::Digest& digest,
                                     size_t limit) {
  std::string data;
  GANTRY_RETURN_IF_ERROR(StreamBlob(connection, digest, [&](absl::string_view part) {
    if (data.size() + part.size() > limit) {
      return absl::ResourceExhaustedError(
          absl::StrCat("blob ", digest.str(), " is longer than ", limit, " bytes"));
    }
    data.append(part.data(), part.size());
    return absl::OkStatus();
  }));
  base::Hasher hasher(digest);
  hasher.Update(data);
  if (hasher.Finish() != digest) {
    return absl::DataLossError(absl::StrCat("blob ", digest.str(), " does not match its digest"));
  }
  return data;
}

// The write stream: one request, one answer.
struct BlobWriter::Impl {
  explicit Impl(const Connection& c) : connection(c), stream(c.Open(api::ContentMethods::kWrite)) {}

  absl::Status Exchange() {
    if (stream.Write(request) && stream.Read(&answer)) return absl::OkStatus();
    absl::Status status = stream.Finish();
    return status.ok() ? absl::InternalError("the daemon ended a content write early") : status;
  }

  void Discard() {
    stream.Cancel();
    if (committed || request.ref().empty()) return;
    api::AbortRequest abort;
    abort.set_ref(request.ref());
    google::protobuf::Empty nothing;
    // Best effort: an ingest that stays behind is the collector's.
    (void)connection.Call(api::ContentMethods::kAbort, abort, &nothing);
  }

  Connection connection;
  rpc::ReaderWriter<api::WriteContentRequest, api::WriteContentResponse> stream;
  api::WriteContentRequest request;
  api::WriteContentResponse answer;
  int64_t offset = 0;
  bool committed = false;
};

BlobWriter::BlobWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
BlobWriter::BlobWriter(BlobWriter&&) noexcept = default;
BlobWriter::~BlobWriter() {
  if (impl_) impl_->Discard();
}
int64_t BlobWriter::offset() const { return impl_->offset; }

absl::StatusOr<BlobWriter> BlobWriter::Open(const Connection& connection, const std::string& ref,
                                            int64_t total, const std::string& expected) {
  auto impl = std::make_unique<Impl>(connection);
  impl->request.set_action(api::STAT);
  impl->request.set_ref(ref);
  impl->request.set_total(total);
  impl->request.set_expected(expected);
  if (absl::Status status = impl->Exchange(); !status.ok()) {
    impl->committed = true;  // nothing of ours to throw away
    impl->Discard();
    return status;
  }
  impl->request.set_action(api::WRITE);
  return BlobWriter(std::move(impl));
}

absl::Status BlobWriter::Append(absl::string_view data) {
  while (!data.empty()) {
    absl::string_view part = data.substr(0, kChunk);
    impl_->request.set_offset(impl_->offset);
    impl_->request.set_data(part.data(), part.size());
    GANTRY_RETURN_IF_ERROR(impl_->Exchange());
    impl_->offset += static_cast<int64_t>(part.size());
    data.remove_prefix(part.size());
  }
  return absl::OkStatus();
}

absl::Status BlobWriter::Commit(const std::map<std::string, std::string>& labels) {
  impl_->request.clear_data();
  impl_->request.set_action(api::COMMIT);
  impl_->request.set_offset(impl_->offset);
  if (impl_->request.total() == 0) impl_->request.set_total(impl_->offset);
  for (const auto& [key, value] : labels) (*impl_->request.mutable_labels())[key] = value;
  GANTRY_RETURN_IF_ERROR(impl_->Exchange());
  impl_->committed = true;
  impl_->stream.WritesDone();
  return impl_->stream.Finish();
}

absl::Status LabelBlob(const Connection& connection, const base::Digest& digest,
                       const std::map<std::string, std::string>& labels) {
  if (labels.empty()) return absl::OkStatus();
  api::UpdateRequest request;
  request.mutable_info()->set_digest(digest.str());
  for (const auto& [key, value] : labels) {
    (*request.mutable_info()->mutable_labels())[key] = value;
    request.mutable_update_mask()->add_paths(absl::StrCat("labels.", key));
  }
  api::UpdateResponse response;
  return connection.Call(api::ContentMethods::kUpdate, request, &response);
}

absl::Status WriteBlob(const Connection& connection, absl::string_view data,
                       const base::Digest& digest,
                       const std::map<std::string, std::string>& labels) {
  auto writer = BlobWriter::Open(connection, absl::StrCat("gantryctl-", digest.str()),
                                 static_cast<int64_t>(data.size()), digest.str());
  absl::Status status = writer.status();
  if (status.ok()) status = writer->Append(data);
  if (status.ok()) status = writer->Commit(labels);
  if (absl::IsAlreadyExists(status)) return LabelBlob(connection, digest, labels);
  return base::Annotate(status, absl::StrCat("write blob ", digest.str()));
}

}  // namespace gantry::client
