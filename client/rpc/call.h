#ifndef GANTRY_CLIENT_RPC_CALL_H_
#define GANTRY_CLIENT_RPC_CALL_H_

#include <poll.h>

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "google/protobuf/message_lite.h"

namespace gantry::client::rpc {

class Transport;
struct CallHead;
struct Stream;

// One gRPC call under way, of any kind. Destroying it cancels what has not ended.
//
// One thread may read while another writes; otherwise a call belongs to one thread at a time. The
// status is what the server said; Unavailable when the connection was lost or refused,
// DeadlineExceeded when the time of the call is over, Cancelled after Cancel(), Internal for an
// answer that is no gRPC, ResourceExhausted for a message beyond 16 MiB.
class Call {
 public:
  // Starts a call; with `only` it sends that message and nothing more. Never fails by itself: what
  // goes wrong is the call's status.
  Call(std::shared_ptr<Transport> transport, const CallHead& head,
       const google::protobuf::MessageLite* only);
  // A call that has ended already.
  explicit Call(absl::Status result);
  Call(Call&&) noexcept;
  Call& operator=(Call&&) = delete;
  ~Call();

  // Sends a message, and blocks while the server does not take more. False when the call has ended.
  bool Write(const google::protobuf::MessageLite& message);
  // No more messages from us.
  void WritesDone();

  // Blocks for the next message. False when there will be none: Finish() says why.
  bool Read(google::protobuf::MessageLite* message);
  // As Read(), but false also when none is there yet.
  bool TryRead(google::protobuf::MessageLite* message);

  // Blocks for the end and returns the status; messages that were not read are dropped.
  absl::Status Finish();
  // The same for a call with one response. Internal when a good status comes without it.
  absl::Status FinishUnary(google::protobuf::MessageLite* response);
  void Cancel();

  bool finished() const;
  // Blocks until anything has arrived on the connection, for this call or another, at most until
  // the call's deadline.
  void WaitForAnything();

  // For a caller that polls by itself: the descriptor (-1 when there is nothing to wait for), and
  // what to do when it is ready. Calls on the same connection make progress together, so look at
  // finished() before polling.
  pollfd descriptor() const;
  void Process();

 private:
  bool TakeMessage(google::protobuf::MessageLite* message);
  void ExpireIfLate();

  std::shared_ptr<Transport> transport_;  // null: ended from the beginning
  std::unique_ptr<Stream> stream_;
  absl::Time deadline_ = absl::InfiniteFuture();
  absl::Status malformed_;  // a message was: that counts more than the server's status
};

// The typed faces.

template <typename Response>
class Reader {
 public:
  explicit Reader(Call call) : call_(std::move(call)) {}
  bool Read(Response* message) { return call_.Read(message); }
  absl::Status Finish() { return call_.Finish(); }
  void Cancel() { call_.Cancel(); }

 private:
  Call call_;
};

template <typename Request, typename Response>
class ReaderWriter {
 public:
  explicit ReaderWriter(Call call) : call_(std::move(call)) {}
  bool Write(const Request& message) { return call_.Write(message); }
  void WritesDone() { call_.WritesDone(); }
  bool Read(Response* message) { return call_.Read(message); }
  bool TryRead(Response* message) { return call_.TryRead(message); }
  absl::Status Finish() { return call_.Finish(); }
  void Cancel() { call_.Cancel(); }

 private:
  Call call_;
};

}  // namespace gantry::client::rpc

#endif  // GANTRY_CLIENT_RPC_CALL_H_
