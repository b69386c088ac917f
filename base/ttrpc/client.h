#ifndef GANTRY_BASE_TTRPC_CLIENT_H_
#define GANTRY_BASE_TTRPC_CLIENT_H_

// A ttrpc client (unary calls) over a unix socket: thread-safe, any number of calls under way on
// one connection, answers in any order. One reader thread serves all clients of the process.

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "google/protobuf/message_lite.h"

namespace gantry::base::ttrpc {

class Client {
 public:
  // `address`: "unix:///path", or "/path". Abstract names are refused. Unavailable when nobody
  // listens. `on_disconnect` runs once, on the reader thread, when the connection ends for whatever
  // reason (not when the client is destroyed).
  static absl::StatusOr<std::shared_ptr<Client>> Connect(
      absl::string_view address, absl::AnyInvocable<void()> on_disconnect = nullptr);
  virtual ~Client() = default;

  using Metadata = std::map<std::string, std::string>;
  // Called once with the response payload or the error, on the reader thread: do not block in it.
  // Unavailable when the connection ends first, DeadlineExceeded after `timeout`.
  using Callback = absl::AnyInvocable<void(absl::StatusOr<std::string>)>;

  virtual void CallAsync(absl::string_view service, absl::string_view method, std::string payload,
                         const Metadata& metadata, absl::Duration timeout, Callback done) = 0;

  // Blocks the calling thread. `response` may be null. Internal when called on the reader thread.
  absl::Status Call(absl::string_view service, absl::string_view method,
                    const google::protobuf::MessageLite& request,
                    google::protobuf::MessageLite* response, const Metadata& metadata = {},
                    absl::Duration timeout = absl::InfiniteDuration());

  // Ends the connection; pending calls get Unavailable. Idempotent.
  virtual void Close() = 0;
  virtual bool connected() const = 0;
};

}  // namespace gantry::base::ttrpc

#endif  // GANTRY_BASE_TTRPC_CLIENT_H_
