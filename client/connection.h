#ifndef GANTRY_CLIENT_CONNECTION_H_
#define GANTRY_CLIENT_CONNECTION_H_

// A gRPC channel to a daemon that speaks containerd's API, with what every request carries: the
// namespace and, where set, the lease.

#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/support/async_unary_call.h"

namespace gantry::client {

// The same code and message; trailing details are dropped.
absl::Status FromGrpc(const grpc::Status& status);

// Thread-safe once configured; copies share the channel.
class Connection {
 public:
  // Over any channel (a socket, in process, a test's).
  Connection(std::shared_ptr<grpc::Channel> channel, std::string ns);

  // A channel to the unix socket `address` ("/run/x.sock" or "unix:///run/x.sock"). Does not touch
  // the socket: the first call does.
  static Connection ToSocket(absl::string_view address, std::string ns);

  const std::string& ns() const { return ns_; }
  const std::string& address() const { return address_; }
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }

  // The same channel whose requests belong to `lease`.
  Connection WithLease(std::string lease) const;
  Connection WithNamespace(std::string ns) const;

  // Adds the headers. Every context used with this connection needs it.
  void Prepare(grpc::ClientContext* context) const;

  // One unary call: connection.Call<Images>(&Images::Stub::Get, request, &response). Blocks at most
  // `timeout`. What the daemon answered, or Unavailable with the reason and what to do when there
  // is nobody to talk to.
  template <typename Service, typename Request, typename Response>
  absl::Status Call(grpc::Status (Service::Stub::*method)(grpc::ClientContext*, const Request&,
                                                          Response*),
                    const Request& request, Response* response,
                    absl::Duration timeout = absl::InfiniteDuration()) const {
    grpc::ClientContext context;
    Prepare(&context);
    SetDeadline(&context, timeout);
    typename Service::Stub stub(channel_);
    return Explain((stub.*method)(&context, request, response));
  }

  // Maps the status; for Unavailable, finds out why the socket did not answer.
  absl::Status Explain(const grpc::Status& status) const;

  static void SetDeadline(grpc::ClientContext* context, absl::Duration timeout);

 private:
  std::shared_ptr<grpc::Channel> channel_;
  std::string address_;
  std::string ns_;
  std::string lease_;
};

// Unary calls under way at the same time. Not thread-safe. Destroying it cancels what is left.
class Batch {
 public:
  explicit Batch(const Connection& connection) : connection_(connection) {}
  ~Batch();
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  // Sends a call and returns its number. `response` must live until it is waited for.
  template <typename Service, typename Request, typename Response>
  size_t Start(std::unique_ptr<grpc::ClientAsyncResponseReader<Response>> (Service::Stub::*method)(
                   grpc::ClientContext*, const Request&, grpc::CompletionQueue*),
               const Request& request, Response* response) {
    calls_.emplace_back();
    Call& call = calls_.back();
    connection_.Prepare(&call.context);
    typename Service::Stub stub(connection_.channel());
    auto reader = (stub.*method)(&call.context, request, &queue_);
    reader->Finish(response, &call.status, &call);
    call.reader = std::shared_ptr<void>(std::move(reader));
    return calls_.size() - 1;
  }

  // Blocks until call `number` has finished and returns its result.
  absl::Status Wait(size_t number);
  // As Wait, at most `timeout`: false when it has not finished by then.
  bool Poll(size_t number, absl::Duration timeout);
  // Waits for all; the first error.
  absl::Status WaitAll();

 private:
  struct Call {
    grpc::ClientContext context;
    grpc::Status status;
    std::shared_ptr<void> reader;
    bool finished = false;
  };

  Connection connection_;
  grpc::CompletionQueue queue_;
  std::deque<Call> calls_;
};

}  // namespace gantry::client

#endif  // GANTRY_CLIENT_CONNECTION_H_
