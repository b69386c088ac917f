#include "services/networks/networks_service.h"

#include <utility>

#include "gantry/services/networks/v1/networks.grpc.pb.h"
#include "services/networks/network_manager.h"
#include "services/rpc/server_context.h"
#include "services/rpc/status.h"

namespace gantry::services {
namespace {

namespace pb = gantry::services::networks::v1;

class NetworksService final : public pb::Networks::Service {
 public:
  explicit NetworksService(NetworkManager* manager) : manager_(manager) {}

  grpc::Status Create(grpc::ServerContext* context, const pb::CreateNetworkRequest* request,
                      pb::CreateNetworkResponse* response) override {
    return Answer(manager_->Create(Namespace(*context), *request), response);
  }
  grpc::Status Get(grpc::ServerContext* context, const pb::GetNetworkRequest* request,
                   pb::GetNetworkResponse* response) override {
    return Answer(manager_->Get(Namespace(*context), request->network()), response);
  }
  grpc::Status List(grpc::ServerContext* context, const pb::ListNetworksRequest*,
                    pb::ListNetworksResponse* response) override {
    return Answer(manager_->List(Namespace(*context)), response);
  }
  grpc::Status Delete(grpc::ServerContext* context, const pb::DeleteNetworkRequest* request,
                      google::protobuf::Empty*) override {
    return ToGrpc(manager_->Delete(Namespace(*context), request->network()));
  }
  grpc::Status SetUp(grpc::ServerContext* context, const pb::SetUpRequest* request,
                     pb::SetUpResponse* response) override {
    return Answer(manager_->SetUp(Namespace(*context), *request), response->mutable_sandbox());
  }
  grpc::Status TearDown(grpc::ServerContext* context, const pb::TearDownRequest* request,
                        google::protobuf::Empty*) override {
    return ToGrpc(manager_->TearDown(Namespace(*context), request->container_id()));
  }
  grpc::Status Connect(grpc::ServerContext* context, const pb::ConnectRequest* request,
                       pb::ConnectResponse* response) override {
    return Answer(manager_->Connect(Namespace(*context), *request), response->mutable_sandbox());
  }
  grpc::Status Disconnect(grpc::ServerContext* context, const pb::DisconnectRequest* request,
                          google::protobuf::Empty*) override {
    return ToGrpc(manager_->Disconnect(Namespace(*context), *request));
  }
  grpc::Status GetSandbox(grpc::ServerContext* context, const pb::GetSandboxRequest* request,
                          pb::GetSandboxResponse* response) override {
    return Answer(manager_->GetSandbox(Namespace(*context), request->container_id()),
                  response->mutable_sandbox());
  }

 private:
  static std::string Namespace(const grpc::ServerContext& context) {
    return FromServerContext(context).ns;
  }
  template <typename T>
  static grpc::Status Answer(absl::StatusOr<T> result, T* response) {
    if (result.ok()) *response = *std::move(result);
    return ToGrpc(result.status());
  }

  NetworkManager* const manager_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeNetworksService(NetworkManager* manager) {
  return std::make_unique<NetworksService>(manager);
}

}  // namespace gantry::services
