#ifndef GANTRY_DOCKER_ENGINE_RPC_LOOP_H_
#define GANTRY_DOCKER_ENGINE_RPC_LOOP_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "base/unique_fd.h"
#include "client/connection.h"

namespace gantry::docker {

// Calls of gantryd that last (waiting for an exit, for a removal): any number of them, on one
// thread and one connection. Thread-safe.
class RpcLoop {
 public:
  using CallId = uint64_t;

  // `connection` must not be used by anybody else: its answers are read here.
  explicit RpcLoop(client::Connection connection);
  // Cancels what is left without calling anybody.
  ~RpcLoop();
  RpcLoop(const RpcLoop&) = delete;

  // Starts a call. `done` runs once, on the loop's thread, and must not block: with the answer, or
  // with what went wrong (Unavailable when gantryd went away).
  template <typename Request, typename Response>
  CallId Start(const proto::UnaryMethod<Request, Response>& method, const Request& request,
               std::function<void(const absl::Status&, const Response&)> done) {
    auto response = std::make_shared<Response>();
    return StartAny(
        [path = method.path, request](const client::Connection& connection) {
          return connection.Start(path, &request);
        },
        response,
        [response, done = std::move(done)](const absl::Status& status) {
          done(status, *response);
        });
  }

  // The call's `done` gets Cancelled. Nothing when it has ended.
  void Cancel(CallId call);

 private:
  struct Pending {
    client::rpc::Call call;
    std::shared_ptr<google::protobuf::MessageLite> response;
    std::function<void(const absl::Status&)> done;
  };
  using Starter = std::function<client::rpc::Call(const client::Connection&)>;

  CallId StartAny(Starter starter, std::shared_ptr<google::protobuf::MessageLite> response,
                  std::function<void(const absl::Status&)> done);
  void Post(std::function<void()> function);
  void Run();
  void RunPosted();
  void FinishEnded();
  void AwaitAnything();

  client::Connection connection_;
  base::UniqueFd wake_;
  std::map<CallId, Pending> pending_;  // of the loop's thread
  absl::Mutex mutex_;
  std::vector<std::function<void()>> posted_ ABSL_GUARDED_BY(mutex_);
  CallId next_ ABSL_GUARDED_BY(mutex_) = 1;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_ENGINE_RPC_LOOP_H_
