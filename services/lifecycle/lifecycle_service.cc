#include "services/lifecycle/lifecycle_service.h"

#include <deque>
#include <memory>
#include <mutex>
#include <utility>

#include "gantry/services/lifecycle/v1/lifecycle.grpc.pb.h"
#include "services/lifecycle/lifecycle_manager.h"
#include "services/rpc/server_context.h"
#include "services/rpc/status.h"
#include "services/tasks/async_call.h"

namespace gantry::services {
namespace {

namespace api = lifecycle::v1;
using google::protobuf::Empty;
using Reactor = grpc::ServerUnaryReactor;
using ServerContext = grpc::CallbackServerContext;

// A Wait: as AsyncCall, and a client that leaves is forgotten by the manager.
class WaitCall final : public Reactor {
 public:
  WaitCall(LifecycleManager* manager, api::WaitResponse* response)
      : manager_(manager), shared_(std::make_shared<Shared>()) {
    shared_->call = this;
    shared_->response = response;
  }

  void Begin(const std::string& ns, const api::WaitRequest& request) {
    auto shared = shared_;
    uint64_t number =
        manager_->Wait(ns, request, [shared](absl::StatusOr<api::WaitResponse> result) {
          std::lock_guard<std::mutex> lock(shared->mutex);
          if (shared->call == nullptr) return;
          if (result.ok()) *shared->response = *std::move(result);
          std::exchange(shared->call, nullptr)->Finish(ToGrpc(result.status()));
        });
    // The call may be over by now, and this object gone.
    bool cancelled = false;
    {
      std::lock_guard<std::mutex> lock(shared->mutex);
      shared->number = number;
      cancelled = shared->cancelled;
    }
    if (cancelled && number != 0) shared->manager_cancel(number);
  }
  void SetCancel(std::function<void(uint64_t)> cancel) {
    shared_->manager_cancel = std::move(cancel);
  }

  void OnCancel() override {
    auto shared = shared_;
    uint64_t number = 0;
    {
      std::lock_guard<std::mutex> lock(shared->mutex);
      if (shared->call == nullptr) return;
      shared->cancelled = true;
      number = shared->number;
      shared->call = nullptr;
    }
    if (number != 0) shared->manager_cancel(number);
    Finish(grpc::Status(grpc::StatusCode::CANCELLED, "context canceled"));
  }
  void OnDone() override { delete this; }

 private:
  struct Shared {
    std::mutex mutex;
    WaitCall* call = nullptr;  // null once the call is finished
    api::WaitResponse* response = nullptr;
    uint64_t number = 0;
    bool cancelled = false;
    std::function<void(uint64_t)> manager_cancel;
  };
  LifecycleManager* const manager_;
  const std::shared_ptr<Shared> shared_;
};

// A Run: the container as it runs, then its end.
class RunCall final : public grpc::ServerWriteReactor<api::RunResponse> {
 public:
  explicit RunCall(LifecycleManager* manager) : shared_(std::make_shared<Shared>()) {
    shared_->call = this;
    shared_->manager = manager;
  }

  void Begin(const std::string& ns, const api::CreateRequest& request) {
    auto shared = shared_;
    shared->manager->Run(
        ns, request,
        [shared](absl::StatusOr<LifecycleManager::Running> running) {
          if (!running.ok()) return End(*shared, running.status());
          if (!KeepWait(*shared, running->wait)) return shared->manager->CancelWait(running->wait);
          api::RunResponse message;
          *message.mutable_running() = std::move(running->container);
          Send(*shared, std::move(message), /*last=*/false);
        },
        [shared](absl::StatusOr<api::WaitResponse> ended) {
          if (!ended.ok()) return End(*shared, ended.status());
          api::RunResponse message;
          *message.mutable_ended() = *std::move(ended);
          Send(*shared, std::move(message), /*last=*/true);
        });
  }
  void Refuse(const absl::Status& status) { End(*shared_, status); }

  void OnWriteDone(bool ok) override {
    std::lock_guard<std::mutex> lock(shared_->mutex);
    shared_->writing = false;
    if (!ok && shared_->status.ok()) shared_->status = absl::CancelledError("context canceled");
    if (!ok) shared_->queue.clear();
    Advance(*shared_);
  }
  void OnCancel() override {
    uint64_t wait = 0;
    {
      std::lock_guard<std::mutex> lock(shared_->mutex);
      if (shared_->call == nullptr) return;
      wait = std::exchange(shared_->wait, 0);
      shared_->cancelled = true;
      shared_->ending = true;
      shared_->status = absl::CancelledError("context canceled");
      shared_->queue.clear();
      Advance(*shared_);
    }
    if (wait != 0) shared_->manager->CancelWait(wait);
  }
  void OnDone() override { delete this; }

 private:
  // What the manager's answers and gRPC's threads share; the answers may outlive the call.
  struct Shared {
    LifecycleManager* manager = nullptr;
    std::mutex mutex;
    RunCall* call = nullptr;  // null once the call is finished
    std::deque<api::RunResponse> queue;
    api::RunResponse current;  // being written
    bool writing = false;
    bool ending = false;  // finish when the queue is empty
    bool cancelled = false;
    uint64_t wait = 0;
    absl::Status status;
  };

