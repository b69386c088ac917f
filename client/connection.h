#ifndef GANTRY_CLIENT_CONNECTION_H_
#define GANTRY_CLIENT_CONNECTION_H_

// A channel to a daemon that speaks containerd's API, with what every request carries: the
// namespace and, where set, the lease.

#include <deque>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/rpc/call.h"
#include "client/rpc/channel.h"
#include "google/protobuf/message_lite.h"
#include "proto/method.h"

namespace gantry::client {

// Thread-safe once configured; copies share the channel.
class Connection {
 public:
  Connection(std::shared_ptr<rpc::Channel> channel, std::string ns);

  // A channel to the unix socket `address` ("/run/x.sock" or "unix:///run/x.sock"). Does not touch
  // the socket: the first call does.
  static Connection ToSocket(absl::string_view address, std::string ns);

  const std::string& ns() const { return ns_; }
  const std::string& address() const { return address_; }

  // The same channel whose requests belong to `lease`.
  Connection WithLease(std::string lease) const;
  Connection WithNamespace(std::string ns) const;

  // One unary call: connection.Call(ImagesMethods::kGet, request, &response). Blocks at most
  // `timeout`. Errors as rpc::Call has them.
  template <typename Request, typename Response>
  absl::Status Call(const proto::UnaryMethod<Request, Response>& method, const Request& request,
                    Response* response, absl::Duration timeout = absl::InfiniteDuration()) const {
    return Start(method.path, &request, timeout).FinishUnary(response);
  }

  // Streams, without a deadline.
  template <typename Request, typename Response>
  rpc::Reader<Response> Open(const proto::ServerStreamMethod<Request, Response>& method,
                             const Request& request) const {
    return rpc::Reader<Response>(Start(method.path, &request));
  }
  template <typename Request, typename Response>
  rpc::ReaderWriter<Request, Response> Open(
      const proto::BidiMethod<Request, Response>& method) const {
    return rpc::ReaderWriter<Request, Response>(Start(method.path, nullptr));
  }

  // What the others are made of: starts a call to `path`, with `only` as its one request.
  rpc::Call Start(const char* path, const google::protobuf::MessageLite* only,
                  absl::Duration timeout = absl::InfiniteDuration()) const;

 private:
  std::shared_ptr<rpc::Channel> channel_;
  std::string address_;
  std::string ns_;
  std::string lease_;
};

// Unary calls under way at the same time. Not thread-safe. Destroying it cancels what is left.
class Batch {
 public:
  explicit Batch(const Connection& connection) : connection_(connection) {}

  // Sends a call and returns its number. `response` must live until it is waited for.
  template <typename Request, typename Response>
  size_t Start(const proto::UnaryMethod<Request, Response>& method, const Request& request,
               Response* response) {
    calls_.push_back({connection_.Start(method.path, &request), response});
    return calls_.size() - 1;
  }

  // Blocks until call `number` has finished and returns its result.
  absl::Status Wait(size_t number) {
    return calls_[number].call.FinishUnary(calls_[number].response);
  }
  rpc::Call& call(size_t number) { return calls_[number].call; }

 private:
  struct Pending {
    rpc::Call call;
    google::protobuf::MessageLite* response;
  };

  Connection connection_;
  std::deque<Pending> calls_;
};

}  // namespace gantry::client

#endif  // GANTRY_CLIENT_CONNECTION_H_
