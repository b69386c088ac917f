#ifndef GANTRY_SERVICES_STREAMING_STREAM_H_
#define GANTRY_SERVICES_STREAMING_STREAM_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "google/protobuf/any.pb.h"
#include "services/metadata/context.h"

namespace gantry::services {

// Our end of a two-way stream of messages that a client opened under a name of its choice.
// Thread-safe.
class Stream {
 public:
  virtual ~Stream() = default;

  // Queues a message. Blocks while the client does not read (a few messages are buffered).
  // Unavailable when the stream is over.
  virtual absl::Status Send(const google::protobuf::Any& message) = 0;
  // The same, but drops the message instead of blocking: for progress that newer progress replaces.
  virtual void SendOrDrop(const google::protobuf::Any& message) = 0;
  // Queues a message whatever the client does, for what may be neither dropped nor waited for; the
  // caller bounds their number. Does nothing when the stream is over.
  virtual void Post(const google::protobuf::Any& message) = 0;

  // The next message, or nothing when the client has ended its side. DeadlineExceeded.
  virtual absl::StatusOr<std::optional<google::protobuf::Any>> Receive(
      absl::Duration timeout = absl::InfiniteDuration()) = 0;

  // Ends the stream after what was sent. May be called twice.
  virtual void Close() = 0;
  // The same, and waits until all was handed to the connection, at most for `timeout`: what the
  // client gets afterwards on the same connection comes behind it.
  virtual void CloseAndWait(absl::Duration timeout) = 0;
};

// The open streams by namespace and name, from the moment a client opened one until either side
// ends it. Thread-safe.
class StreamManager {
 public:
  // AlreadyExists.
  absl::Status Register(const Context& ctx, const std::string& id, std::shared_ptr<Stream> stream);
  void Unregister(const Context& ctx, const std::string& id);
  // NotFound.
  absl::StatusOr<std::shared_ptr<Stream>> Get(const Context& ctx, const std::string& id) const;

 private:
  mutable absl::Mutex mu_;
  std::map<std::pair<std::string, std::string>, std::shared_ptr<Stream>> streams_
      ABSL_GUARDED_BY(mu_);
};

// Bytes over a stream, as containerd's transfer API carries them: Data messages one way,
// WindowUpdate messages the other; the sender never has more bytes under way than the receiver
// allowed.

// Receives until the client ends its side and pushes all into `sink`, whose failure ends it.
// InvalidArgument for messages of another kind.
absl::Status ReceiveBytes(Stream* stream,
                          const std::function<absl::Status(absl::string_view)>& sink);

// Sends as the client's window allows. Not thread-safe.
class ByteSender {
 public:
  explicit ByteSender(Stream* stream) : stream_(stream) {}
  // Blocks until all of `data` is under way. Unavailable when the client is gone.
  absl::Status Write(absl::string_view data);

 private:
  Stream* stream_;
  int64_t window_ = 0;
};

// containerd's clients write the bare type name into `type_url`, without a host before it; both
// forms are understood here.
template <typename Message>
google::protobuf::Any PackBare(const Message& message) {
  google::protobuf::Any any;
  any.set_type_url(message.GetTypeName());
  any.set_value(message.SerializeAsString());
  return any;
}
absl::string_view TypeNameOf(const google::protobuf::Any& any);
template <typename Message>
bool UnpackBare(const google::protobuf::Any& any, Message* message) {
  return TypeNameOf(any) == message->GetTypeName() && message->ParseFromString(any.value());
}

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_STREAMING_STREAM_H_