  static bool KeepWait(Shared& shared, uint64_t wait) {
    std::lock_guard<std::mutex> lock(shared.mutex);
    if (shared.cancelled || shared.call == nullptr) return false;
    shared.wait = wait;
    return true;
  }
  static void Send(Shared& shared, api::RunResponse message, bool last) {
    std::lock_guard<std::mutex> lock(shared.mutex);
    shared.queue.push_back(std::move(message));
    if (last) shared.ending = true;
    Advance(shared);
  }
  static void End(Shared& shared, const absl::Status& status) {
    std::lock_guard<std::mutex> lock(shared.mutex);
    shared.ending = true;
    if (shared.status.ok()) shared.status = status;
    Advance(shared);
  }
  // With the lock: the next step, unless a write is under way.
  static void Advance(Shared& shared) {
    if (shared.call == nullptr || shared.writing) return;
    if (!shared.queue.empty()) {
      shared.current = std::move(shared.queue.front());
      shared.queue.pop_front();
      shared.writing = true;
      return shared.call->StartWrite(&shared.current);
    }
    if (shared.ending || !shared.status.ok())
      std::exchange(shared.call, nullptr)->Finish(ToGrpc(shared.status));
  }

  const std::shared_ptr<Shared> shared_;
};

class LifecycleService final : public api::Lifecycle::CallbackService {
 public:
  explicit LifecycleService(LifecycleManager* manager) : manager_(manager) {}

#define GANTRY_LIFECYCLE_METHOD(method, Request, Response)                                       \
  Reactor* method(ServerContext* context, const Request* request, Response* response) override { \
    return Serve(context, *request, response, &LifecycleManager::method);                        \
  }
  GANTRY_LIFECYCLE_METHOD(Create, api::CreateRequest, api::CreateResponse)
  GANTRY_LIFECYCLE_METHOD(Start, api::StartRequest, api::StartResponse)
  GANTRY_LIFECYCLE_METHOD(Stop, api::StopRequest, api::StopResponse)
  GANTRY_LIFECYCLE_METHOD(Kill, api::KillRequest, Empty)
  GANTRY_LIFECYCLE_METHOD(Restart, api::RestartRequest, Empty)
  GANTRY_LIFECYCLE_METHOD(Pause, api::PauseRequest, Empty)
  GANTRY_LIFECYCLE_METHOD(Resume, api::ResumeRequest, Empty)
  GANTRY_LIFECYCLE_METHOD(Remove, api::RemoveRequest, Empty)
  GANTRY_LIFECYCLE_METHOD(Update, api::UpdateRequest, api::UpdateResponse)
  GANTRY_LIFECYCLE_METHOD(ConnectNetwork, api::ConnectNetworkRequest, Empty)
  GANTRY_LIFECYCLE_METHOD(DisconnectNetwork, api::DisconnectNetworkRequest, Empty)
#undef GANTRY_LIFECYCLE_METHOD

  grpc::ServerWriteReactor<api::RunResponse>* Run(ServerContext* context,
                                                  const api::CreateRequest* request) override {
    Context ctx = FromServerContext(*context);
    auto* call = new RunCall(manager_);
    if (absl::Status status = RequireNamespace(ctx); status.ok()) {
      call->Begin(ctx.ns, *request);
    } else {
      call->Refuse(status);
    }
    return call;
  }

  Reactor* Wait(ServerContext* context, const api::WaitRequest* request,
                api::WaitResponse* response) override {
    Context ctx = FromServerContext(*context);
    if (absl::Status status = RequireNamespace(ctx); !status.ok()) return Finish(context, status);
    auto* call = new WaitCall(manager_, response);
    call->SetCancel([manager = manager_](uint64_t number) { manager->CancelWait(number); });
    call->Begin(ctx.ns, *request);
    return call;
  }

  Reactor* Get(ServerContext* context, const api::GetRequest* request,
               api::GetResponse* response) override {
    return Answer(context, response,
                  [&](const std::string& ns) { return manager_->Get(ns, request->id()); });
  }
  Reactor* Find(ServerContext* context, const api::FindRequest* request,
                api::GetResponse* response) override {
    return Answer(context, response,
                  [&](const std::string& ns) { return manager_->Find(ns, request->name()); });
  }
  Reactor* List(ServerContext* context, const api::ListRequest* request,
                api::ListResponse* response) override {
    return Answer(context, response,
                  [&](const std::string& ns) { return manager_->List(ns, *request); });
  }

 private:
  static Reactor* Finish(ServerContext* context, const absl::Status& status) {
    Reactor* reactor = context->DefaultReactor();
    reactor->Finish(ToGrpc(status));
    return reactor;
  }

  // What is read from memory is answered at once.
  template <typename Response, typename Ask>
  Reactor* Answer(ServerContext* context, Response* response, Ask ask) {
    Context ctx = FromServerContext(*context);
    absl::Status status = RequireNamespace(ctx);
    if (status.ok()) {
      absl::StatusOr<Response> answer = ask(ctx.ns);
      status = answer.status();
      if (status.ok()) *response = *std::move(answer);
    }
    return Finish(context, status);
  }

  template <typename Request, typename Response>
  Reactor* Serve(ServerContext* context, const Request& request, Response* response,
                 void (LifecycleManager::*method)(const std::string&, Request,
                                                  LifecycleManager::Done<Response>)) {
    auto* call = new AsyncCall<Response>(response);
    LifecycleManager::Done<Response> done = call->Done();
    Context ctx = FromServerContext(*context);
    if (absl::Status status = RequireNamespace(ctx); !status.ok()) {
      done(status);
      return call;
    }
    (manager_->*method)(ctx.ns, request, std::move(done));
    return call;
  }

  LifecycleManager* const manager_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeLifecycleService(LifecycleManager* manager) {
  return std::make_unique<LifecycleService>(manager);
}

}  // namespace gantry::services
