#include "services/streaming/stream.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "containerd/types/transfer/streaming.pb.h"

namespace gantry::services {
namespace {

using containerd::types::transfer::Data;
using containerd::types::transfer::WindowUpdate;

// How much may be under way to us, and the size of the messages that we send: the biggest that
// containerd's own client sends.
constexpr int32_t kWindow = 1 << 20;
constexpr size_t kMaxMessage = 32 << 10;

}  // namespace

absl::string_view TypeNameOf(const google::protobuf::Any& any) {
  absl::string_view url = any.type_url();
  size_t slash = url.rfind('/');
  return slash == absl::string_view::npos ? url : url.substr(slash + 1);
}

absl::Status StreamManager::Register(const Context& ctx, const std::string& id,
                                     std::shared_ptr<Stream> stream) {
  absl::MutexLock lock(&mu_);
  if (!streams_.emplace(std::make_pair(ctx.ns, id), std::move(stream)).second) {
    return absl::AlreadyExistsError(absl::StrCat("stream \"", id, "\": already exists"));
  }
  return absl::OkStatus();
}

void StreamManager::Unregister(const Context& ctx, const std::string& id) {
  absl::MutexLock lock(&mu_);
  streams_.erase(std::make_pair(ctx.ns, id));
}

absl::StatusOr<std::shared_ptr<Stream>> StreamManager::Get(const Context& ctx,
                                                           const std::string& id) const {
  absl::MutexLock lock(&mu_);
  auto it = streams_.find(std::make_pair(ctx.ns, id));
  if (it == streams_.end()) {
    return absl::NotFoundError(absl::StrCat("stream \"", id, "\": not found"));
  }
  return it->second;
}

absl::Status ReceiveBytes(Stream* stream,
                          const std::function<absl::Status(absl::string_view)>& sink) {
  int64_t window = 0;
  while (true) {
    if (window < kWindow / 2) {
      WindowUpdate update;
      update.set_update(kWindow);
      // A client that has sent everything may be gone already; what it sent is still to be read.
      if (stream->Send(PackBare(update)).ok()) window += kWindow;
    }
    GANTRY_ASSIGN_OR_RETURN(std::optional<google::protobuf::Any> message, stream->Receive());
    if (!message.has_value()) return absl::OkStatus();
    Data data;
    if (!UnpackBare(*message, &data)) {
      return absl::InvalidArgumentError(
          absl::StrCat("unexpected message in a byte stream: ", message->type_url()));
    }
    GANTRY_RETURN_IF_ERROR(sink(data.data()));
    window -= static_cast<int64_t>(data.data().size());
  }
}

absl::Status ByteSender::Write(absl::string_view data) {
  while (!data.empty()) {
    while (window_ <= 0) {
      GANTRY_ASSIGN_OR_RETURN(std::optional<google::protobuf::Any> message, stream_->Receive());
      if (!message.has_value()) return absl::UnavailableError("the client ended the stream");
      WindowUpdate update;
      if (!UnpackBare(*message, &update) || update.update() < 0) {
        return absl::InvalidArgumentError(
            absl::StrCat("unexpected message in a byte stream: ", message->type_url()));
      }
      window_ += update.update();
    }
    size_t size = std::min({data.size(), kMaxMessage, static_cast<size_t>(window_)});
    Data part;
    part.set_data(data.data(), size);
    GANTRY_RETURN_IF_ERROR(stream_->Send(PackBare(part)));
    window_ -= static_cast<int64_t>(size);
    data.remove_prefix(size);
  }
  return absl::OkStatus();
}

}  // namespace gantry::services
