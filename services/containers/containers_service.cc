#include "services/containers/containers_service.h"

#include "containerd/services/containers/v1/containers.grpc.pb.h"
#include "services/metadata/container_store.h"
#include "services/rpc/server_context.h"
#include "services/rpc/status.h"

namespace gantry::services {
namespace {

namespace api = containerd::services::containers::v1;

class ContainersService final : public api::Containers::Service {
 public:
  explicit ContainersService(ContainerStore* store) : store_(store) {}

  grpc::Status Get(grpc::ServerContext* server, const api::GetContainerRequest* request,
                   api::GetContainerResponse* response) override {
    absl::StatusOr<api::Container> container =
        store_->Get(FromServerContext(*server), request->id());
    if (container.ok()) *response->mutable_container() = *std::move(container);
    return ToGrpc(container.status());
  }

  grpc::Status List(grpc::ServerContext* server, const api::ListContainersRequest* request,
                    api::ListContainersResponse* response) override {
    absl::StatusOr<std::vector<api::Container>> list = Listed(*server, *request);
    if (!list.ok()) return ToGrpc(list.status());
    for (api::Container& container : *list) *response->add_containers() = std::move(container);
    return grpc::Status::OK;
  }

  grpc::Status ListStream(grpc::ServerContext* server, const api::ListContainersRequest* request,
                          grpc::ServerWriter<api::ListContainerMessage>* writer) override {
    absl::StatusOr<std::vector<api::Container>> list = Listed(*server, *request);
    if (!list.ok()) return ToGrpc(list.status());
    for (api::Container& container : *list) {
      api::ListContainerMessage message;
      *message.mutable_container() = std::move(container);
      if (!writer->Write(message)) return {grpc::StatusCode::CANCELLED, "the client went away"};
    }
    return grpc::Status::OK;
  }

  grpc::Status Create(grpc::ServerContext* server, const api::CreateContainerRequest* request,
                      api::CreateContainerResponse* response) override {
    absl::StatusOr<api::Container> container =
        store_->Create(FromServerContext(*server), request->container());
    if (container.ok()) *response->mutable_container() = *std::move(container);
    return ToGrpc(container.status());
  }

  grpc::Status Update(grpc::ServerContext* server, const api::UpdateContainerRequest* request,
                      api::UpdateContainerResponse* response) override {
    if (request->container().id().empty()) {
      return {grpc::StatusCode::INVALID_ARGUMENT, "Container.ID required"};
    }
    const auto& paths = request->update_mask().paths();
    absl::StatusOr<api::Container> container = store_->Update(
        FromServerContext(*server), request->container(), {paths.begin(), paths.end()});
    if (container.ok()) *response->mutable_container() = *std::move(container);
    return ToGrpc(container.status());
  }

  grpc::Status Delete(grpc::ServerContext* server, const api::DeleteContainerRequest* request,
                      google::protobuf::Empty*) override {
    return ToGrpc(store_->Delete(FromServerContext(*server), request->id()));
  }

 private:
  absl::StatusOr<std::vector<api::Container>> Listed(const grpc::ServerContext& server,
                                                     const api::ListContainersRequest& request) {
    return store_->List(FromServerContext(server),
                        {request.filters().begin(), request.filters().end()});
  }

  ContainerStore* store_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeContainersService(ContainerStore* store) {
  return std::make_unique<ContainersService>(store);
}

}  // namespace gantry::services
