#include "services/transfer/transfer_service.h"

#include <atomic>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "containerd/services/transfer/v1/transfer.grpc.pb.h"
#include "services/rpc/server_context.h"
#include "services/rpc/status.h"
#include "services/transfer/transfer.h"

namespace gantry::services {
namespace {

using containerd::services::transfer::v1::TransferRequest;

// Owned by gRPC until OnDone() and by the working thread until it has finished.
class Reactor final : public grpc::ServerUnaryReactor {
 public:
  void OnDone() override { self_.reset(); }
  void OnCancel() override { cancelled_ = true; }

  bool cancelled() const { return cancelled_; }
  void Hold(std::shared_ptr<Reactor> self) { self_ = std::move(self); }

 private:
  std::atomic<bool> cancelled_{false};
  std::shared_ptr<Reactor> self_;
};

class TransferService final : public containerd::services::transfer::v1::Transfer::CallbackService {
 public:
  explicit TransferService(Transferrer* transferrer) : transferrer_(transferrer) {}

  ~TransferService() override {
    stopping_ = true;
    absl::MutexLock lock(&mu_);
    auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return running_ == 0; };
    mu_.Await(absl::Condition(&idle));
  }

  grpc::ServerUnaryReactor* Transfer(grpc::CallbackServerContext* context,
                                     const TransferRequest* request,
                                     google::protobuf::Empty*) override {
    auto reactor = std::make_shared<Reactor>();
    reactor->Hold(reactor);
    {
      absl::MutexLock lock(&mu_);
      ++running_;
    }
    // The request lives until Finish().
    std::thread([this, reactor, request, ctx = FromServerContext(*context)] {
      absl::Status status = transferrer_->Transfer(
          ctx, *request, [this, &reactor] { return stopping_ || reactor->cancelled(); });
      reactor->Finish(ToGrpc(status));
      absl::MutexLock lock(&mu_);
      --running_;
    }).detach();
    return reactor.get();
  }

 private:
  Transferrer* transferrer_;
  std::atomic<bool> stopping_{false};
  absl::Mutex mu_;
  int running_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeTransferService(Transferrer* transferrer) {
  return std::make_unique<TransferService>(transferrer);
}

}  // namespace gantry::services
