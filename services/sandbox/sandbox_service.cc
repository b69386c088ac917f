#include "services/sandbox/sandbox_service.h"

#include <utility>

#include "containerd/services/sandbox/v1/sandbox.grpc.pb.h"
#include "services/metadata/sandbox_store.h"
#include "services/rpc/server_context.h"
#include "services/rpc/status.h"
#include "services/sandbox/sandbox_controller.h"
#include "services/tasks/async_call.h"

namespace gantry::services {
namespace {

namespace api = containerd::services::sandbox::v1;
using containerd::types::Sandbox;

class StoreService final : public api::Store::Service {
 public:
  explicit StoreService(SandboxStore* store) : store_(store) {}

  grpc::Status Create(grpc::ServerContext* context, const api::StoreCreateRequest* request,
                      api::StoreCreateResponse* response) override {
    return Answer(store_->Create(FromServerContext(*context), request->sandbox()), response);
  }
  grpc::Status Update(grpc::ServerContext* context, const api::StoreUpdateRequest* request,
                      api::StoreUpdateResponse* response) override {
    return Answer(store_->Update(FromServerContext(*context), request->sandbox(),
                                 {request->fields().begin(), request->fields().end()}),
                  response);
  }
  grpc::Status Get(grpc::ServerContext* context, const api::StoreGetRequest* request,
                   api::StoreGetResponse* response) override {
    return Answer(store_->Get(FromServerContext(*context), request->sandbox_id()), response);
  }
  grpc::Status Delete(grpc::ServerContext* context, const api::StoreDeleteRequest* request,
                      api::StoreDeleteResponse*) override {
    return ToGrpc(store_->Delete(FromServerContext(*context), request->sandbox_id()));
  }
  grpc::Status List(grpc::ServerContext* context, const api::StoreListRequest* request,
                    api::StoreListResponse* response) override {
    auto found = store_->List(FromServerContext(*context),
                              {request->filters().begin(), request->filters().end()});
    if (!found.ok()) return ToGrpc(found.status());
    for (Sandbox& sandbox : *found) *response->add_list() = std::move(sandbox);
    return grpc::Status::OK;
  }

 private:
  template <typename Response>
  static grpc::Status Answer(absl::StatusOr<Sandbox> sandbox, Response* response) {
    if (sandbox.ok()) *response->mutable_sandbox() = *std::move(sandbox);
    return ToGrpc(sandbox.status());
  }

  SandboxStore* const store_;
};

class ControllerService final : public api::Controller::CallbackService {
 public:
  explicit ControllerService(SandboxController* controller) : controller_(controller) {}

#define GANTRY_SANDBOX_METHOD(method)                                                      \
  grpc::ServerUnaryReactor* method(grpc::CallbackServerContext* context,                   \
                                   const api::Controller##method##Request* request,        \
                                   api::Controller##method##Response* response) override { \
    return Serve(context, *request, response, &SandboxController::method);                 \
  }
  GANTRY_SANDBOX_METHOD(Create)
  GANTRY_SANDBOX_METHOD(Start)
  GANTRY_SANDBOX_METHOD(Platform)
  GANTRY_SANDBOX_METHOD(Stop)
  GANTRY_SANDBOX_METHOD(Wait)
  GANTRY_SANDBOX_METHOD(Status)
  GANTRY_SANDBOX_METHOD(Shutdown)
  GANTRY_SANDBOX_METHOD(Metrics)
  GANTRY_SANDBOX_METHOD(Update)
#undef GANTRY_SANDBOX_METHOD

 private:
  template <typename Request, typename Response>
  grpc::ServerUnaryReactor* Serve(
      grpc::CallbackServerContext* context, const Request& request, Response* response,
      void (SandboxController::*method)(SandboxController::Caller, Request,
                                        SandboxController::Done<Response>)) {
    auto* call = new AsyncCall<Response>(response);
    SandboxController::Done<Response> done = call->Done();
    Context ctx = FromServerContext(*context);
    if (absl::Status status = RequireNamespace(ctx); !status.ok()) {
      done(status);
      return call;
    }
    (controller_->*method)({ctx.ns, DeadlineOf(*context)}, request, std::move(done));
    return call;
  }

  SandboxController* const controller_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeSandboxStoreService(SandboxStore* store) {
  return std::make_unique<StoreService>(store);
}

std::unique_ptr<grpc::Service> MakeSandboxControllerService(SandboxController* controller) {
  return std::make_unique<ControllerService>(controller);
}

}  // namespace gantry::services
