#include "services/streaming/streaming_service.h"

#include <deque>

#include "base/status.h"
#include "containerd/services/streaming/v1/streaming.grpc.pb.h"
#include "google/protobuf/empty.pb.h"
#include "services/rpc/server_context.h"
#include "services/rpc/status.h"
#include "services/streaming/stream.h"

namespace gantry::services {
namespace {

using google::protobuf::Any;

constexpr size_t kMaxQueuedIn = 16;
constexpr size_t kMaxQueuedOut = 64;

// Keeps itself alive until gRPC says OnDone(). Operations are started under the lock: gRPC runs
// reactions either later on the same thread or on another one, never inside Start…().
class ServerStream final : public grpc::ServerBidiReactor<Any, Any>, public Stream {
 public:
  ServerStream(StreamManager* streams, Context ctx) : streams_(streams), ctx_(std::move(ctx)) {}

  static grpc::ServerBidiReactor<Any, Any>* Start(StreamManager* streams, Context ctx) {
    auto stream = std::make_shared<ServerStream>(streams, std::move(ctx));
    stream->self_ = stream;
    absl::MutexLock lock(&stream->mu_);
    stream->ReadMore();
    return stream.get();
  }

  absl::Status Send(const Any& message) override {
    absl::MutexLock lock(&mu_);
    auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
      return over_ || closing_ || out_.size() < kMaxQueuedOut;
    };
    mu_.Await(absl::Condition(&ready));
    if (over_ || closing_) return absl::UnavailableError("the stream is closed");
    Enqueue(message);
    return absl::OkStatus();
  }

  void SendOrDrop(const Any& message) override {
    absl::MutexLock lock(&mu_);
    if (!over_ && !closing_ && out_.size() < kMaxQueuedOut) Enqueue(message);
  }

  void Post(const Any& message) override {
    absl::MutexLock lock(&mu_);
    if (!over_ && !closing_) Enqueue(message);
  }

  absl::StatusOr<std::optional<Any>> Receive(absl::Duration timeout) override {
    absl::MutexLock lock(&mu_);
    auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
      return over_ || end_of_input_ || !in_.empty();
    };
    if (!mu_.AwaitWithTimeout(absl::Condition(&ready), timeout)) {
      return absl::DeadlineExceededError("the client did not answer on its stream");
    }
    if (in_.empty() && cancelled_) return absl::CancelledError("the client went away");
    if (in_.empty()) return std::optional<Any>();
    std::optional<Any> message(std::move(in_.front()));
    in_.pop_front();
    ReadMore();
    return message;
  }

  void Close() override {
    Forget();
    absl::MutexLock lock(&mu_);
    closing_ = true;
    if (!writing_) FinishOnce(grpc::Status::OK);
  }

  void CloseAndWait(absl::Duration timeout) override {
    Close();
    absl::MutexLock lock(&mu_);
    auto written = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return finished_; };
    mu_.AwaitWithTimeout(absl::Condition(&written), timeout);
  }

  void OnReadDone(bool ok) override {
    {
      absl::MutexLock lock(&mu_);
      reading_ = false;
      if (named_) {
        if (ok) {
          in_.push_back(std::move(incoming_));
          ReadMore();
        } else {
          end_of_input_ = true;
        }
        return;
      }
      if (!ok) {
        end_of_input_ = true;
        FinishOnce(grpc::Status::OK);
        return;
      }
    }
    TakeName();
  }

  void OnWriteDone(bool ok) override {
    absl::MutexLock lock(&mu_);
    writing_ = false;
    out_.pop_front();
    if (!ok) {
      over_ = true;
      FinishOnce(grpc::Status::CANCELLED);
    } else if (!out_.empty()) {
      WriteNext();
    } else if (closing_) {
      FinishOnce(grpc::Status::OK);
    }
  }

  void OnCancel() override {
    absl::MutexLock lock(&mu_);
    cancelled_ = over_ = true;
    FinishOnce(grpc::Status::CANCELLED);
  }

  void OnDone() override {
    Forget();
    std::shared_ptr<ServerStream> self;  // destroyed after the lock: it may be the last owner
    absl::MutexLock lock(&mu_);
    over_ = finished_ = true;
    self.swap(self_);
  }

 private:
  void ReadMore() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (reading_ || end_of_input_ || finished_ || in_.size() >= kMaxQueuedIn) return;
    reading_ = true;
    StartRead(&incoming_);
  }
  void Enqueue(const Any& message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    out_.push_back(message);
    if (!writing_) WriteNext();
  }
  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (finished_) return;
    writing_ = true;
    StartWrite(&out_.front());
  }
  void FinishOnce(const grpc::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    over_ = true;
    if (finished_) return;
    finished_ = true;
    Finish(status);
  }
  void TakeName();
  void Forget();

  StreamManager* const streams_;
  const Context ctx_;
  absl::Mutex mu_;
  std::string id_ ABSL_GUARDED_BY(mu_);
  bool named_ ABSL_GUARDED_BY(mu_) = false;
  bool registered_ ABSL_GUARDED_BY(mu_) = false;
  bool reading_ ABSL_GUARDED_BY(mu_) = false;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool end_of_input_ ABSL_GUARDED_BY(mu_) = false;
  bool closing_ ABSL_GUARDED_BY(mu_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  bool over_ ABSL_GUARDED_BY(mu_) = false;  // nothing can be sent any more
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  Any incoming_;
  std::deque<Any> in_ ABSL_GUARDED_BY(mu_);
  std::deque<Any> out_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<ServerStream> self_ ABSL_GUARDED_BY(mu_);
};

void ServerStream::TakeName() {
  containerd::services::streaming::v1::StreamInit init;
  std::shared_ptr<Stream> self;
  {
    absl::MutexLock lock(&mu_);
    if (!UnpackBare(incoming_, &init)) {
      FinishOnce({grpc::StatusCode::INVALID_ARGUMENT, "the first message must be a StreamInit"});
      return;
    }
    self = self_;
  }
  absl::Status status = streams_->Register(ctx_, init.id(), self);
  absl::MutexLock lock(&mu_);
  if (!status.ok()) return FinishOnce(ToGrpc(status));
  id_ = init.id();
  named_ = registered_ = true;
  if (finished_) return;  // cancelled meanwhile; OnDone() forgets it
  Enqueue(PackBare(google::protobuf::Empty()));
  ReadMore();
}

void ServerStream::Forget() {
  std::string id;
  {
    absl::MutexLock lock(&mu_);
    if (!registered_) return;
    registered_ = false;
    id = id_;
  }
  streams_->Unregister(ctx_, id);
}

class StreamingService final
    : public containerd::services::streaming::v1::Streaming::CallbackService {
 public:
  explicit StreamingService(StreamManager* streams) : streams_(streams) {}

  grpc::ServerBidiReactor<Any, Any>* Stream(grpc::CallbackServerContext* context) override {
    return ServerStream::Start(streams_, FromServerContext(*context));
  }

 private:
  StreamManager* streams_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeStreamingService(StreamManager* streams) {
  return std::make_unique<StreamingService>(streams);
}

}  // namespace gantry::services
