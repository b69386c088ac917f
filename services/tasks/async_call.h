#ifndef GANTRY_SERVICES_TASKS_ASYNC_CALL_H_
#define GANTRY_SERVICES_TASKS_ASYNC_CALL_H_

// Only for *_service.cc: includes gRPC.

#include <memory>
#include <mutex>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/support/server_callback.h"
#include "services/rpc/status.h"

namespace gantry::services {

// A unary call whose answer comes later and from any thread. The answer may also come long after
// the client has gone, so what both sides touch is shared and the first of them finishes the call.
// Made by new in a handler that returns it; deletes itself when gRPC is done with it.
template <typename Response>
class AsyncCall final : public grpc::ServerUnaryReactor {
 public:
  explicit AsyncCall(Response* response) : shared_(std::make_shared<Shared>()) {
    shared_->reactor = this;
    shared_->response = response;
  }

  // To be called once, with the answer.
  absl::AnyInvocable<void(absl::StatusOr<Response>)> Done() {
    return [shared = shared_](absl::StatusOr<Response> result) {
      std::lock_guard<std::mutex> lock(shared->mutex);
      if (shared->reactor == nullptr) return;
      absl::Status status = result.status();
      if (result.ok()) *shared->response = *std::move(result);
      std::exchange(shared->reactor, nullptr)->Finish(ToGrpc(status));
    };
  }

  void OnCancel() override {
    std::lock_guard<std::mutex> lock(shared_->mutex);
    if (shared_->reactor == nullptr) return;
    shared_->reactor = nullptr;
    Finish(grpc::Status(grpc::StatusCode::CANCELLED, "context canceled"));
  }
  void OnDone() override { delete this; }

 private:
  struct Shared {
    std::mutex mutex;
    AsyncCall* reactor = nullptr;  // null once the call is finished
    Response* response = nullptr;
  };
  const std::shared_ptr<Shared> shared_;
};

// When the client stops waiting.
inline absl::Time DeadlineOf(const grpc::CallbackServerContext& context) {
  auto deadline = context.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return absl::InfiniteFuture();
  return absl::FromChrono(deadline);
}

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_TASKS_ASYNC_CALL_H_
