#include "client/content.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "containerd/services/content/v1/content.grpc.pb.h"

namespace gantry::client {
namespace {

namespace api = containerd::services::content::v1;

constexpr size_t kChunk = 1u << 20;

absl::Status MergeLabels(const Connection& connection, const BlobSource& source) {
  if (source.labels.empty()) return absl::OkStatus();
  api::UpdateRequest request;
  request.mutable_info()->set_digest(source.digest.str());
  for (const auto& [key, value] : source.labels) {
    (*request.mutable_info()->mutable_labels())[key] = value;
    request.mutable_update_mask()->add_paths(absl::StrCat("labels.", key));
  }
  api::UpdateResponse response;
  return connection.Call<api::Content>(&api::Content::Stub::Update, request, &response);
}

// The write stream: one request, one answer.
class Writer {
 public:
  explicit Writer(const Connection& connection)
      : connection_(connection), stub_(connection.channel()) {
    connection.Prepare(&context_);
    stream_ = stub_.Write(&context_);
  }

  absl::Status Exchange(const api::WriteContentRequest& request) {
    if (stream_->Write(request) && stream_->Read(&answer_)) return absl::OkStatus();
    finished_ = true;
    absl::Status status = connection_.Explain(stream_->Finish());
    return status.ok() ? absl::InternalError("the daemon ended a content write early") : status;
  }

  absl::Status Finish() {
    stream_->WritesDone();
    finished_ = true;
    // The answer to the commit has been read: whatever ends the stream later changes nothing.
    return connection_.Explain(stream_->Finish());
  }

  int64_t offset() const { return answer_.offset(); }

  ~Writer() {
    if (finished_) return;
    context_.TryCancel();
    (void)stream_->Finish();
  }

 private:
  const Connection& connection_;
  api::Content::Stub stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<api::WriteContentRequest, api::WriteContentResponse>>
      stream_;
  api::WriteContentResponse answer_;
  bool finished_ = false;
};

absl::Status Skip(const BlobSource& source, int64_t count, std::string& buffer) {
  while (count > 0) {
    size_t want = std::min<size_t>(buffer.size(), static_cast<size_t>(count));
    GANTRY_ASSIGN_OR_RETURN(size_t got, source.read(buffer.data(), want));
    if (got == 0) return absl::DataLossError("the source is shorter than what was written before");
    count -= static_cast<int64_t>(got);
  }
  return absl::OkStatus();
}

absl::Status SendAll(Writer& writer, const BlobSource& source) {
  api::WriteContentRequest request;
  request.set_action(api::STAT);
  request.set_ref(absl::StrCat("gantryctl-", source.digest.str()));
  request.set_total(source.size);
  request.set_expected(source.digest.str());
  GANTRY_RETURN_IF_ERROR(writer.Exchange(request));
  std::string buffer(kChunk, '\0');
  int64_t offset = writer.offset();
  GANTRY_RETURN_IF_ERROR(Skip(source, offset, buffer));
  request.set_action(api::WRITE);
  while (true) {
    GANTRY_ASSIGN_OR_RETURN(size_t got, source.read(buffer.data(), buffer.size()));
    if (got == 0) break;
    request.set_offset(offset);
    request.set_data(buffer.data(), got);
    GANTRY_RETURN_IF_ERROR(writer.Exchange(request));
    offset += static_cast<int64_t>(got);
  }
  if (offset != source.size) {
    return absl::DataLossError(absl::StrCat("blob ", source.digest.str(), " has ", offset,
                                            " bytes, its descriptor says ", source.size));
  }
  request.clear_data();
  request.set_action(api::COMMIT);
  request.set_offset(offset);
  for (const auto& [key, value] : source.labels) (*request.mutable_labels())[key] = value;
  return writer.Exchange(request);
}

}  // namespace

absl::Status StreamBlob(const Connection& connection, const base::Digest& digest,
                        const std::function<absl::Status(absl::string_view)>& sink) {
  grpc::ClientContext context;
  connection.Prepare(&context);
  api::Content::Stub stub(connection.channel());
  api::ReadContentRequest request;
  request.set_digest(digest.str());
  auto stream = stub.Read(&context, request);
  api::ReadContentResponse part;
  absl::Status result;
  while (result.ok() && stream->Read(&part)) result = sink(part.data());
  if (!result.ok()) context.TryCancel();
  absl::Status status = connection.Explain(stream->Finish());
  return result.ok() ? base::Annotate(status, absl::StrCat("read ", digest.str())) : result;
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

absl::Status WriteBlob(const Connection& connection, const BlobSource& source) {
  absl::Status status;
  {
    Writer writer(connection);
    status = SendAll(writer, source);
    if (status.ok()) return writer.Finish();
  }
  if (absl::IsAlreadyExists(status)) return MergeLabels(connection, source);
  api::AbortRequest abort;
  abort.set_ref(absl::StrCat("gantryctl-", source.digest.str()));
  google::protobuf::Empty nothing;
  // Best effort: the error that counts is the one of the write.
  (void)connection.Call<api::Content>(&api::Content::Stub::Abort, abort, &nothing);
  return base::Annotate(status, absl::StrCat("write blob ", source.digest.str()));
}

absl::Status WriteBlob(const Connection& connection, absl::string_view data,
                       const base::Digest& digest,
                       const std::map<std::string, std::string>& labels) {
  BlobSource source;
  source.digest = digest;
  source.size = static_cast<int64_t>(data.size());
  source.labels = labels;
  source.read = [rest = data](char* buffer, size_t size) mutable -> absl::StatusOr<size_t> {
    size_t n = std::min(size, rest.size());
    memcpy(buffer, rest.data(), n);
    rest.remove_prefix(n);
    return n;
  };
  return WriteBlob(connection, source);
}

}  // namespace gantry::client
