#ifndef GANTRY_CLIENT_RPC_CHANNEL_H_
#define GANTRY_CLIENT_RPC_CHANNEL_H_

// A small gRPC client for unix sockets: all kinds of calls, metadata, deadlines, many calls at once
// over one HTTP/2 connection, without threads, name resolution, retries, TLS or compression. It is
// what makes gantryctl start in a fraction of a millisecond.

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "base/unique_fd.h"
#include "client/rpc/call.h"
#include "client/rpc/transport.h"
#include "google/protobuf/message_lite.h"

namespace gantry::client::rpc {

// Thread-safe.
class Channel {
 public:
  // To the unix socket at `path`. The first call connects; a call after the connection was lost, or
  // the server said that it goes away, connects anew.
  explicit Channel(std::string path) : path_(std::move(path)) {}
  // Over a stream socket that is connected already; when it is lost, so is the channel.
  explicit Channel(base::UniqueFd connected);

  // Starts a call (call.h says what `only` is). When nobody listens at the path, the call has ended
  // with Unavailable, or PermissionDenied, and a sentence about what to do.
  Call Start(const CallHead& head, const google::protobuf::MessageLite* only);

 private:
  absl::StatusOr<std::shared_ptr<Transport>> Connected();

  const std::string path_;
  absl::Mutex mutex_;
  std::shared_ptr<Transport> transport_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace gantry::client::rpc

#endif  // GANTRY_CLIENT_RPC_CHANNEL_H_
